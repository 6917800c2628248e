//! The derives and attributes of [tidings](https://docs.rs/tidings), typed messaging on Redis.
//!
//! Depend on `tidings`, which re-exports them. Each macro parses, checks and expands: `template` and `attr` hold the grammars, `options` their names,
//! `message`, `param`, `outcome` and `handler` a model, its checks and its expansion, `serde` what must not happen to a parameter in the payload, `diag` the words of
//! the errors, `tokens` what is changed of a user's. All mistakes of an item
//! are reported at once, and after a mistake the item still implements its trait, so that no second error follows from the first.

mod attr;
mod diag;
mod handler;
mod message;
mod options;
mod outcome;
mod param;
mod serde;
mod template;
mod tokens;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct or an enum a message, whose values travel on a channel that is part of the type.
///
/// # The channel
///
/// `#[channel("…")]` is required. Its segments are joined by `:` and each is one of
///
/// | segment | stands for |
/// |--|--|
/// | `orders` | itself: any characters but `: * ? [ ] \ { } % < >`, white space and control characters |
/// | `<id>` | the field `id` |
/// | `<room: String>` | a parameter that is no field: part of the address only |
/// | `<path..>` | all remaining segments: the field `path`, a `Vec` |
/// | `<path..: Vec<String>>` | all remaining segments, not a field |
///
/// What other systems write for a parameter, such as `orders/:id`, `orders:{id}`, `orders.$id` or MQTT's `+` and `#` as a level, does not compile,
/// and the error says what to write instead. A channel has at most 512 bytes and 32 segments. Every parameter's type implements `ChannelParam`; its value is encoded so that
/// it never leaves its segment.
///
/// Receivers compare a field that is a parameter with the channel, so it must come back from the payload as it was: what `serde` is told of it may
/// rename or convert it, but not leave it out. A message that contradicts the address that it is published to is not sent.
///
/// # What is generated
///
/// The type needs `Serialize` and `Deserialize`. Beside `Message` it gets these functions, so that no trait needs to be in scope:
///
/// - `Type::channel(…)`, the typed address with these parameters, in the order in which they stand in the channel
/// - `Type::any()`, the pattern of all its channels; `Type::any().region("eu")` narrows it
/// - `message.publish_to(address, &bus)`
/// - `message.publish(&bus)` and `message.address()`, where every parameter is a field
///
/// `#[reply(Quote)]` or `#[reply(Quote, error = QuoteError)]` makes the message a request: instead of `publish` and `publish_to` it
/// has `request` and `request_to`, and its handler returns the reply.
///
/// # Queues
///
/// `#[queue("…")]` instead of `#[channel("…")]` makes each message a task: one instance works on it, at least once, and it is not lost. It has
/// `enqueue` and `enqueue_to`. Each combination of its parameters' values is a part of the queue, and a reader waits for all parts at once: so a
/// parameter is an enum with `#[derive(ChannelParam)]`, or the queue says `bound`. Behind the template stand
///
/// | option | meaning | default |
/// |--|--|--|
/// | `strict = priority` | by this parameter, in the order of its variants: nothing of a later one is begun while there is something of an earlier one | the parts take turns |
/// | `weighted = priority, weights = [6, 3, 1]` | by this parameter, so many of each variant in turn, in their order | the parts take turns |
/// | `lease = "30s"` | so long a task belongs to an instance that has gone silent, at least `"1s"`; it is renewed as long as the handler runs | 30 s |
/// | `bound` | the values of its parameters are named where it is served | all values of all parameters |
/// | `at_most_once` | a task is done when it is taken: a crash loses it, and nothing runs it twice | it is done when its handler has succeeded |
/// | `max_length = 100000` | so many tasks may wait; one more is refused | as many as come |
/// | `payload_limit = 65536` | bytes of an encoded task, and of its result | 256 KiB |
/// | `dead_letters = "30d"` | for so long a dead letter is kept | 30 days |
/// | `dead_letters_count = 1000`, `dead_letters_bytes = 1048576` | so many dead letters are kept, and so many bytes of their payloads; the oldest leave, which is counted and an event | 10,000, and 64 MiB |
/// | `results = "1h"` | for so long the result of a task is kept, for whoever waits for it; with `#[reply(…)]`, and not `at_most_once` | no result is kept |
/// | `results_count = 1000`, `results_bytes = 1048576` | so many results are kept, and so many bytes of them; the oldest leave | 100,000, and 64 MiB |
/// | `completed = TaskCompleted`, `failed = TaskFailed` | a broadcast that is published in the step in which a task is done; in which it goes to the dead letters, or is discarded | none is published |
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{ChannelParam, Message};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:images:<priority>", strict = priority, lease = "1m")]
/// struct ResizeImage {
///     priority: Priority,
///     path: String,
/// }
///
/// #[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
/// enum Priority {
///     High,
///     Normal,
///     Low,
/// }
/// ```
///
/// `#[reply(Resized, error = ResizeError)]` says what tasks with results come to: what their handler returns, alone or in a tuple before what follows,
/// such as `(Resized, Enqueue<SendMail>)`, or as a `Result`. The error derives [`Outcome`](macro@Outcome) and is displayed; without `error = …` every
/// error that can be displayed is one, and only its words are kept. A reply that cannot be encoded, or has more bytes than `payload_limit`, fails the
/// attempt.
///
/// The broadcasts that announce how a task has ended are the program's own: `impl From<tidings::Ended<'_, ResizeImage>> for TaskCompleted` makes one, and
/// each parameter of its channel is a field.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Ended, Enqueue, Message, Outcome, handler};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:resize", results = "1h", completed = TaskCompleted)]
/// #[reply(Resized, error = ResizeError)]
/// struct Resize {
///     path: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Resized {
///     bytes: u64,
/// }
///
/// #[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
/// enum ResizeError {
///     #[outcome(dead_letter)]
///     #[error("no image")]
///     NoImage,
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("tasks:completed:<id>")]
/// struct TaskCompleted {
///     id: String,
/// }
///
/// impl From<Ended<'_, Resize>> for TaskCompleted {
///     fn from(ended: Ended<'_, Resize>) -> Self {
///         Self { id: ended.id().to_owned() }
///     }
/// }
///
/// #[handler(idempotent, timeout = "2m")]
/// async fn resize(task: Resize) -> Result<(Resized, Enqueue<Compress>), ResizeError> {
///     let bytes = task.path.len() as u64;
///     if bytes == 0 { Err(ResizeError::NoImage) } else { Ok((Resized { bytes }, Enqueue::new(Compress { path: task.path }))) }
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:compress")]
/// struct Compress {
///     path: String,
/// }
/// ```
///
/// # Versions
///
/// A receiver takes messages of its own version and of older ones, and refuses newer ones. What an older version cannot be read as is a message of
/// its own, which `from` names:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::Message;
///
/// /// As it was.
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("orders:<id>")]
/// #[message(name = "OrderPlaced")]
/// struct OrderPlacedV1 {
///     id: u64,
///     euros: u64,
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("orders:<id>")]
/// #[message(version = 2, from = OrderPlacedV1)]
/// struct OrderPlaced {
///     id: u64,
///     cents: u64,
/// }
///
/// impl From<OrderPlacedV1> for OrderPlaced {
///     fn from(older: OrderPlacedV1) -> Self {
///         Self { id: older.id, cents: older.euros * 100 }
///     }
/// }
/// ```
///
/// It has the same wire name, channel and, where it has one, `#[reply(…)]`, and exactly the version before, and may say `from` itself. A message that has moved to another
/// channel, or is answered otherwise, is one of its own, with a handler of its own.
///
/// # Options
///
/// | option | meaning | default |
/// |--|--|--|
/// | `#[message(name = "order.placed")]` | the name on the wire | the type's name |
/// | `#[message(version = 2)]` | the version on the wire | 1 |
/// | `#[message(version = 2, from = OrderPlacedV1)]` | what older code wrote is read as this message, and made into the newer one with `impl From<OrderPlacedV1> for OrderPlaced` | what is older is read as what it is now |
/// | `#[message(codec = tidings::codec::CloudEvents)]` | the codec: a type that implements `tidings::Codec` | what the bus says |
/// | `#[message(format = "plain")]` | short for the codecs `Json` (`"envelope"`) and `Plain` (`"plain"`) | what the bus says |
/// | `#[reply(Quote)]`, `#[reply(Quote, error = QuoteError)]` | a request, answered with a `Quote`; on a queue with `results`, what a task comes to | no answer |
/// | `#[tidings(crate = path)]` | where the runtime is | `::tidings` |
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Bus, Message, PublishError};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("chat:room:<room: String>")]
/// enum ChatEvent {
///     Join { user: String },
///     Leave { user: String },
/// }
///
/// async fn join(user: String, bus: &Bus) -> Result<(), PublishError> {
///     ChatEvent::Join { user }.publish_to(ChatEvent::channel("general"), bus).await?;
///     Ok(())
/// }
/// ```
#[proc_macro_derive(Message, attributes(channel, queue, message, reply, tidings))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    message::derive(parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a type of your own a parameter of channels: an enum without fields, each variant of which is a word, or a struct with one field, which is
/// written and read as what it holds.
///
/// The compiler knows the words, so `tasks:<priority>` and `tasks:new` never conflict where `new` is no variant; and it knows that a
/// `struct OrderId(u64)` is a number. The type needs `Clone`.
///
/// # Options
///
/// | option | meaning | default |
/// |--|--|--|
/// | `#[param(rename = "eu")]` on a variant | its word | the variant's name in `snake_case` |
/// | `#[param(rename_all = "kebab-case")]` on an enum | the style of all words, in serde's names | `"snake_case"` |
/// | `#[tidings(crate = path)]` | where the runtime is | `::tidings` |
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::ChannelParam;
///
/// #[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
/// enum Priority {
///     High,
///     Normal,
///     Low,
/// }
///
/// #[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
/// struct OrderId(u64);
/// ```
#[proc_macro_derive(ChannelParam, attributes(param, tidings))]
pub fn derive_channel_param(input: TokenStream) -> TokenStream {
    param::derive(parse_macro_input!(input as DeriveInput)).into()
}

/// Says of an error what is to become of the task whose handler returned it: a rule on each variant of an enum, or on a struct.
///
/// | rule | the task |
/// |--|--|
/// | `#[outcome(retry)]` | is tried again after a pause, as often as the handler's `retries` say |
/// | `#[outcome(retry_after = after)]` | is tried again after the `Duration` in this field, which counts as no failure; a tuple's by its place: `retry_after = 0` |
/// | `#[outcome(dead_letter)]` | goes to the dead letters at once |
/// | `#[outcome(discard)]` | is not to be done: nothing is kept of it |
///
/// A variant without a rule does not compile. An error of a type without this derive is tried again. The only other option is
/// `#[tidings(crate = path)]`, where the runtime is.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidings::Outcome;
///
/// #[derive(Debug, Outcome, thiserror::Error)]
/// enum ResizeError {
///     #[outcome(retry)]
///     #[error("the disk is full")]
///     DiskFull,
///     #[outcome(retry_after = after)]
///     #[error("asked to wait")]
///     Busy { after: Duration },
///     #[outcome(dead_letter)]
///     #[error("no image")]
///     NoImage,
/// }
/// ```
#[proc_macro_derive(Outcome, attributes(outcome, tidings))]
pub fn derive_outcome(input: TokenStream) -> TokenStream {
    outcome::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes an `async fn` a handler: of the router around it, or, where it is free, of `routes![…]`.
///
/// The message comes first, owned. What follows are extractors: `&Delivery`, `Address<M>`, `&Headers`, `State<T>`, `Bus` or `&Bus`, and of a task
/// `&Lease` and `Progress`. A handler returns nothing, `Publish<M>`, `Enqueue<M>`, several of them as a tuple, a `Vec` or an `Option`, or a `Result` of any of these with any error
/// that can be displayed, `&'static str` and `impl Display` included; the handler of a request returns its reply, or a `Result` of it, and that of a task
/// whose result is kept the same, or a tuple of the reply and up to three of what follows. Its future is `Send`.
/// The function stays as it is written and can be called in tests. A free handler is a type of its name too, which `routes![…]` asks for: beside a
/// `mod orders` call it otherwise, such as `orders_placed`. In an `impl` block without `#[router]` it can be none: the compiler then refuses an
/// "implementation", in a note that names `#[router]`.
///
/// **A handler of a request is cancelled at its next await when its requester has stopped waiting**: its future is dropped there, and its place is
/// free. What must not stop half-way says `run_to_end`, or runs in a tokio task of its own. Handlers of broadcasts are never cancelled for that.
///
/// **A handler of a queue says what becomes of a second delivery**, which follows a crash or a lost lease: `idempotent` or `once`, unless its
/// queue says `at_most_once`; and how long an attempt may take: `timeout`. Its error says by `#[derive(Outcome)]` whether it is tried again; one of
/// another type is. Where it loses its lease it is cancelled at its next await, as after its timeout.
///
/// Requests are handled concurrently up to `concurrency`, so a handler may send a request to its own channel; with `concurrency = 1`, or with
/// `order = channel`, it would wait for itself.
///
/// Handlers of a service share one tokio task and are polled in turn: one that waits stalls nobody, one that computes for long or blocks the
/// thread stalls the others, and what else its runtime would do on that thread. `spawn` gives each call a tokio task of its own, which may do
/// so: the runtime goes on elsewhere meanwhile, as around `tokio::task::block_in_place`, at the price of some ten microseconds each time
/// the call is polled. A runtime of one thread has nowhere to go on.
///
/// # Options
///
/// | option | meaning | default |
/// |--|--|--|
/// | `concurrency = 16` | how many messages it works on at once, at least 1; those with one order key always one by one | 64 |
/// | `order = channel` | what messages must have in common to be handled one after the other: `channel`, `none`, or a parameter of the template by its name, such as `order = account` | `channel` for broadcasts, `none` for requests; not on queues |
/// | `timeout = "30s"` | how long one message may take, in `ms`, `s`, `m`, `h` or `d`; `"none"`: as long as it wants | no limit; on a queue it must be said |
/// | `run_to_end` | a call that has begun goes on when its requester has stopped waiting | it is cancelled at its next await |
/// | `filter = order.total > 100` | an expression over the message, of type `bool`, evaluated before the handler; it sees the first argument's pattern, bound to references, and in a router no `self`, but `Self::…` | every message |
/// | `fallback` | it takes what no other handler of the router takes | |
/// | `idempotent` | on a queue: it runs again after a crash, as running twice does what running once does | it must be said, or `once` |
/// | `once`, `once = order` | on a queue: it does not run again for the same task, or for the same value of a field that can be a parameter, or is a `&str` or `Cow<str>` of a task that borrows: one that was done is done, one that had begun is a dead letter | it must be said, or `idempotent` |
/// | `window = "1d"` | with `once`: for so long it is known that it was done, at least as long as its attempts can take | 1 day |
/// | `retries = 5` | on a queue: so many attempts may fail after the first one | 3 |
/// | `backoff = "1s..10m"` | on a queue: the first pause between two attempts, and the longest: they double, and each is drawn anew from zero to that | `"1s..10m"` |
/// | `crashes = 3` | on a queue: so many instances may die while they have a task; then it is a dead letter | 3 |
/// | `spawn` | each call is a tokio task of its own: for handlers that compute for long or block the thread | |
/// | `layer = ConcurrencyLimitLayer::new(4)` | a layer of `tower` around the handler, with the feature `tower`; the expression is evaluated once, when a service starts | none |
/// | `crate = path` | where the runtime is, for free functions | `::tidings` |
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Message, State, handler};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64, total_cents: u64 }
/// # #[derive(Clone)]
/// # struct Db;
/// # impl Db { async fn insert(&self, _order: OrderPlaced) -> Result<(), std::fmt::Error> { Ok(()) } }
/// #[handler(timeout = "30s", filter = order.total_cents > 100_00)]
/// async fn placed(order: OrderPlaced, State(db): State<Db>) -> Result<(), std::fmt::Error> {
///     db.insert(order).await
/// }
/// ```
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::handler(options.into(), item.into()).into()
}

/// What `#[handler]` puts its items through. Its name is what the compiler says where they stand in an `impl`.
#[doc(hidden)]
#[proc_macro]
pub fn a_handler_in_an_impl_needs_the_attribute_router_on_that_impl(items: TokenStream) -> TokenStream {
    handler::free_items(items.into()).into()
}

/// The items of a free handler, in the place of what brings them.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn items(items: TokenStream, _: TokenStream) -> TokenStream {
    items
}

/// Makes the handlers of an inherent `impl` block a router, and the type something that `bus.serve(…)` takes.
///
/// Methods with `#[handler]` are handlers; all other methods are left alone. The type may have parameters, and no lifetimes but `'static`. The compiler proves that no two handlers take the same
/// channel: a conflict is an error at the second of them, unless one of the two says `#[handler(fallback)]`.
///
/// `bus.serve(shop)` takes the router, or an `Arc` of it; `routers![shop, pay]` makes several routers one. The only option is `crate = path`,
/// where the runtime is.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Delivery, Message, Publish, router};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:placed:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:paid:<id>")]
/// # struct OrderPaid { id: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:shipped:<id>")]
/// # struct OrderShipped { id: u64 }
/// struct Shop;
///
/// #[router]
/// impl Shop {
///     #[handler]
///     async fn placed(&self, order: OrderPlaced) -> Result<(), std::fmt::Error> {
///         println!("order {}", order.id);
///         Ok(())
///     }
///
///     #[handler(concurrency = 16)]
///     async fn paid(&self, payment: OrderPaid, delivery: &Delivery) -> Publish<OrderShipped> {
///         println!("{:?}", delivery.timestamp());
///         Publish::new(OrderShipped { id: payment.id })
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn router(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::router(options.into(), item.into()).into()
}

/// Collects free handlers into a router: `routes![placed, module::paid]`.
///
/// Each path names a function with `#[handler]`. Of one without it the compiler says "expected type, found function": write `#[handler]` on it. A
/// handler and a module cannot have one name ("is defined multiple times"), as a handler is a type too: give the handler another one.
///
/// Where a handler takes `State<T>`, write `routes![…].with_state(state)`. The same proofs hold as for `#[router]`. Where the
/// runtime has another name, write `routes![crate = path; placed]`.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, Service, State, SubscribeError, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[derive(Clone)]
/// # struct Db;
/// #[handler]
/// async fn placed(order: OrderPlaced, State(_db): State<Db>) {
///     println!("order {}", order.id);
/// }
///
/// async fn serve(bus: &Bus, db: Db) -> Result<Service, SubscribeError> {
///     bus.serve(routes![placed].with_state(db)).await
/// }
/// ```
#[proc_macro]
pub fn routes(input: TokenStream) -> TokenStream {
    handler::routes(input.into()).into()
}

/// What `routes![…]` puts its paths through. Its name is what the compiler says where one of them names no handler.
#[doc(hidden)]
#[proc_macro]
pub fn each_function_in_routes_needs_the_attribute_handler(paths: TokenStream) -> TokenStream {
    handler::named_handlers(paths.into()).into()
}

/// Makes several routers one that is served as one service: `routers![shop, pay]`.
///
/// Each member is a value: of a type with `#[router]`, an `Arc` of one, of `routes![…]`, or of `routers![…]` again; at most twelve. Their types must
/// be concrete, as the compiler proves **across** all members what `#[router]` proves within one: that no two handlers take the same channel. A
/// conflict is an error at the second of the two members, also under `cargo check`. Each member has its own proof besides, so a
/// `#[handler(fallback)]` has something to fall back from in its own router; it stands back behind the handlers of the other members too.
///
/// One service is one shutdown and one set of statistics, in which each handler is listed with its router. Routers whose handlers take the same
/// messages are served as services of their own: each service gets every message.
///
/// Where the runtime has another name, write `routers![crate = path; shop, pay]`.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, Service, SubscribeError, router, routers};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("payments:<id>")]
/// # struct Paid { id: u64 }
/// struct Shop;
///
/// #[router]
/// impl Shop {
///     #[handler]
///     async fn placed(&self, order: OrderPlaced) {
///         println!("order {}", order.id);
///     }
/// }
///
/// struct Pay;
///
/// #[router]
/// impl Pay {
///     #[handler]
///     async fn paid(&self, payment: Paid) {
///         println!("payment {}", payment.id);
///     }
/// }
///
/// async fn serve(bus: &Bus) -> Result<Service, SubscribeError> {
///     bus.serve(routers![Shop, Pay]).await
/// }
/// ```
#[proc_macro]
pub fn routers(input: TokenStream) -> TokenStream {
    handler::routers(input.into()).into()
}
