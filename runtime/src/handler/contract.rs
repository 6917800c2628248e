//! What a handler and a router are: types with constants and an asynchronous call.

use crate::{
    bus::handle::Bus,
    handler::{ending::Endings, layer::HandlerLayer, outcome::Outcome},
    message::delivery::Delivery,
    route::{entry::Route, routes::Routes},
};

/// An asynchronous function that takes one message type. `#[handler]` implements it; never implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "write `#[handler]` on the asynchronous function"
)]
pub trait Handler {
    /// The handler's channel and options.
    const ROUTE: Route;

    /// Makes the layer around the handler, if it has one of its own.
    #[doc(hidden)]
    const LAYER: Option<fn() -> HandlerLayer> = None;

    /// How the end of its tasks is announced.
    #[doc(hidden)]
    const ENDINGS: Endings = Endings::NONE;
}

/// What generated code puts beside a function, to say which type has its name.
#[doc(hidden)]
pub trait StandsFor {
    /// The handler.
    type Handler;
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

/// A set of handlers, of which each message goes to exactly one. `#[router]`, `routes![…]` and `routers![…]` implement it; never implement
/// it by hand. An `Arc`, a `Box` or a `&'static` of a router is one too: `bus.serve(Arc::clone(&shop))` keeps a handle to it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a router",
    label = "not a router",
    note = "write `#[router]` on the `impl` block of a type, collect free handlers with `routes![…]`, or several routers with `routers![…]`"
)]
pub trait Router: Send + Sync + Sized + 'static {
    /// The router's own type. Of a type that is no router there is none, so what is made of it in `routers![…]` gives no further error.
    #[doc(hidden)]
    type Itself: Router;

    /// The handlers, in the order in which they are written.
    const ROUTES: Routes;

    #[doc(hidden)]
    fn itself(self) -> Self::Itself;

    /// What makes the layer of each handler, in the same order.
    #[doc(hidden)]
    fn layers() -> Vec<Option<fn() -> HandlerLayer>>;

    /// How the end of each handler's tasks is announced, in the same order. Where it is shorter, the rest is not.
    #[doc(hidden)]
    fn endings() -> Vec<Endings> {
        Vec::new()
    }

    /// Runs the handler of a route.
    #[doc(hidden)]
    fn dispatch<'a>(
        &'a self,
        route: usize,
        delivery: &'a mut Delivery,
        bus: &'a Bus,
    ) -> impl Future<Output = Outcome> + Send + 'a;
}
