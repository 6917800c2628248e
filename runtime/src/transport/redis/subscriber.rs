//! The connection for subscriptions: one tokio task that reads, delivers, (un)subscribes, watches and reconnects.
//!
//! Callers change the [`Registry`] under its lock and wake the tokio task, which brings the server in line. Nothing waits in a queue, so
//! nothing can grow, and dropping a subscription never blocks.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{Sleep, sleep, sleep_until, timeout_at},
};

use crate::{
    error::{ConnectError, SubscribeError, chain},
    time::{deadline_after, now},
    transport::{
        contract::{Attachment, Detach, Wanted},
        events::Events,
        inbox::Inbox,
        life::Life,
        redis::{
            connector::Connector,
            door::Opened,
            session::Session,
            settings::Settings,
            stream::Stream,
            wire::{Wire, lost},
        },
        registry::attached::{Confirmation, Registry},
        status::{GapCause, Status, SubscriptionSnapshot},
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings-sub";
/// How long one stall may hold up everybody's messages for inboxes that ask the reader to wait. Long enough for a loaded machine's
/// scheduler, short against the command timeout, and against the 60 seconds after which Redis drops a reader that lags.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many bytes at once are a burst, of which more is to come. After fewer the socket is empty, and the tokio task waits anyway.
const BURST: usize = 32 * 1024;

/// The owner of the tokio task. Dropping it stops the tokio task and ends every inbox.
pub(super) struct Subscriber {
    shared: Arc<SharedRegistry>,
    command_timeout: Duration,
    /// The one tokio task; aborted when this is dropped.
    _tokio_task: JoinSet<()>,
}

struct SharedRegistry {
    registry: Mutex<Registry>,
    status: Mutex<Status>,
    changed: Notify,
    owner: Owner,
    events: Arc<Events>,
}

/// Whose connection it is.
pub(super) enum Owner {
    /// That of all who have none of their own; the bus ends when it gives up.
    Bus(Arc<Life>),
    /// That of one inbox, which is called by its first name. It ends with the bus too.
    One { channel: String, bus: Arc<Life> },
}

/// What the subscriptions of a connection look like, for as long as it is there.
pub(super) type Observer = Box<dyn Fn() -> Option<Vec<SubscriptionSnapshot>> + Send + Sync>;

/// An inbox with a connection of its own. Dropped in this order.
struct Owned {
    _attachment: Attachment,
    _subscriber: Subscriber,
}

impl Detach for Owned {
    fn detach(&self, _id: usize) {
        // Dropping it does.
    }

    fn leave(&self, _id: usize) -> oneshot::Receiver<()> {
        // Who has a connection of its own ends with it.
        oneshot::channel().1
    }
}

impl Subscriber {
    /// Connects, and starts the tokio task.
    pub(super) async fn start(
        connector: Connector,
        settings: Arc<Settings>,
        events: Arc<Events>,
        owner: Owner,
    ) -> Result<Self, ConnectError> {
        let Opened { stream, .. } = connector.open_master(CLIENT_NAME).await?;
        Ok(Self::over(stream, connector, settings, events, owner))
    }

    /// Connects for one inbox alone and attaches it, all of it within the command timeout. A server that cannot be reached is tried again until
    /// then, as the bus's own connection would. Also returns what shows the subscription, for as long as it is there.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn attach_alone(
        connector: Connector,
        settings: Arc<Settings>,
        events: Arc<Events>,
        bus: Arc<Life>,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> Result<(Attachment, Observer), SubscribeError> {
        let timeout = settings.command_timeout;
        let deadline = deadline_after(timeout);
        let channel = names.first().map_or_else(String::new, |wanted| wanted.name.text.clone());
        let stream = match timeout_at(deadline, open_persistently(&connector, &settings)).await {
            Ok(opened) => opened.map_err(|error| SubscribeError::NotConnected { reason: error.to_string() })?,
            Err(_) => return Err(SubscribeError::TimedOut { channel, timeout }),
        };
        let own = Self::over(stream, connector, settings, events, Owner::One { channel, bus });
        let attachment = own.attach_until(deadline, inbox, names).await?;
        let observer = own.observer();
        Ok((Attachment::new(Arc::new(Owned { _attachment: attachment, _subscriber: own }), 0), observer))
    }

    fn over(stream: Stream, connector: Connector, settings: Arc<Settings>, events: Arc<Events>, owner: Owner) -> Self {
        let shared = Arc::new(SharedRegistry {
            registry: Mutex::new(Registry::new(Confirmation::ByServer).telling(Arc::clone(&events))),
            status: Mutex::new(Status::Connected),
            changed: Notify::new(),
            owner,
            events,
        });
        let command_timeout = settings.command_timeout;
        let worker = Worker { connector, settings, shared: Arc::clone(&shared) };
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(worker.run(stream));
        Self { shared, command_timeout, _tokio_task: tokio_task }
    }

    /// See `Broadcast::attach`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it undoes what was subscribed so far.
    pub(super) async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        self.attach_until(deadline_after(self.command_timeout), inbox, names).await
    }

    async fn attach_until(
        &self,
        deadline: tokio::time::Instant,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> Result<Attachment, SubscribeError> {
        let (id, attached) = self.shared.registry().attach(inbox, names);
        let attachment = Attachment::new(Arc::clone(&self.shared) as Arc<dyn Detach>, id);
        self.shared.changed.notify_one();
        match timeout_at(deadline, attached).await {
            Ok(Ok(confirmed)) => confirmed.map(|()| attachment),
            Ok(Err(_)) => Err(SubscribeError::NotConnected { reason: "the bus was dropped".to_owned() }),
            Err(_) => {
                let unconfirmed = self.shared.registry().first_unconfirmed(id);
                Err(SubscribeError::TimedOut {
                    channel: unconfirmed.unwrap_or_default(),
                    timeout: self.command_timeout,
                })
            }
        }
    }

    /// Ends the bus and every inbox on the shared connection, which closes.
    pub(super) fn close(&self, reason: &str) {
        self.shared.close(reason);
    }

    pub(super) fn status(&self) -> Status {
        self.shared.status().clone()
    }

    /// What its subscriptions look like.
    pub(super) fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        self.shared.registry().snapshots(Instant::now())
    }

    /// The same, for as long as the subscriber is there.
    fn observer(&self) -> Observer {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move || Some(shared.upgrade()?.registry().snapshots(Instant::now())))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.close("the bus was dropped");
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscriber").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl SharedRegistry {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // The registry's methods keep its parts consistent even if an allocation failed in between.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, reason: &str) {
        // The status first: whoever sees a subscription end must not then read that the bus is reconnecting.
        *self.status() = Status::Closed;
        if let Owner::Bus(life) = &self.owner {
            life.end(reason);
        }
        self.registry().close_all(reason);
    }
}

/// Ends every inbox when the tokio task ends, whatever ended it: without the tokio task they would wait for ever.
struct ClosesInboxes(Arc<SharedRegistry>);

impl Drop for ClosesInboxes {
    fn drop(&mut self) {
        self.0.close("the subscription tokio task has ended");
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

/// What the tokio task owns between connections.
struct Worker {
    connector: Connector,
    settings: Arc<Settings>,
    shared: Arc<SharedRegistry>,
}

impl Worker {
    async fn run(self, stream: Stream) {
        let _ended = ClosesInboxes(Arc::clone(&self.shared));
        match &self.shared.owner {
            Owner::Bus(life) => tokio::select! {
                () = self.work(stream) => {}
                _ = life.over() => {}
            },
            Owner::One { bus, .. } => tokio::select! {
                () = self.work(stream) => {}
                reason = bus.over() => self.shared.close(reason),
            },
        }
    }

    async fn work(&self, stream: Stream) {
        let mut live = LiveSession::new(self, stream);
        let mut backoff = Backoff::default();
        loop {
            let cause = live.serve().await;
            let since = now();
            tracing::warn!(%cause, "lost the connection for subscriptions");
            backoff.lost(live.settled, since, self.settings.reconnect.first_pause);
            self.shared.registry().connection_lost(&cause, since);
            *self.shared.status() = Status::Reconnecting { cause: cause.clone() };
            self.shared.events.disconnected(cause, since);
            let Some(stream) = self.reconnect(&mut backoff, since).await else {
                return self.give_up();
            };
            let lasted = now().saturating_duration_since(since);
            tracing::info!(?lasted, "connected for subscriptions again");
            self.shared.events.connected(lasted);
            live = LiveSession::new(self, stream);
            live.lost = Some(since);
        }
    }

    fn give_up(&self) {
        let reason = "the server was away for longer than the reconnect policy allows";
        self.shared.close(reason);
        match &self.shared.owner {
            Owner::Bus(_) => {
                tracing::error!("gave up on the connection for subscriptions: every subscription ends");
                self.shared.events.closed(reason, now());
            }
            Owner::One { channel, .. } => {
                tracing::error!("gave up on the connection of one subscription, which ends");
                self.shared.events.ended(channel, reason, now());
            }
        }
    }

    /// Tries until it succeeds or the policy's limit is reached: after the policy's pauses, and as soon as another connection of the bus was
    /// made.
    async fn reconnect(&self, backoff: &mut Backoff, lost: Instant) -> Option<Stream> {
        let policy = &self.settings.reconnect;
        let mut successes = self.connector.successes();
        // The first pause is for a server that accepts and at once closes: two connections that woke each other would not leave it alone.
        let mut has_failed = false;
        loop {
            let pause = if backoff.failures == 0 { Duration::ZERO } else { policy.pause(backoff.failures - 1) };
            if policy.give_up_after.is_some_and(|limit| now() + pause >= lost + limit) {
                return None;
            }
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = successes.changed(), if has_failed => {}
                }
            }
            backoff.tried = Some(now());
            // One that is made during the attempt counts: the server may have come up behind its back.
            successes.mark_unchanged();
            match self.connector.open_master(CLIENT_NAME).await {
                Ok(Opened { stream, .. }) => return Some(stream),
                // Rarer the longer it lasts: an outage must not fill the log, and its reason may change.
                Err(error) if backoff.failures.saturating_add(1).is_power_of_two() => {
                    tracing::warn!(
                        error = chain(&error),
                        failures = backoff.failures.saturating_add(1),
                        "could not reconnect for subscriptions"
                    );
                }
                Err(_) => {}
            }
            backoff.failures = backoff.failures.saturating_add(1);
            has_failed = true;
        }
    }
}

/// Tries until it succeeds or fails in a way that will last.
async fn open_persistently(connector: &Connector, settings: &Settings) -> Result<Stream, ConnectError> {
    let mut failures = 0;
    loop {
        match connector.open_master(CLIENT_NAME).await {
            Ok(Opened { stream, .. }) => return Ok(stream),
            Err(ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. } | ConnectError::NoSentinel { .. }) => {
                sleep(settings.reconnect.pause(failures)).await;
                failures += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// How often it failed in a row. A connection that served clears it, but not more often than once each first pause: a server that
/// accepts and at once closes must not be asked in a tight loop.
#[derive(Default)]
struct Backoff {
    failures: u32,
    tried: Option<Instant>,
}

impl Backoff {
    fn lost(&mut self, settled: bool, now: Instant, first_pause: Duration) {
        let recently = self.tried.is_some_and(|tried| now.saturating_duration_since(tried) < first_pause);
        self.failures = match (settled, recently) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => self.failures.saturating_add(1),
        };
    }
}

/// A connection that serves.
struct LiveSession {
    shared: Arc<SharedRegistry>,
    settings: Arc<Settings>,
    wire: Wire,
    session: Session,
    timer: Pin<Box<Sleep>>,
    heard: Instant,
    pinged: Option<Instant>,
    /// Everything that was wanted at the beginning has been answered.
    settled: bool,
    /// When the connection before this one was lost.
    lost: Option<Instant>,
}

impl LiveSession {
    fn new(worker: &Worker, stream: Stream) -> Self {
        let now = now();
        Self {
            shared: Arc::clone(&worker.shared),
            settings: Arc::clone(&worker.settings),
            wire: Wire::new(stream),
            session: Session::new(Arc::clone(&worker.settings)),
            timer: Box::pin(sleep_until((now + worker.settings.ping_interval).into())),
            heard: now,
            pinged: None,
            settled: false,
            lost: None,
        }
    }

    /// Serves until the connection is lost, and says why.
    async fn serve(&mut self) -> GapCause {
        let shared = Arc::clone(&self.shared);
        loop {
            self.ask();
            // Each branch is cancel-safe: `advance` loses no byte, `notified` keeps its permit, the timer is our own.
            let served = tokio::select! {
                biased;
                read = self.wire.advance(self.session.needed()) => match read {
                    Ok(()) => self.receive().await,
                    Err(error) => Err(GapCause::Disconnected(lost(&error))),
                },
                () = shared.changed.notified() => Ok(()),
                () = &mut self.timer => self.watch(),
            };
            if let Err(cause) = served {
                return cause;
            }
        }
    }

    /// Makes the commands that bring the server in line with what is wanted.
    fn ask(&mut self) {
        let mut registry = self.shared.registry();
        let retry = registry.rested(now());
        self.session.ask(&mut registry, &mut self.wire.outgoing);
        let active = if self.settled { 0 } else { registry.active() };
        drop(registry);
        if let Some(retry) = retry.filter(|&retry| retry < self.timer.deadline().into_std()) {
            self.timer.as_mut().reset(retry.into());
        }
        if !self.settled && self.session.is_idle() {
            self.settled = true;
            *self.shared.status() = Status::Connected;
            if let Some(lost) = self.lost {
                let now = now();
                self.shared.events.resubscribed(active, now.saturating_duration_since(lost), now);
            }
        }
    }

    async fn receive(&mut self) -> Result<(), GapCause> {
        self.heard = now();
        self.pinged = None;
        let read = self.wire.incoming.len();
        let (wishes, received) = self.session.receive(&mut self.wire.incoming, &mut self.shared.registry(), self.heard);
        let full = wishes.read();
        received?;
        if !full.is_empty() {
            return self.stall(full).await;
        }
        if read >= BURST {
            give_way().await;
        }
        Ok(())
    }

    /// Reads nothing until the inboxes have room. Those that have none when patience ends drop their oldest messages, and
    /// say so, until they are within their bounds again; one with a connection of its own may ask for endless patience. Commands
    /// are still written meanwhile.
    async fn stall(&mut self, full: Vec<Arc<Inbox>>) -> Result<(), GapCause> {
        let shared = Arc::clone(&self.shared);
        let patient = full.iter().any(|inbox| inbox.blocks());
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        let mut room = std::pin::pin!(join_all(full.iter().map(|inbox| inbox.has_space())));
        loop {
            let to_write = self.wire.has_to_write();
            // Cancel-safe as in `serve`; `room` and `patience` go on in the next turn.
            tokio::select! {
                biased;
                _ = &mut room => break,
                () = &mut patience, if !patient => {
                    full.iter().for_each(|inbox| inbox.stop_waiting());
                    break;
                }
                written = self.wire.write(), if to_write => written.map_err(|error| GapCause::Disconnected(lost(&error)))?,
                () = shared.changed.notified() => self.ask(),
            }
        }
        // Nothing was read meanwhile, so the server cannot be blamed for the silence.
        self.heard = now();
        Ok(())
    }

    /// The timer has fired: asks a silent server for a sign of life, and gives up on one that owes it for too long.
    fn watch(&mut self) -> Result<(), GapCause> {
        let now = now();
        let next = match self.pinged {
            Some(pinged) if now >= pinged + self.settings.ping_deadline => return Err(GapCause::Timeout),
            Some(pinged) => pinged + self.settings.ping_deadline,
            None if now >= self.heard + self.settings.ping_interval => {
                self.session.ping(&mut self.wire.outgoing);
                self.pinged = Some(now);
                now + self.settings.ping_deadline
            }
            None => self.heard + self.settings.ping_interval,
        };
        self.timer.as_mut().reset(next.into());
        Ok(())
    }
}

/// Lets the others run first, on this thread: what was read is still in its processor's cache. Unlike tokio's `yield_now` it leaves the
/// tokio task where another thread can take it, as one of them may block this one.
pub(super) async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
