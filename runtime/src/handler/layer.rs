//! Layers of [`tower`](https://docs.rs/tower) around the handlers of a service: timeouts, limits, and your own. Needs the feature `tower`.
//!
//! A layer stands around one handler, `#[handler(layer = …)]`, or around all handlers of a service,
//! [`Serving::layer`](crate::Serving::layer). It is a [`tower::Layer`] of [`Handlers`], and makes a [`Service`] that takes an
//! [`Invocation`] and answers with an [`Outcome`]:
//!
//! ```text
//! concurrency and order of the handler ▸ its own timeout ▸ panics ▸ layers of the service ▸ layers of the handler ▸ decode, filter, handler
//! ```
//!
//! - **One service for all.** A layer is applied once, when the service starts; what it counts or limits, it counts and limits for all
//!   messages that pass it. The made service need not be `Clone`.
//! - **Readiness is waited for in order.** A message that is not let in waits and counts towards its handler's concurrency; those behind it
//!   wait behind it. When it gives up, because of the handler's timeout or a shutdown, the next one is asked for.
//! - **An error is a failure.** It is logged and counted as the handler's, and a requester is told that the handler failed.
//!   `tower`'s own [`Elapsed`] counts as timed out.
//! - **Metadata is there, the value is not.** Id, time, headers and deadline are read before the layers see the message; its value is
//!   decoded behind them.
//!
//! Handlers without a layer pay nothing. A message that passes layers costs an allocation for each, and its metadata is read twice.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use tidings::{Bus, Message, handler, routes};
//! use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[channel("mails:<id>")]
//! struct Mail { id: u64 }
//!
//! #[handler(layer = ConcurrencyLimitLayer::new(4))]
//! async fn send(_mail: Mail) {}
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bus = Bus::connect("memory:").await?;
//! let layers = ServiceBuilder::new().timeout(Duration::from_secs(1)).rate_limit(100, Duration::from_secs(1));
//! let service = bus.serve(routes![send]).layer(layers).await?;
//! # service.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! # Inside
//!
//! `serve` applies the layers of a service once, when it starts, and sends each delivery through those of its route. The module is a room of
//! `handler`, because a handler names its own layer, and uses `bus`, `route`, `message` and its neighbours. Without the feature
//! `no_layer.rs` stands in its place.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::Mutex;
use tower::{Layer, Service, timeout::error::Elapsed};

use crate::{
    bus::handle::Bus,
    handler::{
        causes::{Because, causes},
        contract::Router,
        outcome::Ended,
    },
    message::delivery::Delivery,
    route::entry::Route,
};

pub use crate::handler::outcome::{Outcome, OutcomeKind};
pub use tower::BoxError;

/// One call of a handler, on its way through the layers.
pub struct Invocation {
    delivery: Delivery,
    bus: Bus,
    entry: &'static Route,
    route: usize,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, delivery) = (self.route().handler(), &self.delivery);
        formatter
            .debug_struct("Invocation")
            .field("handler", &handler)
            .field("delivery", delivery)
            .finish_non_exhaustive()
    }
}

impl Invocation {
    /// The handler's name, channel and options.
    #[must_use]
    pub fn route(&self) -> &'static Route {
        self.entry
    }

    /// The message's channel, metadata and payload.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The bus on which the router is served.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }
}

/// The service that layers are put around: it decodes the message, runs the handler, and tells what came of it.
///
/// It is always ready, and cheap to clone.
#[derive(Clone)]
pub struct Handlers {
    inner: Arc<dyn Stack>,
}

/// What came of an invocation, once it is known.
pub type HandlersFuture = Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>;

impl Service<Invocation> for Handlers {
    type Response = Outcome;
    type Error = BoxError;
    type Future = HandlersFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> HandlersFuture {
        Arc::clone(&self.inner).call(invocation)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handlers").finish_non_exhaustive()
    }
}

/// Handlers with any number of layers around them.
trait Stack: Send + Sync {
    /// Runs no code of a layer before the first poll, so that a panic in it counts as a panic of the call.
    fn call(self: Arc<Self>, invocation: Invocation) -> HandlersFuture;
}

/// The handlers of a router, without layers.
struct Dispatch<R>(Arc<R>);

impl<R: Router> Stack for Dispatch<R> {
    fn call(self: Arc<Self>, mut invocation: Invocation) -> HandlersFuture {
        Box::pin(async move {
            let Invocation { delivery, bus, route, .. } = &mut invocation;
            Ok(self.0.dispatch(*route, delivery, bus).await)
        })
    }
}

/// The handlers of a router, each with the layers of its own.
struct Each(Vec<Handlers>);

impl Stack for Each {
    fn call(self: Arc<Self>, invocation: Invocation) -> HandlersFuture {
        Arc::clone(&self.0[invocation.route].inner).call(invocation)
    }
}

/// A service that a layer has made. Its lock is first in, first out, and is held until the service has taken the invocation.
struct Layered<S>(Mutex<S>);

impl<S> Stack for Layered<S>
where
    S: Service<Invocation, Response = Outcome, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    fn call(self: Arc<Self>, invocation: Invocation) -> HandlersFuture {
        Box::pin(async move {
            let response = {
                // Cancel-safe: a call that is dropped here releases the lock, and the next one polls the service anew.
                let mut service = self.0.lock().await;
                poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
                service.call(invocation)
            };
            response.await.map_err(Into::into)
        })
    }
}

/// A layer, ready to be put around handlers.
#[doc(hidden)]
pub struct HandlerLayer(Box<dyn FnOnce(Handlers) -> Handlers + Send>);

impl fmt::Debug for HandlerLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HandlerLayer").finish_non_exhaustive()
    }
}

/// Called by generated code.
#[doc(hidden)]
pub fn handler_layer<L>(layer: L) -> HandlerLayer
where
    L: Layer<Handlers> + Send + 'static,
    L::Service: Service<Invocation, Response = Outcome, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    HandlerLayer(Box::new(move |handlers| Handlers { inner: Arc::new(Layered(Mutex::new(layer.layer(handlers)))) }))
}

/// The layers of a service.
#[derive(Debug)]
pub(crate) struct Layers {
    /// For each route, or empty if there is no layer at all.
    routes: Vec<Option<Handlers>>,
}

impl Layers {
    /// Evaluates the layers of the handlers, and puts these `around` all of them.
    pub(crate) fn new<R: Router>(router: &Arc<R>, around: Vec<HandlerLayer>) -> Self {
        let own: Vec<_> = R::layers().into_iter().map(|layer| layer.map(|layer| layer())).collect();
        if around.is_empty() && own.iter().all(Option::is_none) {
            return Self { routes: Vec::new() };
        }
        let handlers = Handlers { inner: Arc::new(Dispatch(Arc::clone(router))) };
        let own = own.into_iter().map(|layer| layer.map(|HandlerLayer(wrap)| wrap(handlers.clone())));
        if around.is_empty() {
            return Self { routes: own.collect() };
        }
        let each = own.map(|layered| layered.unwrap_or_else(|| handlers.clone())).collect();
        let each = Handlers { inner: Arc::new(Each(each)) };
        let all = around.into_iter().fold(each, |handlers, HandlerLayer(wrap)| wrap(handlers));
        Self { routes: vec![Some(all); R::ROUTES.len()] }
    }

    /// The layers around a route.
    pub(crate) fn around(&self, route: usize) -> Option<&Handlers> {
        self.routes.get(route)?.as_ref()
    }
}

impl Handlers {
    /// Sends a delivery through the layers. They get a delivery of their own, and may keep it for as long as they want.
    pub(crate) fn invoke(
        &self,
        entry: &'static Route,
        route: usize,
        delivery: &mut Delivery,
        bus: &Bus,
    ) -> Pin<Box<dyn Future<Output = Ended> + Send>> {
        delivery.read(entry.facts().read_metadata());
        let delivery = delivery.split();
        let invocation = Invocation { delivery, bus: bus.clone(), entry, route };
        let response = Arc::clone(&self.inner).call(invocation);
        Box::pin(async move {
            match response.await {
                Ok(outcome) => Ended::Returned(outcome),
                Err(error) if is_elapsed(&*error) => Ended::TimedOut,
                Err(error) => {
                    Ended::Returned(Outcome::Failed(error.to_string().into()).because(Because::of(causes(&*error))))
                }
            }
        })
    }
}

/// Whether it is tower's timeout, or says that it was caused by it.
fn is_elapsed(error: &(dyn Error + 'static)) -> bool {
    error.is::<Elapsed>() || error.source().is_some_and(is_elapsed)
}
