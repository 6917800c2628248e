//! What the tokio task of a connection for subscriptions shares with its callers: the names and inboxes, and how the connection is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::transport::{
    contract::Detach,
    events::Events,
    life::Life,
    registry::attached::{Confirmation, Registry},
    status::Status,
};

/// Callers change the registry under its lock and wake the tokio task.
pub(super) struct SharedRegistry {
    registry: Mutex<Registry>,
    status: Mutex<Status>,
    /// Told when the registry has changed.
    pub(super) changed: Notify,
    pub(super) owner: Owner,
    pub(super) events: Arc<Events>,
}

/// Whose connection it is.
pub(super) enum Owner {
    /// That of all who have none of their own; the bus ends when it gives up.
    Bus(Arc<Life>),
    /// That of one inbox, which is called by its first name. It ends with the bus too.
    One { channel: String, bus: Arc<Life> },
}

impl SharedRegistry {
    pub(super) fn new(owner: Owner, events: Arc<Events>) -> Self {
        Self {
            registry: Mutex::new(Registry::new(Confirmation::ByServer).telling(Arc::clone(&events))),
            status: Mutex::new(Status::Connected),
            changed: Notify::new(),
            owner,
            events,
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        // The registry's methods keep its parts consistent even if an allocation failed in between.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self, reason: &str) {
        // The status first: whoever sees a subscription end must not then read that the bus is reconnecting.
        *self.status() = Status::Closed;
        if let Owner::Bus(life) = &self.owner {
            life.end(reason);
        }
        self.registry().close_all(reason);
    }
}

impl Detach for SharedRegistry {
    fn detach(&self, id: usize) {
        self.registry().detach(id);
        self.changed.notify_one();
    }

    fn leave(&self, id: usize) -> oneshot::Receiver<()> {
        let left = self.registry().leave(id);
        self.changed.notify_one();
        left
    }
}

/// Ends every inbox when the tokio task ends, whatever ended it: without the tokio task they would wait for ever.
pub(super) struct ClosesInboxes(pub(super) Arc<SharedRegistry>);

impl Drop for ClosesInboxes {
    fn drop(&mut self) {
        self.0.close("the subscription tokio task has ended");
    }
}
