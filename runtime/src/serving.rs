//! A service before it is started: what is to differ from the defaults.

use std::fmt;

use crate::{
    bus::Bus,
    config::{Bounds, Overflow},
    error::SubscribeError,
    future::BusFuture,
    handler::Router,
    layer::HandlerLayer,
    service::Service,
};

/// A service that starts when this is awaited. [`Bus::serve`] makes it.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, Overflow, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("news")]
/// # struct News { n: u64 }
/// # #[handler]
/// # async fn news(_news: News) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let service = bus.serve(routes![news]).overflow(Overflow::DropNewest).buffer(1_000, 1024 * 1024).await?;
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is served until this is awaited"]
pub struct Serving {
    bus: Bus,
    options: Options,
    /// The router is in here. Without its type, a wrong router is one error, at the argument of `serve`.
    start: Start,
}

type Start = Box<dyn FnOnce(Bus, Options) -> BusFuture<'static, Result<Service, SubscribeError>> + Send>;

/// What a service is started with.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) overflow: Overflow,
    /// Of what waits for each handler.
    pub(crate) bounds: Bounds,
    /// Around the whole router, the innermost first.
    pub(crate) layers: Vec<HandlerLayer>,
}

impl Serving {
    pub(crate) fn new<R: Router>(bus: Bus, router: R) -> Self {
        let options =
            Options { overflow: Overflow::default(), bounds: bus.config().handler_buffer, layers: Vec::new() };
        Self { bus, options, start: Box::new(|bus, options| BusFuture::new(Service::start(bus, router, options))) }
    }

    /// What happens when too many messages wait for a handler. Default: [`Overflow::DropOldest`].
    ///
    /// Messages wait when their handler is at its concurrency or works on an earlier message of their channel. With
    /// [`Overflow::BackPressure`] one handler that is full holds up all handlers of the service; serve those that must not wait for it as
    /// a service of their own.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// The bounds of what waits for each handler: messages and bytes, each at least 1. Default: those of the bus, 16,384 messages and
    /// 16 MiB.
    ///
    /// One message fits always, however large it is. In front of the handlers the service holds up to 8,192 messages and 1 MiB more,
    /// which are being handed over.
    pub fn buffer(mut self, messages: usize, bytes: usize) -> Self {
        self.options.bounds = Bounds { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    #[cfg(feature = "tower")]
    pub(crate) fn options(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl IntoFuture for Serving {
    type Output = Result<Service, SubscribeError>;
    type IntoFuture = BusFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        (self.start)(self.bus, self.options)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Serving").field("options", &self.options).finish_non_exhaustive()
    }
}
