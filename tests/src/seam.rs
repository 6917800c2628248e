//! Stands in for parts of the runtime that do not exist yet, with the names they will have there.
//!
//! To remove: import `tidings::{BusBuilder, testing::Broker}` in `world` and make the bus with `Bus::builder`.

use std::time::Duration;

use tidings::{Bus, ConnectError, Reconnect};

/// Stands in for `tidings::testing::Broker`.
#[derive(Debug)]
pub(crate) struct Broker;

impl Broker {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn url(&self) -> String {
        "memory:".to_owned()
    }

    pub(crate) fn publish_raw(&self, _channel: &str, _payload: &[u8]) -> u64 {
        0
    }

    pub(crate) fn disconnect_subscribers(&self) {}

    pub(crate) fn stop(&self) {}

    pub(crate) fn start(&self) {}

    pub(crate) fn freeze(&self) {}

    pub(crate) fn thaw(&self) {}

    pub(crate) fn subscribers(&self, _channel: &str) -> u64 {
        0
    }

    pub(crate) fn patterns(&self) -> u64 {
        0
    }

    pub(crate) fn subscriber_connections(&self) -> u64 {
        0
    }
}

/// Stands in for `tidings::BusBuilder`.
#[derive(Debug)]
pub struct BusBuilder(String);

impl BusBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// Does nothing yet.
    #[must_use]
    pub fn reconnect(self, _policy: Reconnect) -> Self {
        self
    }

    /// Does nothing yet.
    #[must_use]
    pub fn ping(self, _interval: Duration, _deadline: Duration) -> Self {
        self
    }

    pub(crate) async fn connect(self) -> Result<Bus, ConnectError> {
        Bus::connect(&self.0).await
    }
}
