//! What the subscriptions of a connection look like from outside.

use std::time::Instant;

use crate::transport::{
    contract::NameKind,
    registry::{attached::Registry, wire::Wire},
    status::{NameSnapshot, SubscriptionSnapshot, SubscriptionState},
};

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
