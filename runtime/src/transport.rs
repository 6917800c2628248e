//! What carries bytes. Nothing above this module knows which transport it is, nothing below knows about messages.

pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod glob;
pub(crate) mod inbox;
pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod registry;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    config::Config,
    error::{ConnectError, SubscribeError},
    health::{Health, HealthError},
    transport::{events::Events, inbox::Inbox, registry::snapshot::SubscriptionSnapshot},
};

/// A name on the wire to subscribe to: a channel, or a pattern in Redis's glob syntax. The namespace is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) kind: NameKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NameKind {
    Channel,
    Pattern,
}

/// A name that an inbox wants, and the token that its frames carry.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Name,
    pub(crate) token: u32,
}

/// Speaks frames. Dropping a future of a transport loses no frame and leaks no subscription.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Publishes, and tells how many received it where the server can tell.
    fn publish(
        &self,
        channel: String,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Option<u64>, PublishFailure>> + Send;

    /// Publishes in one round trip, in order; a result for each.
    fn publish_all(
        &self,
        messages: Vec<(String, Vec<u8>)>,
    ) -> impl Future<Output = Vec<Result<Option<u64>, PublishFailure>>> + Send;

    /// Publishes all of them or none, in order; the number of receivers of each.
    fn publish_atomically(
        &self,
        messages: Vec<(String, Vec<u8>)>,
    ) -> impl Future<Output = Result<Vec<u64>, PublishFailure>> + Send;

    /// Connects the inbox to the names; returns once the server has confirmed every one of them. All or nothing.
    fn attach(
        &self,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> impl Future<Output = Result<Attachment, SubscribeError>> + Send;

    /// How the subscription connection is.
    fn status(&self) -> Status;

    /// What happens to the connections.
    fn events(&self) -> &Events;

    /// What the subscriptions look like.
    fn snapshots(&self) -> Vec<SubscriptionSnapshot>;

    /// Asks the server how it is.
    fn health(&self) -> impl Future<Output = Result<Health, HealthError>> + Send;
}

/// An inbox's place in a transport. Dropping it unsubscribes what nobody else wants, without blocking.
pub(crate) struct Attachment {
    detach: Arc<dyn Detach>,
    id: usize,
}

pub(crate) trait Detach: Send + Sync {
    fn detach(&self, id: usize);
}

impl Attachment {
    pub(crate) fn new(detach: Arc<dyn Detach>, id: usize) -> Self {
        Self { detach, id }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.detach.detach(self.id);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attachment").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a publish failed, as far as a transport knows.
#[derive(Debug)]
pub(crate) enum PublishFailure {
    /// The access rules refuse the channel.
    Refused { channel: String, reason: String, rule: String },
    /// No answer in time: the outcome is unknown.
    TimedOut(Duration),
    /// The connection was lost before the answer: the outcome is unknown.
    ConnectionLost(String),
    /// The transport has given up; nothing was sent.
    Closed(String),
    /// Nothing was sent.
    NotConnected(String),
    /// The server refused for another reason.
    Server(String),
}

/// How a bus is connected, as [`Bus::status`](crate::Bus::status) reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Subscriptions are served.
    Connected,
    /// The connection for subscriptions is gone and is being made anew.
    Reconnecting {
        /// Why it was lost.
        cause: GapCause,
    },
    /// The reconnect policy's limit was reached; every subscription has ended.
    Closed,
}

/// A time in which a subscription may have missed messages. It is over when the event arrives: what follows is live again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why there was a gap.
    pub cause: GapCause,
    /// From the moment the loss of the connection was noticed until the server confirmed the subscription again. The connection
    /// may have been dead for up to the ping interval and deadline before that.
    pub lasted: Duration,
}

/// Why there was a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// The server closed the connection, or the network did.
    Disconnected(String),
    /// The server did not answer a PING within the deadline.
    Timeout,
    /// The server sent bytes that are no protocol.
    Protocol(String),
}

impl fmt::Display for GapCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(reason) => write!(formatter, "disconnected: {reason}"),
            Self::Timeout => formatter.write_str("the server did not answer in time"),
            Self::Protocol(reason) => write!(formatter, "protocol error: {reason}"),
        }
    }
}

/// One of the transports.
#[derive(Debug)]
pub(crate) enum AnyTransport {
    Memory(memory::Memory),
    /// Boxed: the other transport is small.
    Redis(Box<redis::Redis>),
}

impl AnyTransport {
    pub(crate) async fn connect(url: &str, config: &Config) -> Result<Self, ConnectError> {
        match url.strip_prefix("memory:") {
            Some(broker) => Ok(Self::Memory(memory::Memory::connect(broker, config))),
            None => redis::Redis::connect(url, config).await.map(|redis| Self::Redis(Box::new(redis))),
        }
    }

    /// Its name among messaging systems.
    pub(crate) fn system(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }
}

impl Transport for AnyTransport {
    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<Option<u64>, PublishFailure> {
        match self {
            Self::Memory(memory) => memory.publish(channel, payload).await,
            Self::Redis(redis) => redis.publish(channel, payload).await,
        }
    }

    async fn publish_all(&self, messages: Vec<(String, Vec<u8>)>) -> Vec<Result<Option<u64>, PublishFailure>> {
        match self {
            Self::Memory(memory) => memory.publish_all(messages).await,
            Self::Redis(redis) => redis.publish_all(messages).await,
        }
    }

    async fn publish_atomically(&self, messages: Vec<(String, Vec<u8>)>) -> Result<Vec<u64>, PublishFailure> {
        match self {
            Self::Memory(memory) => memory.publish_atomically(messages).await,
            Self::Redis(redis) => redis.publish_atomically(messages).await,
        }
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        match self {
            Self::Memory(memory) => memory.attach(inbox, names).await,
            Self::Redis(redis) => redis.attach(inbox, names).await,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Memory(memory) => memory.status(),
            Self::Redis(redis) => redis.status(),
        }
    }

    fn events(&self) -> &Events {
        match self {
            Self::Memory(memory) => memory.events(),
            Self::Redis(redis) => redis.events(),
        }
    }

    fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        match self {
            Self::Memory(memory) => memory.snapshots(),
            Self::Redis(redis) => redis.snapshots(),
        }
    }

    async fn health(&self) -> Result<Health, HealthError> {
        match self {
            Self::Memory(memory) => memory.health().await,
            Self::Redis(redis) => redis.health().await,
        }
    }
}
