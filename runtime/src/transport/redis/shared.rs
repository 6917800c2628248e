//! What the tokio task of a connection for subscriptions shares with its callers: the names and inboxes, and how the connection is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::transport::{
    contract::{Detach, Name, Wanted},
    events::Events,
    inbox::Inbox,
    life::Life,
    registry::attached::{Attached, Confirmation, Loss, Registry},
    status::Status,
};

/// A node that does not say so within this time that nothing more of a name comes has nothing more of it, or is not heard.
const LINGER: Duration = Duration::from_secs(1);

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
    /// That of shard channels on one node of a cluster; the bus ends when it gives up, and not when it is dropped.
    Node(Arc<Life>),
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

    fn leave(&self, id: usize) -> Vec<oneshot::Receiver<()>> {
        let left = self.registry().leave(id);
        self.changed.notify_one();
        vec![left]
    }
}

/// Where an inbox has some of its names: on one of several connections. Dropping it unsubscribes them; the inbox stays attached elsewhere.
pub(super) struct Part {
    shared: Arc<SharedRegistry>,
    id: usize,
}

impl Part {
    /// Begins to attach; the receiver tells when every name is confirmed, or why not.
    pub(super) fn attach(
        shared: &Arc<SharedRegistry>,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> (Self, oneshot::Receiver<Attached>) {
        let (id, attached) = shared.registry().attach(inbox, names);
        shared.changed.notify_one();
        (Self { shared: Arc::clone(shared), id }, attached)
    }

    /// Goes on with names that the inbox had elsewhere.
    pub(super) fn take_up(shared: &Arc<SharedRegistry>, inbox: Arc<Inbox>, names: Vec<(Wanted, Loss)>) -> Self {
        let mut registry = shared.registry();
        let id = registry.take_up(inbox, names, Instant::now());
        let wishes = registry.flush();
        drop(registry);
        // It is told of a gap at most, with which no inbox becomes full.
        let _ = wishes.read();
        shared.changed.notify_one();
        Self { shared: Arc::clone(shared), id }
    }

    /// Gives up a name, which the inbox gets elsewhere; tells since when it misses messages, if it does.
    pub(super) fn give_up(&self, name: &Name) -> Option<Loss> {
        let loss = self.shared.registry().give_up(self.id, name);
        self.shared.changed.notify_one();
        loss
    }

    /// Whether the name is there, and no message of it is missed.
    pub(super) fn is_live(&self, name: &Name) -> bool {
        self.shared.registry().is_live(name)
    }

    /// Leaves, and ends when nothing more comes, or soon after. Tells since when messages are missed, if the connection was lost meanwhile.
    pub(super) async fn linger(self) -> Option<Loss> {
        let since = Instant::now();
        let _ = timeout(LINGER, self.leave()).await;
        match &*self.shared.status() {
            Status::Reconnecting { cause, .. } => Some(Loss { cause: cause.clone(), at: since }),
            Status::Connected | Status::Closed => None,
        }
    }

    pub(super) fn first_unconfirmed(&self) -> Option<(String, Option<String>)> {
        self.shared.registry().first_unconfirmed(self.id)
    }

    /// See [`Detach::leave`].
    pub(super) fn leave(&self) -> oneshot::Receiver<()> {
        let left = self.shared.registry().leave(self.id);
        self.shared.changed.notify_one();
        left
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shared.registry().release(self.id);
        self.shared.changed.notify_one();
    }
}

/// Ends every inbox when the tokio task ends, whatever ended it: without the tokio task they would wait for ever.
pub(super) struct ClosesInboxes(pub(super) Arc<SharedRegistry>);

impl Drop for ClosesInboxes {
    fn drop(&mut self) {
        self.0.close("the subscription tokio task has ended");
    }
}
