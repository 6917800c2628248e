//! What the subscriptions of a connection look like from outside.

use std::{sync::Arc, time::Instant};

use crate::transport::{
    inbox::Inbox,
    registry::{attached::Registry, standing::Standing},
    status::{NameSnapshot, SubscriptionSnapshot, SubscriptionState},
};

impl Registry {
    /// How many channels and patterns the server has confirmed.
    pub(crate) fn active(&self) -> usize {
        self.names.iter().filter(|entry| entry.standing == Standing::Active).count()
    }

    /// Every attached inbox but those without a buffer, and those of instances.
    pub(crate) fn snapshots(&self, now: Instant) -> Vec<SubscriptionSnapshot> {
        self.shown(now).into_iter().map(|(_, snapshot)| snapshot).collect()
    }

    /// The same, with the inboxes: one may be attached to several connections.
    pub(crate) fn shown(&self, now: Instant) -> Vec<(Arc<Inbox>, SubscriptionSnapshot)> {
        let ids = self.listeners.indices().into_iter();
        ids.filter_map(|id| Some((Arc::clone(&self.listeners.get(id)?.inbox), self.snapshot(id, now)?))).collect()
    }

    fn snapshot(&self, id: usize, now: Instant) -> Option<SubscriptionSnapshot> {
        let listener = self.listeners.get(id)?;
        let traffic = listener.inbox.traffic().filter(|_| listener.inbox.is_listed())?;
        let names = listener.names.iter().filter_map(|&name| {
            let entry = self.names.get(name)?;
            let interest = entry.interests.iter().find(|interest| interest.listener == id)?;
            Some(NameSnapshot {
                name: entry.name.text.clone(),
                kind: entry.name.kind,
                template: listener.inbox.template(interest.token),
                state: match entry.standing {
                    Standing::Active => SubscriptionState::Active,
                    Standing::Resting(_) => SubscriptionState::Refused,
                    Standing::Absent | Standing::Subscribing | Standing::Unsubscribing => SubscriptionState::Pending,
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
