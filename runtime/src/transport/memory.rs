//! A broker in this process that behaves like Redis's publish/subscribe, with faults that a test can cause.
//!
//! Each bus is a connection with a registry of its own, as on Redis: overlapping subscriptions of one bus share it, and the
//! number of receivers counts connections and patterns, not local subscribers.

pub(crate) mod connection;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{timeout, timeout_at},
};

use crate::{
    config::Config,
    error::{ConnectError, SubscribeError},
    health::{Health, HealthError},
    time::deadline_after,
    transport::{
        Attachment, Detach, GapCause, NameKind, PublishFailure, Status, Transport, Wanted,
        events::Events,
        glob,
        inbox::{Inbox, Item},
        memory::connection::{Connection, settle},
        registry::snapshot::SubscriptionSnapshot,
    },
};

/// One bus's connection to a broker.
pub(crate) struct Memory {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    /// Ends everything when the server is away for longer than the reconnect policy allows; aborted with the bus.
    _watch: JoinSet<()>,
}

/// The server's part.
pub(crate) struct Broker {
    state: Mutex<State>,
    /// Told of every change of [`State::condition`].
    changed: Notify,
}

struct State {
    condition: Condition,
    connections: Vec<Arc<Connection>>,
    /// What was published while the server was frozen: it runs when the server goes on, like bytes in a socket.
    backlog: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Up,
    Stopped,
    Frozen { since: Instant },
}

/// Brokers that are shared by name, for as long as somebody holds them.
static BROKERS: LazyLock<Mutex<HashMap<String, Weak<Broker>>>> = LazyLock::new(Mutex::default);

/// How long a publish waits for a service that does not keep up, as the reader of a Redis connection does.
const PATIENCE: Duration = Duration::from_millis(100);

impl Memory {
    /// Connects to the broker of that name, or to a new one of its own where the name is empty.
    pub(crate) fn connect(name: &str, config: &Config) -> Self {
        let broker = if name.is_empty() { Broker::new() } else { Broker::named(name) };
        let connection = Arc::new(Connection::new(&broker, config));
        broker.lock().connections.push(Arc::clone(&connection));
        let mut watch = JoinSet::new();
        if let Some(limit) = config.reconnect.give_up_after {
            watch.spawn(give_up_after(limit, Arc::clone(&broker), Arc::clone(&connection)));
        }
        Self { broker, connection, _watch: watch }
    }
}

impl Transport for Memory {
    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<Option<u64>, PublishFailure> {
        self.publish_until(self.deadline(), channel, payload).await
    }

    async fn publish_all(&self, messages: Vec<(String, Vec<u8>)>) -> Vec<Result<Option<u64>, PublishFailure>> {
        // One after the other, since one that has to wait must not be overtaken; all of them within one timeout.
        let deadline = self.deadline();
        let mut results = Vec::with_capacity(messages.len());
        for (channel, payload) in messages {
            results.push(self.publish_until(deadline, channel, payload).await);
        }
        results
    }

    async fn publish_atomically(&self, messages: Vec<(String, Vec<u8>)>) -> Result<Vec<u64>, PublishFailure> {
        // The broker fails for all of them or for none: it is up or it is not, and nothing here waits in between.
        let results = self.publish_all(messages).await;
        results.into_iter().map(|result| result.map(Option::unwrap_or_default)).collect()
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        let (attachment, id, attached) = {
            let state = self.broker.lock();
            let mut registry = self.connection.lock();
            let (id, attached) = registry.attach(inbox, names);
            let attachment = Attachment::new(Arc::clone(&self.connection) as Arc<dyn Detach>, id);
            if state.condition == Condition::Up {
                settle(&mut registry);
            }
            (attachment, id, attached)
        };
        let timeout = self.connection.command_timeout;
        match tokio::time::timeout(timeout, attached).await {
            Ok(Ok(result)) => result.map(|()| attachment),
            Ok(Err(_)) => Err(SubscribeError::NotConnected { reason: "the memory broker is gone".to_owned() }),
            Err(_) => {
                let channel = self.connection.lock().first_unconfirmed(id).unwrap_or_default();
                Err(SubscribeError::TimedOut { channel, timeout })
            }
        }
    }

    fn status(&self) -> Status {
        if self.connection.closed.get().is_some() {
            return Status::Closed;
        }
        match self.broker.lock().condition {
            Condition::Up => Status::Connected,
            Condition::Stopped => Status::Reconnecting { cause: stopped() },
            Condition::Frozen { since } if since.elapsed() > self.connection.patience => {
                Status::Reconnecting { cause: GapCause::Timeout }
            }
            Condition::Frozen { .. } => Status::Connected,
        }
    }

    fn events(&self) -> &Events {
        &self.connection.events
    }

    fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        self.connection.lock().snapshots(Instant::now())
    }

    async fn health(&self) -> Result<Health, HealthError> {
        if self.broker.lock().condition == Condition::Stopped {
            let source = io::Error::new(io::ErrorKind::ConnectionRefused, "the memory broker is stopped");
            return Err(ConnectError::Unreachable { address: "memory".to_owned(), source }.into());
        }
        let timeout = self.connection.command_timeout;
        tokio::time::timeout(timeout, self.ask()).await.map_err(|_| HealthError::TimedOut { timeout })
    }
}

impl Memory {
    fn deadline(&self) -> tokio::time::Instant {
        deadline_after(self.connection.command_timeout)
    }

    async fn publish_until(
        &self,
        deadline: tokio::time::Instant,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<Option<u64>, PublishFailure> {
        let late = |_| PublishFailure::TimedOut(self.connection.command_timeout);
        if let Some(reason) = self.connection.closed.get() {
            return Err(PublishFailure::Closed(reason.clone()));
        }
        while let Some(inbox) = self.broker.blocked(&channel) {
            timeout_at(deadline, inbox.has_space()).await.map_err(late)?;
        }
        let (receivers, full) = match self.broker.publish(channel, payload) {
            Published::Now { receivers, full } => (receivers, full),
            Published::Refused => return Err(PublishFailure::NotConnected("the memory broker is stopped".to_owned())),
            Published::Later => {
                return timeout_at(deadline, self.broker.leaves_frozen()).await.map(|()| None).map_err(late);
            }
        };
        for inbox in full.into_iter().filter(|inbox| !inbox.blocks()) {
            // A service that is stuck stalls its publishers for a moment only, as it would stall a connection; from then on it
            // loses its oldest messages, and counts them.
            if timeout(PATIENCE, inbox.has_space()).await.is_err() {
                inbox.stop_waiting();
            }
        }
        Ok(Some(receivers))
    }

    /// The answer of the one server that is always as it should be, once it answers.
    async fn ask(&self) -> Health {
        let start = Instant::now();
        self.broker.leaves_frozen().await;
        Health::new(start.elapsed(), self.status())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.broker.lock().connections.retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// What became of a publish.
enum Published {
    Now {
        receivers: u64,
        full: Vec<Arc<Inbox>>,
    },
    /// The server is frozen.
    Later,
    /// The server is stopped.
    Refused,
}

impl Broker {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { condition: Condition::Up, connections: Vec::new(), backlog: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    pub(crate) fn named(name: &str) -> Arc<Self> {
        let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = brokers.get(name).and_then(Weak::upgrade) {
            return broker;
        }
        brokers.retain(|_, broker| broker.strong_count() > 0);
        let broker = Self::new();
        brokers.insert(name.to_owned(), Arc::downgrade(&broker));
        broker
    }

    fn publish(&self, channel: String, payload: Vec<u8>) -> Published {
        let mut state = self.lock();
        match state.condition {
            Condition::Stopped => Published::Refused,
            Condition::Frozen { .. } => {
                state.backlog.push((channel, payload));
                Published::Later
            }
            Condition::Up => {
                let (receivers, full) = deliver(&state.connections, &channel, &payload);
                Published::Now { receivers, full }
            }
        }
    }

    /// An inbox that those who publish on the channel have to wait for.
    fn blocked(&self, channel: &str) -> Option<Arc<Inbox>> {
        let state = self.lock();
        let matches = |pattern: &str| glob::matches(pattern.as_bytes(), channel.as_bytes());
        state.connections.iter().find_map(|connection| connection.lock().blocked(channel, matches))
    }

    /// Publishes past every bus, as another program would.
    pub(crate) fn publish_raw(&self, channel: &str, payload: &[u8]) -> u64 {
        match self.publish(channel.to_owned(), payload.to_owned()) {
            Published::Now { receivers, .. } => receivers,
            Published::Later | Published::Refused => 0,
        }
    }

    /// Cuts every connection; all of them come back at once.
    pub(crate) fn disconnect(&self) {
        let state = self.lock();
        for connection in &state.connections {
            let cause = GapCause::Disconnected("the memory broker cut the connection".to_owned());
            connection.lost(cause, Instant::now());
            connection.back();
        }
    }

    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.condition = Condition::Stopped;
        state.backlog.clear();
        for connection in &state.connections {
            connection.lost(stopped(), Instant::now());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn freeze(&self) {
        let mut state = self.lock();
        if state.condition == Condition::Up {
            state.condition = Condition::Frozen { since: Instant::now() };
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Goes on, from stopped or frozen.
    pub(crate) fn start(&self) {
        let mut state = self.lock();
        // A client that has left its connection gets nothing of the backlog.
        let mut present = state.connections.clone();
        if let Condition::Frozen { since } = state.condition {
            present.retain(|connection| {
                let left = since.elapsed() > connection.patience;
                if left {
                    connection.lost(GapCause::Timeout, since + connection.patience);
                }
                !left
            });
        }
        state.condition = Condition::Up;
        for (channel, payload) in std::mem::take(&mut state.backlog) {
            deliver(&present, &channel, &payload);
        }
        for connection in &state.connections {
            connection.back();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn subscribers(&self, channel: &str) -> u64 {
        let state = self.lock();
        let subscribed = state.connections.iter().filter(|connection| {
            let registry = connection.lock();
            registry.find(NameKind::Channel, channel.as_bytes()).is_some_and(|id| registry.is_wanted(id))
        });
        subscribed.count() as u64
    }

    pub(crate) fn patterns(&self) -> u64 {
        let mut patterns: Vec<String> = Vec::new();
        for connection in &self.lock().connections {
            connection.lock().deliver_matching(
                |pattern| {
                    patterns.push(pattern.to_owned());
                    false
                },
                |_| Item::Lagged(0),
            );
        }
        patterns.sort_unstable();
        patterns.dedup();
        patterns.len() as u64
    }

    pub(crate) fn subscriber_connections(&self) -> u64 {
        let state = self.lock();
        state.connections.iter().filter(|connection| !connection.lock().is_empty()).count() as u64
    }

    async fn leaves_frozen(&self) {
        self.reaches(|condition| !matches!(condition, Condition::Frozen { .. })).await;
    }

    /// Waits for a condition, and returns it.
    async fn reaches(&self, wanted: impl Fn(Condition) -> bool) -> Condition {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a change between the two is not missed.
            changed.as_mut().enable();
            let condition = self.lock().condition;
            if wanted(condition) {
                return condition;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers to each of the connections, under the broker's lock, so that all see one order.
fn deliver(connections: &[Arc<Connection>], channel: &str, payload: &[u8]) -> (u64, Vec<Arc<Inbox>>) {
    let mut bytes = Vec::with_capacity(channel.len() + payload.len());
    bytes.extend_from_slice(channel.as_bytes());
    bytes.extend_from_slice(payload);
    let bytes = Bytes::from(bytes);
    let (mut receivers, mut full) = (0, Vec::new());
    for connection in connections {
        let mut registry = connection.lock();
        let item = |token| connection.item(&bytes, channel.len(), token);
        receivers += u64::from(registry.deliver(NameKind::Channel, channel.as_bytes(), item));
        receivers += registry.deliver_matching(|pattern| glob::matches(pattern.as_bytes(), channel.as_bytes()), item);
        full.append(&mut registry.flush());
    }
    (receivers, full)
}

/// Closes the connection when the server is away for so long after its loss was noticed.
async fn give_up_after(limit: Duration, broker: Arc<Broker>, connection: Arc<Connection>) {
    let is_up = |condition| condition == Condition::Up;
    loop {
        let allowed = match broker.reaches(|condition| !is_up(condition)).await {
            Condition::Frozen { .. } => connection.patience.saturating_add(limit),
            Condition::Stopped | Condition::Up => limit,
        };
        if timeout(allowed, broker.reaches(is_up)).await.is_err() {
            break;
        }
    }
    let reason = "the server was away for longer than the reconnect policy allows";
    broker.lock().connections.retain(|other| !Arc::ptr_eq(other, &connection));
    // The reason first: whoever sees a subscription end must not then read that the bus is reconnecting.
    let _ = connection.closed.set(reason.to_owned());
    connection.lock().close_all(reason);
    connection.events.closed(reason, Instant::now());
}

fn stopped() -> GapCause {
    GapCause::Disconnected("the memory broker is stopped".to_owned())
}
