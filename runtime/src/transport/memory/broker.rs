//! The server's part: who is connected, and whether it is up.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::transport::{
    contract::{Parcel, Reach},
    durable::task::QueueName,
    glob,
    inbox::{Inbox, Item, Wishes},
    memory::{
        connection::Connection,
        queues::store::{Clock, Store},
    },
    status::{GapCause, NameKind},
};

/// The server's part.
pub(crate) struct MemoryBroker {
    state: Mutex<BrokerState>,
    /// Told of every change of [`BrokerState::condition`].
    changed: Notify,
}

pub(super) struct BrokerState {
    pub(super) condition: Condition,
    pub(super) connections: Vec<Arc<Connection>>,
    /// What was published while the server was frozen: it runs when the server goes on, like bytes in a socket.
    pub(super) backlog: Vec<(Reach, String, Vec<u8>)>,
    /// What is claimed, and until when.
    claims: HashMap<String, Instant>,
    queues: Store,
    clock: Clock,
    /// What the queues were asked while the server was frozen.
    asked: Vec<Question>,
}

type Question = Box<dyn FnOnce(&mut Store, u64) + Send>;

/// What the queues say.
pub(super) enum Asked<T, L = T> {
    Now(T),
    /// The server is frozen: once it goes on. Nothing comes where it is stopped before.
    Later(oneshot::Receiver<L>),
    /// The server is stopped.
    Never,
}

/// The receivers of each message that a batch has published, and the inboxes that want the publisher to wait.
pub(super) type Delivered = (Vec<u64>, Vec<Arc<Inbox>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    Stopped,
    Frozen { since: Instant },
}

/// Brokers that are shared by name, for as long as somebody holds them.
static BROKERS: LazyLock<Mutex<HashMap<String, Weak<MemoryBroker>>>> = LazyLock::new(Mutex::default);

/// What became of messages that were published together.
pub(super) enum Taken {
    /// The receivers of each.
    Now { receivers: Vec<u64>, wishes: Wishes },
    /// None was delivered, because this inbox takes no more for now, and those who publish to it have to wait.
    Blocked(Arc<Inbox>),
    /// The server is frozen.
    Later,
    /// The server is stopped.
    Never,
}

impl MemoryBroker {
    pub(crate) fn new() -> Arc<Self> {
        let state = BrokerState {
            condition: Condition::Up,
            connections: Vec::new(),
            backlog: Vec::new(),
            claims: HashMap::new(),
            queues: Store::default(),
            clock: Clock::new(),
            asked: Vec::new(),
        };
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

    /// Publishes all of the messages or none, in order and with nothing in between, unless an inbox for one of them is blocked.
    pub(super) fn publish(&self, parcels: &[Parcel]) -> Taken {
        let state = self.lock();
        if state.condition == Condition::Up
            && let Some(blocked) = parcels.iter().find_map(|parcel| blocked(&state.connections, parcel))
        {
            return Taken::Blocked(blocked);
        }
        let messages = parcels.iter().map(|parcel| (parcel.reach, parcel.channel.as_str(), parcel.payload.as_slice()));
        take(state, messages)
    }

    /// Publishes past every bus, as another program would.
    pub(crate) fn publish_raw(&self, channel: &str, payload: &[u8]) -> u64 {
        // Another program waits for nobody.
        match take(self.lock(), [(Reach::Channel, channel, payload)].into_iter()) {
            Taken::Now { receivers, wishes } => {
                let _ = wishes.read();
                receivers.into_iter().sum()
            }
            Taken::Blocked(_) | Taken::Later | Taken::Never => 0,
        }
    }

    /// Whether the name was free, and is taken now; `None` where the server is stopped.
    pub(super) fn claim(&self, key: String, holds: Duration, now: Instant) -> Option<bool> {
        let mut state = self.lock();
        if state.condition == Condition::Stopped {
            return None;
        }
        state.claims.retain(|_, until| *until > now);
        let is_free = !state.claims.contains_key(&key);
        if is_free && let Some(until) = now.checked_add(holds) {
            state.claims.insert(key, until);
        }
        Some(is_free)
    }

    /// Cuts every connection; all of them come back at once.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        state.queues.cut_all();
        for connection in &state.connections {
            let cause = GapCause::Disconnected("the memory broker cut the connection".to_owned());
            connection.lost(cause, Instant::now());
            connection.back();
        }
    }

    /// Asks the queues, at a time by the server's clock.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Store, u64) -> T + Send + 'static,
    ) -> Asked<T> {
        match asked(self.lock(), question) {
            Asked::Now((answer, _)) => Asked::Now(answer),
            Asked::Later(answered) => Asked::Later(answered),
            Asked::Never => Asked::Never,
        }
    }

    /// The same of what publishes these messages in the same step, with what became of them; or an inbox that they have to wait for.
    pub(super) fn ask_and_publish<T: Send + 'static>(
        &self,
        parcels: &[Parcel],
        question: impl FnOnce(&mut Store, u64) -> T + Send + 'static,
    ) -> Result<Asked<(T, Delivered), T>, Arc<Inbox>> {
        let state = self.lock();
        let is_up = state.condition == Condition::Up;
        match parcels.iter().filter(|_| is_up).find_map(|parcel| blocked(&state.connections, parcel)) {
            Some(blocked) => Err(blocked),
            None => Ok(asked(state, question)),
        }
    }

    /// Looks at the queues whatever the server's condition is, as a test does.
    pub(crate) fn with_queues<T>(&self, look: impl FnOnce(&mut Store, u64) -> T) -> T {
        let mut state = self.lock();
        let now = state.clock.now();
        let seen = look(&mut state.queues, now);
        publish_told(state);
        seen
    }

    /// Moves the clock of the queues on. Everybody who waits for a task looks again, or has been given one.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.clock.advance(by);
        state.queues.clock_moves(by);
        let now = state.clock.now();
        if state.condition == Condition::Up {
            state.queues.clock_moved(now);
        }
        publish_told(state);
    }

    /// How often every connection was cut.
    pub(super) fn cuts(&self) -> u64 {
        self.lock().queues.cuts
    }

    pub(super) fn is_mute(&self) -> bool {
        self.lock().queues.is_mute
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().condition == Condition::Stopped
    }

    /// Whoever waited for a task is gone.
    pub(super) fn leave(&self, queue: &QueueName, ticket: u64) {
        self.lock().queues.queue(queue).waiting.leave(ticket);
    }

    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.condition = Condition::Stopped;
        state.backlog.clear();
        state.asked.clear();
        state.queues.cut_all();
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
        let now = state.clock.now();
        for question in std::mem::take(&mut state.asked) {
            question(&mut state.queues, now);
        }
        state.queues.clock_moved(now);
        let mut wishes = Wishes::default();
        let (messages, told) = (state.queues.take_messages(), state.queues.take_published().into_iter());
        state.backlog.extend(messages);
        state.backlog.extend(told.map(|(channel, payload)| (Reach::Channel, channel, payload)));
        for (reach, channel, payload) in std::mem::take(&mut state.backlog) {
            wishes.append(deliver(&present, reach, &channel, &payload).1);
        }
        for connection in &state.connections {
            connection.back();
        }
        drop(state);
        // Those who published it wait for nobody any more.
        let _ = wishes.read();
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

    pub(super) async fn leaves_frozen(&self) {
        self.reaches(|condition| !matches!(condition, Condition::Frozen { .. })).await;
    }

    /// Waits for a condition, and returns it.
    pub(super) async fn reaches(&self, wanted: impl Fn(Condition) -> bool) -> Condition {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, BrokerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inbox that those who publish on the channel have to wait for.
fn blocked(connections: &[Arc<Connection>], parcel: &Parcel) -> Option<Arc<Inbox>> {
    let matches = |pattern: &str| glob::matches(pattern.as_bytes(), parcel.channel.as_bytes());
    connections.iter().find_map(|connection| connection.lock().blocked(parcel.reach, &parcel.channel, matches))
}

fn take<'a>(
    mut state: MutexGuard<'_, BrokerState>,
    messages: impl Iterator<Item = (Reach, &'a str, &'a [u8])>,
) -> Taken {
    match state.condition {
        Condition::Stopped => Taken::Never,
        Condition::Frozen { .. } => {
            let held = messages.map(|(reach, channel, payload)| (reach, channel.to_owned(), payload.to_owned()));
            state.backlog.extend(held);
            Taken::Later
        }
        Condition::Up => {
            let mut wishes = Wishes::default();
            let delivered = messages.map(|(reach, channel, payload)| {
                let (receivers, further) = deliver(&state.connections, reach, channel, payload);
                wishes.append(further);
                receivers
            });
            let receivers = delivered.collect();
            Taken::Now { receivers, wishes }
        }
    }
}

fn asked<T: Send + 'static>(
    mut state: MutexGuard<'_, BrokerState>,
    question: impl FnOnce(&mut Store, u64) -> T + Send + 'static,
) -> Asked<(T, Delivered), T> {
    match state.condition {
        Condition::Up => {
            let now = state.clock.now();
            let answer = question(&mut state.queues, now);
            Asked::Now((answer, publish_told(state)))
        }
        Condition::Stopped => Asked::Never,
        Condition::Frozen { .. } => {
            let (answer, answered) = oneshot::channel();
            // Nobody may wait for it any more.
            state.asked.push(Box::new(move |store, now| drop(answer.send(question(store, now)))));
            Asked::Later(answered)
        }
    }
}

/// What a batch publishes, and what the queues have to say, goes out in the step in which it happened. As on a server, nobody waits for whoever
/// reads what queues say.
fn publish_told(mut state: MutexGuard<'_, BrokerState>) -> Delivered {
    let (messages, told) = (state.queues.take_messages(), state.queues.take_published());
    let (mut wishes, mut of_told) = (Wishes::default(), Wishes::default());
    let mut receivers = Vec::with_capacity(messages.len());
    if state.condition == Condition::Up {
        for (reach, channel, payload) in messages {
            let (count, further) = deliver(&state.connections, reach, &channel, &payload);
            receivers.push(count);
            wishes.append(further);
        }
        for (channel, payload) in told {
            of_told.append(deliver(&state.connections, Reach::Channel, &channel, &payload).1);
        }
    }
    drop(state);
    let _ = of_told.read();
    (receivers, wishes.read())
}

/// Delivers to each of the connections, under the broker's lock, so that all see one order.
fn deliver(connections: &[Arc<Connection>], reach: Reach, channel: &str, payload: &[u8]) -> (u64, Wishes) {
    let mut bytes = Vec::with_capacity(channel.len() + payload.len());
    bytes.extend_from_slice(channel.as_bytes());
    bytes.extend_from_slice(payload);
    let bytes = Bytes::from(bytes);
    let (mut receivers, mut wishes) = (0, Wishes::default());
    for connection in connections {
        let mut registry = connection.lock();
        let item = |token| connection.item(reach, &bytes, channel.len(), token);
        match reach {
            Reach::ShardChannel => {
                receivers += u64::from(registry.deliver(NameKind::ShardChannel, channel.as_bytes(), item));
            }
            Reach::Channel | Reach::ShardChannelFirst => {
                let matches = |pattern: &str| glob::matches(pattern.as_bytes(), channel.as_bytes());
                receivers += u64::from(registry.deliver(NameKind::Channel, channel.as_bytes(), item));
                receivers += registry.deliver_matching(matches, item);
            }
        }
        wishes.append(registry.flush());
    }
    (receivers, wishes)
}

/// Closes the connection when the server is away for so long after its loss was noticed.
pub(super) async fn give_up_after(limit: Duration, broker: Arc<MemoryBroker>, connection: Arc<Connection>) {
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
    connection.close(&broker, "the server was away for longer than the reconnect policy allows");
}

pub(super) fn stopped() -> GapCause {
    GapCause::Disconnected("the memory broker is stopped".to_owned())
}
