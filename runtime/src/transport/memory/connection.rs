//! One bus's connection, as the memory broker sees it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    config::Config,
    time::now,
    transport::{
        contract::{Detach, Reach},
        events::Events,
        frame::{Frame, Origin},
        inbox::{HEAD_KEPT, Item},
        life::Life,
        memory::broker::{Condition, MemoryBroker},
        registry::{
            attached::{Confirmation, Registry},
            standing::{CommandBounds, one_group},
        },
        status::GapCause,
    },
};

pub(crate) struct Connection {
    pub(super) broker: Weak<MemoryBroker>,
    pub(super) registry: Mutex<Registry>,
    /// Bytes of the namespace and its separator at the start of each channel.
    pub(super) prefix: usize,
    pub(super) payload_limit: usize,
    pub(super) command_timeout: Duration,
    /// After how long a silent server counts as gone.
    pub(super) patience: Duration,
    /// Since when the server is away.
    pub(super) away: Mutex<Option<Instant>>,
    pub(super) life: Life,
    pub(super) events: Arc<Events>,
}

/// The longest name: as much as a connection to a server takes.
const NAME_BYTES: usize = 64 * 1024;

impl Connection {
    pub(super) fn new(broker: &Arc<MemoryBroker>, config: &Config) -> Self {
        let events = Events::new(Instant::now());
        Self {
            broker: Arc::downgrade(broker),
            registry: Mutex::new(Registry::new(Confirmation::ByServer).telling(Arc::clone(&events))),
            prefix: config.namespace.as_ref().map_or(0, |namespace| namespace.len() + 1),
            payload_limit: config.payload_limit,
            command_timeout: config.command_timeout,
            patience: config.ping_interval.saturating_add(config.ping_deadline),
            away: Mutex::default(),
            life: Life::default(),
            events,
        }
    }

    pub(super) fn item(&self, reach: Reach, bytes: &Bytes, channel: usize, token: u32) -> Item {
        let size = bytes.len() - channel;
        // Every name that this connection wants starts with its namespace, so the channel is at least as long.
        let local = self.prefix.min(channel);
        // What a shard channel carries begins with the channel of its message, whose payload is measured by whoever takes it apart.
        let limit = self.payload_limit + if reach == Reach::ShardChannel { NAME_BYTES } else { 0 };
        if size > limit {
            let head = bytes[channel..].iter().copied().take(HEAD_KEPT).collect();
            return Item::Oversized { token, channel: bytes[local..channel].to_owned(), head, size };
        }
        let position = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Item::Frame(Frame::new(
            bytes.clone(),
            position(local)..position(channel),
            position(channel)..position(bytes.len()),
            Origin::Broadcast { token },
            now(),
        ))
    }

    pub(super) fn lost(&self, cause: GapCause, now: Instant) {
        self.lock().connection_lost(&cause, now);
        self.away.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
        self.events.disconnected(cause, None, now);
    }

    /// The server answers again, and confirms what is wanted.
    pub(super) fn back(&self) {
        let mut registry = self.lock();
        confirm_all(&mut registry);
        let active = registry.active();
        drop(registry);
        if let Some(since) = self.away.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let now = Instant::now();
            let lasted = now.saturating_duration_since(since);
            self.events.connected(lasted, None);
            self.events.resubscribed(active, lasted, now);
        }
    }

    /// Leaves the broker for good.
    pub(super) fn close(self: &Arc<Self>, broker: &MemoryBroker, reason: &str) {
        if self.life.ended().is_some() {
            return;
        }
        broker.lock().connections.retain(|other| !Arc::ptr_eq(other, self));
        // The reason first: whoever sees a subscription end must not then read that the bus is reconnecting.
        self.life.end(reason);
        self.lock().close_all(reason);
        self.events.closed(reason, Instant::now());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Detach for Connection {
    fn detach(&self, id: usize) {
        let broker = self.broker.upgrade();
        // The broker's lock comes before the registry's, here as everywhere.
        let state = broker.as_ref().map(|broker| broker.lock());
        let mut registry = self.lock();
        registry.detach(id);
        if state.is_some_and(|state| state.condition == Condition::Up) {
            confirm_all(&mut registry);
        }
    }

    fn leave(&self, id: usize) -> Vec<oneshot::Receiver<()>> {
        let broker = self.broker.upgrade();
        let state = broker.as_ref().map(|broker| broker.lock());
        let mut registry = self.lock();
        let left = registry.leave(id);
        if state.is_none_or(|state| state.condition == Condition::Up) {
            confirm_all(&mut registry);
        }
        vec![left]
    }
}

/// Nothing is sent, so that nothing has to be divided.
const BOUNDLESS: CommandBounds = CommandBounds { names: usize::MAX, bytes: usize::MAX, group: one_group };

/// The server's answers, given at once.
pub(super) fn confirm_all(registry: &mut Registry) {
    let now = Instant::now();
    while let Some(command) = registry.next_command(BOUNDLESS) {
        for id in command.names {
            registry.confirmed(command.verb, id, now);
        }
    }
    // News only: nobody asks for anything.
    let _ = registry.flush();
}
