//! The handle to one transport.

use std::{fmt, sync::Arc};

use crate::{
    config::Config,
    error::{ConnectError, PublishError},
    message::Message,
    outcome::Outgoing,
    transport::{AnyTransport, Status, Transport},
};

/// The cheap-to-clone handle to one transport.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    transport: AnyTransport,
    config: Config,
}

impl Bus {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let config = Config::default();
        let transport = AnyTransport::connect(url, &config).await?;
        Ok(Self { shared: Arc::new(Shared { transport, config }) })
    }

    /// How the bus is connected.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.transport.status()
    }

    /// Stub. The future's type does not name `R`: a router that misses its state so gives one error, not one for each use.
    pub fn serve<R: crate::Router>(&self, router: R) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let _ = (R::ROUTES, R::table());
        Box::pin(async move { drop(router) })
    }

    pub(crate) fn encode<M: Message>(&self, _channel: &str, _message: &M) -> Result<Outgoing, PublishError> {
        let _ = &self.shared.config;
        Err(PublishError::Encode { name: M::NAME, reason: String::new() })
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").finish_non_exhaustive()
    }
}
