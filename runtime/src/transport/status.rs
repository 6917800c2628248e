//! How a bus is connected, and what its subscriptions look like from outside.

use std::{fmt, time::Duration};

use crate::channel::text::Shown;

/// How a bus is connected, as [`Bus::status`](crate::Bus::status) reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Subscriptions are served, and messages can be published.
    Connected,
    /// The connection for subscriptions or the one for publishing is gone and is being made anew.
    #[non_exhaustive]
    Reconnecting {
        /// Why it was lost.
        cause: GapCause,
        /// The server that was lost, or that is tried, as host and port; absent on `memory:`, and where nobody knows a master. On a Redis Cluster each node is
        /// reached by itself, and this is one that is not.
        server: Option<String>,
    },
    /// The program has closed the bus, or the reconnect policy's limit was reached: every subscription has ended.
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
    /// On a Redis Cluster: the slot of a shard channel moved to another node, and the subscription went there.
    SlotMoved,
}

impl fmt::Display for GapCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(reason) => write!(formatter, "disconnected: {reason}"),
            Self::Timeout => formatter.write_str("the server did not answer in time"),
            Self::Protocol(reason) => write!(formatter, "protocol error: {reason}"),
            Self::SlotMoved => formatter.write_str("its slot moved to another node of the cluster"),
        }
    }
}

/// A subscription or service, as [`Bus::stats`](crate::Bus::stats) shows it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionSnapshot {
    /// Its channels and patterns: one for a subscription, one or more for a service.
    pub names: Vec<NameSnapshot>,
    /// Messages received, those that were dropped later included.
    pub messages: u64,
    /// Bytes of their channels and payloads.
    pub bytes: u64,
    /// Messages dropped because the buffer was full.
    pub dropped: u64,
    /// Messages that wait in the buffer.
    pub waiting: usize,
    /// How long ago the last message arrived; absent before the first.
    pub last_activity: Option<Duration>,
}

impl fmt::Debug for SubscriptionSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("SubscriptionSnapshot");
        let names: Vec<_> = self.names.iter().take(SHOWN).map(|name| Shown(&name.name)).collect();
        shown.field("names", &names);
        if self.names.len() > SHOWN {
            shown.field("further_names", &(self.names.len() - SHOWN));
        }
        let unconfirmed = self.names.iter().filter(|name| name.state != SubscriptionState::Active).count();
        if unconfirmed > 0 {
            shown.field("unconfirmed", &unconfirmed);
        }
        shown.field("messages", &self.messages).field("dropped", &self.dropped).field("waiting", &self.waiting);
        shown.finish_non_exhaustive()
    }
}

/// Names that are shown of many.
const SHOWN: usize = 2;

/// A channel or pattern of a [`SubscriptionSnapshot`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameSnapshot {
    /// The channel or pattern on the server, with the namespace.
    pub name: String,
    /// Whether it is a channel or a pattern.
    pub kind: NameKind,
    /// The template of its messages, where it is known.
    pub template: Option<&'static str>,
    /// How it stands with the server.
    pub state: SubscriptionState,
}

impl fmt::Debug for NameSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, template, state } = self;
        formatter
            .debug_struct("NameSnapshot")
            .field("name", &Shown(name))
            .field("kind", kind)
            .field("template", template)
            .field("state", state)
            .finish()
    }
}

/// How a channel or pattern stands with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// It is not confirmed: it was just asked for, or the connection is being made anew.
    Pending,
    /// Confirmed: its messages arrive.
    Active,
    /// The server refused it, or could not serve it; it is tried again.
    Refused,
}

/// What a name on the server stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// One channel.
    Channel,
    /// One shard channel, which no pattern matches: the inbox of an instance, or where it is asked for.
    /// [SSUBSCRIBE](https://redis.io/docs/latest/commands/ssubscribe/).
    ShardChannel,
    /// All channels that match it, in Redis's [glob syntax](https://redis.io/docs/latest/commands/psubscribe/).
    Pattern,
}
