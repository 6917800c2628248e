//! What a handler takes after its message.

use std::{convert::Infallible, fmt};

use crate::{
    bus::handle::Bus,
    handler::{outcome::Outcome, progress::Progress},
    message::{
        address::Address,
        contract::Message,
        delivery::Delivery,
        facts::QueueFacts,
        kind::{AtLeastOnce, Queue},
        lease::Lease,
    },
};

/// What an extractor may look at.
pub struct Context<'a, S> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) bus: &'a Bus,
    pub(crate) state: &'a S,
}

impl<'a, S> Context<'a, S> {
    /// What a handler of a router with this state has: generated code makes it, and tests of an extractor of your own.
    #[must_use]
    pub fn new(delivery: &'a Delivery, bus: &'a Bus, state: &'a S) -> Self {
        Self { delivery, bus, state }
    }

    /// The message's metadata and channel.
    #[must_use]
    pub fn delivery(&self) -> &'a Delivery {
        self.delivery
    }

    /// The bus on which the router is served.
    #[must_use]
    pub fn bus(&self) -> &'a Bus {
        self.bus
    }

    /// The router's state; for the methods of a `#[router] impl` the router itself.
    #[must_use]
    pub fn state(&self) -> &'a S {
        self.state
    }
}

impl<S> fmt::Debug for Context<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// An argument of a handler after the message: delivery metadata, the typed address, headers, state, the bus.
///
/// `M` is the handler's message, so that an address of another message does not compile. `S` is the router's state: an extractor
/// of your own that needs a part of it is implemented for every `S` with `Part: FromState<S>`, because the arguments of a free
/// handler are checked before its router is known.
///
/// # Examples
///
/// ```
/// use tidings::{Context, Extract, ExtractError};
///
/// /// Who sent the message, as a header says.
/// struct Sender(String);
///
/// impl<'a, M, S> Extract<'a, M, S> for Sender {
///     fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
///         let sender = context.delivery().headers().get("sender");
///         sender.map(|name| Self(name.to_owned())).ok_or_else(|| ExtractError::new("the header `sender` is missing"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor for handlers of `{M}`",
    label = "cannot be extracted",
    note = "after the message a handler takes `&Delivery`, `Address<{M}>`, `&Headers`, `State<T>`, `Bus` or `&Bus`, and of a task `&Lease` and `Progress`"
)]
pub trait Extract<'a, M, S>: Sized {
    /// Takes the argument out of the delivery.
    ///
    /// # Errors
    ///
    /// An error fails the delivery like an error of the handler.
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError>;
}

/// An argument, of which generated code says where it is written, and leaves to the compiler what it is.
#[doc(hidden)]
pub type Argument<T> = T;

/// The error of an extractor that could not make its value.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ExtractError {
    reason: String,
}

impl ExtractError {
    /// Says why.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

impl From<Infallible> for ExtractError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl<'a, M, S> Extract<'a, M, S> for &'a Delivery {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(context.delivery)
    }
}

impl<'a, M, S> Extract<'a, M, S> for &'a crate::codec::headers::Headers {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(context.delivery.headers())
    }
}

impl<'a, M: Message, S> Extract<'a, M, S> for Address<M> {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Address::parse(context.delivery.channel()).map_err(ExtractError::new)
    }
}

impl<'a, M: Leased, S> Extract<'a, M, S> for &'a Lease {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        context.delivery.lease().ok_or_else(|| ExtractError::new("the delivery is no task, and has no lease"))
    }
}

/// A message whose deliveries have a lease: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task of a queue, so its handler has no lease",
    label = "only a handler of a queue has a lease",
    note = "remove this argument, or write `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Leased {}

#[diagnostic::do_not_recommend]
impl<M: Queue> Leased for M {}

impl<'a, M: Progresses, S> Extract<'a, M, S> for Progress
where
    M::Runs: KeepsProgress<M>,
{
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        let limit = M::QUEUE.unwrap_or(QueueFacts::DEFAULT).payload_limit;
        Progress::of(context.delivery, context.bus, limit)
            .ok_or_else(|| ExtractError::new("the delivery is no task, and nothing is kept of its progress"))
    }
}

/// A message whose handler can say how far it has come: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task of a queue, so nothing is kept of its progress",
    label = "only a handler of a queue has a `Progress`",
    note = "remove this argument, or write `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Progresses: Message {
    /// How often its tasks run. It is asked for the rest apart, so that a message that is no task gives one error.
    type Runs;
}

#[diagnostic::do_not_recommend]
impl<M: Queue> Progresses for M {
    type Runs = <M as Queue>::Runs;
}

/// How often tasks run whose progress is kept: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task `{M}` is done when it is taken, as `at_most_once` says, so nothing is kept of its progress",
    label = "its handler has no `Progress`",
    note = "remove this argument, or `at_most_once` in the `#[queue(…)]` of `{M}`"
)]
pub trait KeepsProgress<M> {}

impl<M> KeepsProgress<M> for AtLeastOnce {}

impl<'a, M, S> Extract<'a, M, S> for &'a Bus {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(context.bus)
    }
}

impl<'a, M, S> Extract<'a, M, S> for Bus {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(context.bus.clone())
    }
}

/// The extractor of the router's state, or of a part of it: `State(db): State<Db>`.
///
/// The state is cloned for each message, so a large one belongs in an `Arc`.
///
/// # Examples
///
/// ```
/// # use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, State, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// /// So many orders were placed.
/// #[derive(Clone, Default)]
/// struct Placed(Arc<AtomicU64>);
///
/// #[handler]
/// async fn placed(_order: OrderPlaced, State(placed): State<Placed>) {
///     placed.0.fetch_add(1, Relaxed);
/// }
///
/// let orders = Placed::default();
/// let service = bus.serve(routes![placed].with_state(orders.clone())).await?;
/// OrderPlaced { id: 7 }.publish(&bus).await?;
/// service.shutdown().await?;
/// assert_eq!(orders.0.load(Relaxed), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct State<T>(pub T);

impl<'a, M, S, T: FromState<S>> Extract<'a, M, S> for State<T> {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(Self(T::from_state(context.state)))
    }
}

/// A part of a router's state. Every `T: Clone` is a part of itself; implement it to give handlers a field of a larger state.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, FromState, Message, State, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("quotes")]
/// # #[reply(String)]
/// # struct QuoteRequest { sku: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// #[derive(Clone)]
/// struct Currency(&'static str);
///
/// struct Shop {
///     currency: Currency,
/// }
///
/// impl FromState<Shop> for Currency {
///     fn from_state(shop: &Shop) -> Self {
///         shop.currency.clone()
///     }
/// }
///
/// #[handler]
/// async fn quote(request: QuoteRequest, State(currency): State<Currency>) -> String {
///     format!("{} costs 125 {}", request.sku, currency.0)
/// }
///
/// let service = bus.serve(routes![quote].with_state(Shop { currency: Currency("EUR") })).await?;
/// assert_eq!(QuoteRequest { sku: "engine".into() }.request(&bus).await?, "engine costs 125 EUR");
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "the router has no state `{Self}`",
    label = "a handler takes `State<{Self}>`, but the router's state is `{S}`",
    note = "write `routes![…].with_state(value)` with a `{Self}`, or `impl FromState<{S}> for {Self}`"
)]
pub trait FromState<S> {
    /// Takes the part out of the state.
    fn from_state(state: &S) -> Self;
}

impl<T: HandedOut> FromState<T> for T {
    fn from_state(state: &T) -> Self {
        state.clone()
    }
}

/// `Clone`, in words for a state.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` is not `Clone`, and each message's handler gets a clone",
    label = "not `Clone`",
    note = "write `#[derive(Clone)]` on it where that is cheap, or `State<Arc<…>>` in the handler and `.with_state(Arc::new(…))`; in a `#[router] impl` write \
            `&self`, which needs no clone"
)]
pub trait HandedOut: Clone {}

#[diagnostic::do_not_recommend]
impl<T: Clone> HandedOut for T {}

/// `Send + Sync + 'static`, in words for the state of a router of free handlers: what is not gives one error, and not one for each of the two.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` cannot be shared between threads, and any of them may run a handler",
    label = "not `Send` or not `Sync`",
    note = "write `Arc` instead of `Rc`, and a `Mutex`, a `RwLock` or an atomic instead of `RefCell` and `Cell`, wherever they are in it"
)]
pub trait SharedState: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> SharedState for T {}

/// A state that has every part, so that the arguments of a handler can be checked before its router is known.
///
/// It does not implement `Clone`, so it is no part of itself and the two implementations never meet.
#[doc(hidden)]
#[derive(Debug)]
pub enum AnyState {}

impl<T> FromState<AnyState> for T {
    fn from_state(state: &AnyState) -> Self {
        match *state {}
    }
}

/// The outcome of a delivery whose argument could not be extracted. Called by generated code.
#[doc(hidden)]
#[must_use]
pub fn not_extracted(error: &ExtractError) -> Outcome {
    Outcome::Failed(error.to_string().into())
}
