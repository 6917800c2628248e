//! What the subscriptions of a connection look like from outside.

use std::time::{Duration, Instant};

use crate::transport::{
    NameKind,
    registry::{Registry, wire::Wire},
};

/// A subscription or service, as [`Bus::stats`](crate::Bus::stats) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A channel or pattern of a [`SubscriptionSnapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameSnapshot {
    /// The channel or pattern on the server, with the namespace.
    pub name: String,
    /// Whether it is a pattern.
    pub is_pattern: bool,
    /// The template of its messages, where it is known.
    pub template: Option<&'static str>,
    /// How it stands with the server.
    pub state: SubscriptionState,
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

impl Registry {
    /// How many channels and patterns the server has confirmed.
    pub(crate) fn active(&self) -> usize {
        self.names.iter().filter(|entry| entry.wire == Wire::Active).count()
    }

    /// Every attached inbox but those without a buffer.
    pub(crate) fn snapshots(&self, now: Instant) -> Vec<SubscriptionSnapshot> {
        let ids = self.members.indices().into_iter();
        ids.filter_map(|id| self.snapshot(id, now)).collect()
    }

    fn snapshot(&self, id: usize, now: Instant) -> Option<SubscriptionSnapshot> {
        let member = self.members.get(id)?;
        let traffic = member.inbox.traffic()?;
        let names = member.names.iter().filter_map(|&name| {
            let entry = self.names.get(name)?;
            let subscriber = entry.subscribers.iter().find(|subscriber| subscriber.member == id)?;
            Some(NameSnapshot {
                name: entry.name.text.clone(),
                is_pattern: entry.name.kind == NameKind::Pattern,
                template: member.inbox.template(subscriber.token),
                state: match entry.wire {
                    Wire::Active => SubscriptionState::Active,
                    Wire::Resting(_) => SubscriptionState::Refused,
                    Wire::Absent | Wire::Subscribing | Wire::Unsubscribing => SubscriptionState::Pending,
                },
            })
        });
        Some(SubscriptionSnapshot {
            names: names.collect(),
            messages: traffic.messages,
            bytes: traffic.bytes,
            dropped: traffic.dropped,
            waiting: traffic.waiting,
            last_activity: traffic.last.map(|last| now.saturating_duration_since(last)),
        })
    }
}
