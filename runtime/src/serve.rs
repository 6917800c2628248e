//! Serving: the verb, and a service before it is started.
//!
//! | room | holds |
//! |--|--|
//! | `service` | the handle to a running service |
//! | `driver` | its one tokio task: takes frames, and has handlers called |
//! | `engine` | calls them, and keeps what waits after them |
//! | `departures` | what calls have asked to be sent, and is on its way |
//! | `hops` | chains of messages and tasks that handlers return to each other |
//! | `intake` | what happens to a frame, without calling anything |
//! | `presence` | how an instance is found and reached: its inbox, and what it says of itself |
//! | `sources` | where its messages come from, and how that ends |
//! | `services` | which services there are |
//! | `lanes` | which message a handler works on next: order, concurrency, bounds |
//! | `call` | one call of a handler |
//! | `slots` | where calls run, without their types |
//! | `spawned` | calls that are tokio tasks of their own |
//! | `waiting` | calls that wait and what is on its way, each polled when it was woken |
//! | `policy` | what becomes of tasks: attempts, priorities, leases |
//! | `settlement` | what is left to do once a handler has returned |
//! | `journal` | what a service tells of trouble: repeated lines of a kind are one |
//! | `ending` | how its tokio task ends |
//! | `queues` | the queues of a service, and what works on them |
//! | `work` | the worker of one queue: a tokio task that takes its tasks, has them handled, and settles them |
//! | `holdings` | what an instance has of a queue, as its worker and its keeper both know it |
//! | `control` | where an instance hears that a task was cancelled that it has |
//! | `ends` | what goes with the end of a task: its result, and the message that announces it |
//! | `keeper` | the thread that keeps leases, and takes back what instances that are gone had |
//! | `tally`, `stats` | what is counted and told of how calls end; the counters |
//!
//! Only `driver`, `sources`, `services`, `call`, `spawned`, `queues`, `work/pull` and `keeper` spawn or wait for a time; `intake` reads the clock for the journal, and the other rooms decide without one. This floor uses `handler`, `bus`,
//! `route`, `message` and the floors below, and none of the other verbs.

pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod departures;
pub(crate) mod driver;
pub(crate) mod ending;
pub(crate) mod ends;
pub(crate) mod engine;
pub(crate) mod holdings;
pub(crate) mod hops;
pub(crate) mod intake;
pub(crate) mod journal;
pub(crate) mod keeper;
pub(crate) mod lanes;
pub(crate) mod policy;
pub(crate) mod presence;
pub(crate) mod queues;
pub(crate) mod service;
pub(crate) mod services;
pub(crate) mod settlement;
pub(crate) mod slots;
pub(crate) mod sources;
pub(crate) mod spawned;
pub(crate) mod stats;
pub(crate) mod tally;
pub(crate) mod waiting;
pub(crate) mod work;

#[cfg(test)]
mod tests;

use std::{fmt, future::Pending, time::Duration};

#[cfg(feature = "tower")]
use crate::handler::{
    layer::{Handlers, Invocation, handler_layer},
    outcome::Outcome,
};

#[cfg(not(feature = "tower"))]
use crate::handler::layer::HandlerLayers;
use crate::{
    bus::handle::Bus,
    config::{Bounds, Overflow},
    error::{ShutdownError, SubscribeError},
    future::BusFuture,
    handler::contract::Router,
    message::{address::AddressOf, contract::Message, kind::Queue},
    serve::{
        driver::ServeOptions,
        policy::verdict::PARK_AFTER,
        service::{Duties, Service},
    },
};

/// A service that starts when this is awaited. [`Bus::serve`] makes it.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bounds, Bus, Message, Overflow, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("news")]
/// # struct News { n: u64 }
/// # #[handler]
/// # async fn news(_news: News) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let service = bus.serve(routes![news]).overflow(Overflow::DropNewest).buffer(Bounds::messages(1_000).bytes(1 << 20)).await?;
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is served until this is awaited"]
pub struct Serving {
    bus: Bus,
    options: ServeOptions,
    /// The router is in here. Without its type, a wrong router is one error, at the argument of `serve`.
    duties: Unserved,
}

/// What is served once it is awaited.
struct Unserved(Option<Duties>);

impl Drop for Unserved {
    /// `let _ = bus.serve(shop);` compiles without a warning.
    fn drop(&mut self) {
        if self.0.is_some() {
            tracing::warn!(
                "a service was dropped before it was awaited, so nothing is served: write `bus.serve(…).await`"
            );
        }
    }
}

impl Serving {
    pub(crate) fn new<R: Router>(bus: Bus, router: R) -> Self {
        let bounds = bus.config().handler_buffer;
        let options = ServeOptions {
            overflow: Overflow::default(),
            bounds,
            layers: Vec::new(),
            group: None,
            bound: Vec::new(),
            park_after: PARK_AFTER,
        };
        Self { bus, options, duties: Unserved(Some(Duties::of(router))) }
    }

    /// What happens when too many messages wait for a handler. Default: [`Overflow::DropOldest`].
    ///
    /// Messages wait when their handler is at its concurrency or works on an earlier message with their order key. Whoever waits for an answer
    /// to what is dropped is told at once. With [`Overflow::BackPressure`] one handler that is full holds up all handlers of the service; serve
    /// those that must not wait for it as a service of their own. A service of requests should not choose it: what then waits in the server and
    /// in the kernel grows old, and nobody counts that against the requester's time.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// The group of this instance: the name that all instances of a service share. Default: the type of the router, such as `Shop`; of free
    /// handlers the [program](crate::BusBuilder::program), else the first handler.
    ///
    /// A request is executed by one instance, of whichever group; [`collect`](crate::Requesting::collect) asks one instance of each group. Whoever
    /// wants an answer of every instance gives each a group of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, router};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("quotes:<sku>")]
    /// # #[reply(u64)]
    /// # struct QuoteRequest { sku: String }
    /// # struct Shop { cents: u64 }
    /// # #[router]
    /// # impl Shop {
    /// #     #[handler]
    /// #     async fn quote(&self, _request: QuoteRequest) -> u64 { self.cents }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let north = bus.serve(Shop { cents: 900 }).group("north").await?;
    /// let south = bus.serve(Shop { cents: 700 }).group("south").await?;
    /// let second = bus.serve(Shop { cents: 700 }).group("south").await?; // shares the requests of `south`
    ///
    /// let of_each = QuoteRequest { sku: "engine".into() }.request(&bus).collect(10).await?;
    /// assert_eq!(of_each.len(), 2);
    /// # bus.close().await?;
    /// # drop((north, south, second));
    /// # Ok(()) }
    /// ```
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into());
        self
    }

    /// Serves this part of a queue that is `bound`: a queue with a parameter that can have any value is served where it is said which of them are.
    /// Said again for each. Of a queue whose parameters are all enums, only the parts that are named here are served; the others are left to
    /// instances that name them, or none.
    ///
    /// `serve` fails with [`QueueError::Unbound`](crate::QueueError::Unbound) where none of the values of a bound queue is named, and with
    /// [`QueueError::NoHandler`](crate::QueueError::NoHandler) where no handler of the service works on the queue that is named.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, router};
    /// #[derive(Message, Serialize, Deserialize)]
    /// #[queue("tasks:mails:<region>", bound)]
    /// struct SendMail { region: String, to: String }
    ///
    /// struct Mailer;
    ///
    /// #[router]
    /// impl Mailer {
    ///     #[handler(idempotent, timeout = "30s")]
    ///     async fn send(&self, _mail: SendMail) {}
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let service = bus.serve(Mailer).on(SendMail::channel("eu")).on(SendMail::channel("us")).await?;
    /// # service.shutdown().await?;
    /// # Ok(()) }
    /// ```
    pub fn on<M: Queue>(mut self, part: impl PartOf<M>) -> Self {
        self.options.bound.push((M::TEMPLATE.text(), part.as_address().to_string().into()));
        self
    }

    /// For how long a task of a queue goes from instance to instance, with growing pauses, of which none knows its name or its version, before it
    /// waits aside. Default: an hour.
    ///
    /// In a deployment, programs that enqueue may be newer than some of those that work. What waits aside is told as
    /// [`BusEvent::Parked`](crate::BusEvent::Parked), and an instance that knows it takes it from there.
    pub fn park_after(mut self, time: Duration) -> Self {
        self.options.park_after = time;
        self
    }

    /// The bounds of what waits for each handler. Default: those of the bus, 16,384 messages and 16 MiB.
    ///
    /// One message fits always, however large it is. In front of the handlers the service holds up to 8,192 messages and 1 MiB more,
    /// which are being handed over.
    pub fn buffer(mut self, bounds: Bounds) -> Self {
        self.options.bounds = bounds.at_least_one();
        self
    }
}

#[cfg(feature = "tower")]
impl Serving {
    /// Puts a layer around all handlers of the service: one layered service that every message passes. See [`layer`](crate::layer).
    ///
    /// Of several, the last is the outermost; those of a `ServiceBuilder` come in the order in which they are written. The layers of single
    /// handlers are inside of all of them.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: tower::Layer<Handlers> + Send + 'static,
        L::Service:
            tower::Service<Invocation, Response = Outcome, Error: Into<tower::BoxError>, Future: Send> + Send + 'static,
    {
        self.options.layers.push(handler_layer(layer));
        self
    }
}

#[cfg(not(feature = "tower"))]
impl Serving {
    /// Says that layers need the feature `tower`: nothing can be given to it.
    #[doc(hidden)]
    pub fn layer<L: HandlerLayers>(self, _layer: L) -> Self {
        self
    }
}

/// What a service that is not started yet is asked for. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "nothing is served yet, so there is no service to stop",
    label = "not a service yet",
    note = "write `.await?` behind `bus.serve(…)`: that is the `Service` which has `shutdown` and `run_until_stopped`"
)]
pub trait NotServedYet<'a> {
    fn stopped(self) -> Pending<Result<(), ShutdownError>>;
}

impl Serving {
    #[doc(hidden)]
    pub fn shutdown<'a>(&'a self) -> Pending<Result<(), ShutdownError>>
    where
        (): NotServedYet<'a>,
    {
        ().stopped()
    }

    #[doc(hidden)]
    pub fn run_until_stopped<'a>(&'a self) -> Pending<Result<(), ShutdownError>>
    where
        (): NotServedYet<'a>,
    {
        ().stopped()
    }
}

crate::future::once_awaited!([] Serving);
crate::future::never_polled!([] Serving => Result<Service, SubscribeError>, (): GivenAway);

impl IntoFuture for Serving {
    type Output = Result<Service, SubscribeError>;
    type IntoFuture = BusFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        let duties = self.duties.0.take().expect("it is taken here alone, by value");
        BusFuture::new(Service::start(self.bus, duties, self.options))
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Serving").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What [`Serving::on`] takes: the address of a task.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no part of a queue",
    label = "not the address of a task",
    note = "a task's type makes its addresses: write `.on(SendMail::channel(\"eu\"))` with the type and the values of yours, once for each part"
)]
pub trait PartOf<M: Message>: AddressOf<M> {}

#[diagnostic::do_not_recommend]
impl<M: Message, A: AddressOf<M>> PartOf<M> for A {}

/// What `on` asks of a service that has started. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the service takes from its parts already",
    label = "a part is named before `.await`",
    note = "write `bus.serve(router).on(…).await?`"
)]
pub trait NamedInTime<'a> {
    fn named(self);
}

impl Service {
    #[doc(hidden)]
    pub fn on<'a, P>(&'a self, _part: P)
    where
        (): NamedInTime<'a>,
    {
    }
}

impl Bus {
    /// Serves a router: subscribes to the channels of all its handlers, takes from their queues, and gives each message to exactly one of them. An `Arc` of a router is
    /// one too, which keeps a handle to it; several routers are one with [`routers!`](crate::routers). Await it, after
    /// setting what is to differ from the defaults: [`overflow`](Serving::overflow), [`buffer`](Serving::buffer), and with the feature
    /// `tower` `layer`.
    ///
    /// The service is live when it was awaited: the server has confirmed every subscription. It stops when the handle is dropped;
    /// [`Service::shutdown`](crate::Service::shutdown) drains it first.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the server refuses one of the channels or does not confirm it within the command timeout, or, as
    /// [`SubscribeError::Queue`], refuses something that a queue needs; nothing is subscribed or taken then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future unsubscribes everything.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, router};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("orders:<id>")]
    /// # struct OrderPlaced { id: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
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
    /// let service = bus.serve(Shop).await?;
    /// assert_eq!(OrderPlaced { id: 7 }.publish(&bus).await?.receivers, Some(1));
    /// service.shutdown().await?;
    /// assert_eq!(OrderPlaced { id: 8 }.publish(&bus).await?.receivers, Some(0));
    /// # Ok(()) }
    /// ```
    pub fn serve<R: Router>(&self, router: R) -> Serving {
        Serving::new(self.clone(), router)
    }
}
