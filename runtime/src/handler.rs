//! What a handler is to a router: a message type, constants, and an asynchronous call.

use std::{convert::Infallible, fmt};

use bytes::Bytes;

use crate::{
    bus::Bus,
    channel::template::{Segment, Template},
    codec::contract::{Codec, Metadata},
    error::{AddressError, Rejection},
    message::{
        address::Address,
        contract::{BorrowedMessage, Message, OwnedMessage},
        delivery::Delivery,
    },
    outcome::Outcome,
    route::{
        entry::{HandlerOptions, Route},
        table::{RouteTable, TableStorage},
    },
};

/// An asynchronous function that takes one message type. `#[handler]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "write `#[handler]` on the asynchronous function"
)]
pub trait Handler {
    /// The handler's channel and options.
    const ROUTE: Route;
}

/// A handler that can run with the state `S`.
#[diagnostic::on_unimplemented(
    message = "the handler `{Self}` cannot run with the state `{S}`",
    note = "write `routes![…].with_state(state)` with the state that the handler's `State<…>` names"
)]
pub trait Call<S>: Handler {
    /// Decodes the message, extracts the arguments, and runs the handler.
    #[doc(hidden)]
    fn call<'a>(state: &'a S, delivery: &'a mut Delivery, bus: &'a Bus) -> impl Future<Output = Outcome> + Send + 'a;
}

/// A set of handlers; each message goes to exactly one of them. `#[router]` and `routes![…]` implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a router",
    label = "not a router",
    note = "write `#[router]` on the `impl` block of `{Self}`, or collect free handlers with `routes![…]`"
)]
pub trait Router: Send + Sync + Sized + 'static {
    /// The handlers, in the order in which they are written.
    const ROUTES: &'static [Route];

    #[doc(hidden)]
    fn table() -> RouteTable;

    /// Runs the handler of a route.
    #[doc(hidden)]
    fn dispatch<'a>(
        &'a self,
        route: usize,
        delivery: &'a mut Delivery,
        bus: &'a Bus,
    ) -> impl Future<Output = Outcome> + Send + 'a;
}

/// What an extractor may look at.
#[derive(Debug)]
pub struct Context<'a, S> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) bus: &'a Bus,
    pub(crate) state: &'a S,
}

impl<'a, S> Context<'a, S> {
    /// Called by generated code.
    #[doc(hidden)]
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
    note = "after the message a handler takes `&Delivery`, `Address<{M}>`, `&Headers`, `State<T>`, `Bus` or `&Bus`"
)]
pub trait Extract<'a, M, S>: Sized {
    /// Takes the argument out of the delivery.
    ///
    /// # Errors
    ///
    /// An error fails the delivery like an error of the handler.
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError>;
}

/// An extractor could not make its value.
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

/// The router's state, or a part of it: `State(db): State<Db>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<T>(pub T);

impl<'a, M, S, T: FromState<S>> Extract<'a, M, S> for State<T> {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(Self(T::from_state(context.state)))
    }
}

/// A part of a router's state. Every `T: Clone` is a part of itself; implement it to give handlers a field of a larger state.
#[diagnostic::on_unimplemented(
    message = "the router has no state `{Self}`",
    label = "a handler takes `State<{Self}>`, but the router's state is `{S}`",
    note = "write `routes![…].with_state(value)` with a `{Self}`, or `impl FromState<{S}> for {Self}`"
)]
pub trait FromState<S> {
    /// Takes the part out of the state.
    fn from_state(state: &S) -> Self;
}

impl<T: Clone> FromState<T> for T {
    fn from_state(state: &T) -> Self {
        state.clone()
    }
}

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

/// The message of a handler, as the generated code uses it.
///
/// The macro makes one constant of it for each handler. Only there is the type asked to be a message: a type that is none gives
/// one error, and everything else in the generated code still has a meaning. It is no associated type of [`Handler`], because
/// a public function may take a message that is private to its crate.
#[doc(hidden)]
#[derive(Debug)]
pub struct Incoming<M> {
    template: Template,
    decode: fn(&mut Delivery) -> Result<M, Rejection>,
    metadata: Metadata,
}

/// `Message`, without a list of every other message of the program in its error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Arrives: Sized {
    /// What the handler's return value means.
    type Kind;

    const INCOMING: Incoming<Self>;
}

#[diagnostic::do_not_recommend]
impl<M: OwnedMessage> Arrives for M {
    type Kind = M::Kind;

    const INCOMING: Incoming<Self> =
        Incoming { template: M::TEMPLATE, decode: Delivery::decode::<M>, metadata: <M::Codec as Codec>::metadata };
}

/// The message of a handler that borrows from the payload, such as `OrderView<'_>`, as the generated code uses it: [`Incoming`], but for the
/// lifetime of one call.
#[doc(hidden)]
#[derive(Debug)]
pub struct IncomingBorrowed {
    template: Template,
    metadata: Metadata,
}

/// `BorrowedMessage`, without a list of every other message of the program in its error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message that borrows from its payload",
    label = "does not borrow from its payload",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on a type with one lifetime"
)]
pub trait ArrivesBorrowed: Sized {
    /// What the handler's return value means.
    type Kind;
    /// The message, for the lifetime of one call.
    type At<'de>;

    const INCOMING: IncomingBorrowed;

    /// Like [`Incoming::decode`]. `payload` is the delivery's.
    fn decode<'de>(delivery: &mut Delivery, payload: &'de Bytes) -> Result<Self::At<'de>, Outcome>;
}

#[diagnostic::do_not_recommend]
impl<M: BorrowedMessage> ArrivesBorrowed for M {
    type Kind = M::Kind;
    type At<'de> = M::At<'de>;

    const INCOMING: IncomingBorrowed =
        IncomingBorrowed { template: M::TEMPLATE, metadata: <M::Codec as Codec>::metadata };

    fn decode<'de>(delivery: &mut Delivery, payload: &'de Bytes) -> Result<M::At<'de>, Outcome> {
        unless_expired(delivery.decode_borrowed::<M>(payload), delivery)
    }
}

impl<M> Incoming<M> {
    /// For a handler that leaves the lifetime of its message out, which is an error already.
    #[must_use]
    pub const fn without_lifetime(template: Template) -> Self {
        let decode = |_: &mut Delivery| Err(Rejection::Address { template: "", source: AddressError::Mismatch });
        Self { template, decode, metadata: |_, _| None }
    }

    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    #[must_use]
    pub const fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// The message.
    ///
    /// # Errors
    ///
    /// The outcome of a message that cannot be decoded, or that nobody waits for any more.
    pub fn decode(&self, delivery: &mut Delivery) -> Result<M, Outcome> {
        unless_expired((self.decode)(delivery), delivery)
    }
}

impl IncomingBorrowed {
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    #[must_use]
    pub const fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// What the message borrows from: it lives as long as the call.
    #[must_use]
    pub fn payload(&self, delivery: &Delivery) -> Bytes {
        delivery.share_payload()
    }
}

fn unless_expired<M>(decoded: Result<M, Rejection>, delivery: &Delivery) -> Result<M, Outcome> {
    let message = decoded.map_err(|rejection| Outcome::Rejected(Box::new(rejection)))?;
    if delivery.is_expired() { Err(Outcome::Expired) } else { Ok(message) }
}

/// The route of a handler whose macro has failed, so that no second error follows from the first.
#[doc(hidden)]
#[must_use]
pub const fn stub_route(handler: &'static str, segments: &'static [Segment]) -> Route {
    Route::new(handler, handler, Template::new(handler, segments), HandlerOptions::DEFAULT)
}

/// A router to stand in where `routes![…]` has failed, so that no second error follows from the first.
#[doc(hidden)]
#[derive(Debug)]
pub struct StubRouter;

impl StubRouter {
    pub fn with_state<S>(self, _state: S) -> Self {
        self
    }
}

impl Router for StubRouter {
    const ROUTES: &'static [Route] = &[];

    fn table() -> RouteTable {
        static STORAGE: TableStorage<1, 2> = TableStorage::build(&[]);
        STORAGE.table(&[])
    }

    async fn dispatch(&self, _route: usize, _delivery: &mut Delivery, _bus: &Bus) -> Outcome {
        Outcome::Done
    }
}

/// The outcome of a delivery whose argument could not be extracted. Called by generated code.
#[doc(hidden)]
#[must_use]
pub fn not_extracted(error: &ExtractError) -> Outcome {
    Outcome::Failed(error.to_string())
}
