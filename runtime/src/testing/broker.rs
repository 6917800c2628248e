//! A memory broker in the hands of a test.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::transport::{glob, memory::broker};

/// A memory broker in the hands of a test: it can be stopped, frozen and questioned like a redis-server.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = tidings::testing::Broker::new();
/// let bus = tidings::Bus::connect(&broker.url()).await?;
/// broker.disconnect_subscribers(); // every subscription of the bus reports a gap
/// # Ok(()) }
/// ```
pub struct Broker {
    name: String,
    broker: Arc<broker::MemoryBroker>,
}

impl Broker {
    /// A broker that only those who know its [`url`](Self::url) can reach.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("testing-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let broker = broker::MemoryBroker::named(&name);
        Self { name, broker }
    }

    /// The address for [`Bus::connect`](crate::Bus::connect).
    #[must_use]
    pub fn url(&self) -> String {
        format!("memory:{}", self.name)
    }

    /// Publishes bytes as another program would, past every codec and namespace; returns the number of receivers.
    ///
    /// It does not wait for a service that does not keep up, as [`Bus`](crate::Bus)'s own functions do; what is published in one go
    /// waits in the service's buffer.
    pub fn publish_raw(&self, channel: &str, payload: &[u8]) -> u64 {
        self.broker.publish_raw(channel, payload)
    }

    /// Cuts every connection; all of them come back at once.
    pub fn disconnect_subscribers(&self) {
        self.broker.disconnect();
    }

    /// Takes the server away: publishing fails, subscriptions wait.
    pub fn stop(&self) {
        self.broker.stop();
    }

    /// Brings the server back.
    pub fn start(&self) {
        self.broker.start();
    }

    /// Makes the server hang: nothing is answered, and buses give it up after their PING deadline.
    pub fn freeze(&self) {
        self.broker.freeze();
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.broker.start();
    }

    /// How many buses are subscribed to exactly this channel.
    #[must_use]
    pub fn subscribers(&self, channel: &str) -> u64 {
        self.broker.subscribers(channel)
    }

    /// How many different patterns are subscribed to.
    #[must_use]
    pub fn patterns(&self) -> u64 {
        self.broker.patterns()
    }

    /// How many buses have subscriptions.
    #[must_use]
    pub fn subscriber_connections(&self) -> u64 {
        self.broker.subscriber_connections()
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Broker").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether the memory transport's patterns match so: for the test that compares them with Redis's.
#[doc(hidden)]
#[must_use]
pub fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    glob::matches(pattern, text)
}
