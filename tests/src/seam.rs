//! Stands in for a part of the runtime that does not exist yet, with the names it will have there.
//!
//! To remove: import `tidings::testing::Broker` in `world`.

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
