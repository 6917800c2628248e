//! The connection for subscriptions: one tokio task that reads, delivers, (un)subscribes, watches and reconnects.
//!
//! Callers change the [`Registry`] under its lock and wake the tokio task, which brings the server in line. Nothing waits in a queue, so
//! nothing can grow, and dropping a subscription never blocks.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout_at},
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
            host::{Guest, Host},
            live::LiveSession,
            settings::Settings,
            shared::{ClosesInboxes, Owner, SharedRegistry},
        },
        status::{GapCause, Status, SubscriptionSnapshot},
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings-sub";

/// The owner of what reads. Dropping it stops that and ends every inbox.
pub(super) struct Subscriber {
    shared: Arc<SharedRegistry>,
    command_timeout: Duration,
    is_on_cluster: bool,
    /// What reads; stopped when this is dropped.
    _reader: Guest,
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

    fn leave(&self, _id: usize) -> Vec<oneshot::Receiver<()>> {
        // Who has a connection of its own ends with it.
        Vec::new()
    }
}

impl Subscriber {
    /// Connects, and starts the tokio task.
    pub(super) async fn start(
        connector: Connector,
        settings: Arc<Settings>,
        events: Arc<Events>,
        owner: Owner,
        host: &Arc<Host>,
    ) -> Result<Self, ConnectError> {
        let opened = connector.open_followed(CLIENT_NAME).await?;
        Ok(Self::over(Some(opened), connector, settings, events, owner, host))
    }

    /// Starts the tokio task, which connects.
    pub(super) fn unconnected(
        connector: Connector,
        settings: Arc<Settings>,
        events: Arc<Events>,
        owner: Owner,
    ) -> Self {
        Self::over(None, connector, settings, events, owner, &Host::start())
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
        let opened = match timeout_at(deadline, open_persistently(&connector, &settings)).await {
            Ok(opened) => opened.map_err(|error| SubscribeError::NotConnected { reason: error.to_string() })?,
            Err(_) => return Err(SubscribeError::TimedOut { channel, timeout, reason: None }),
        };
        let own = Self::over(Some(opened), connector, settings, events, Owner::One { channel, bus }, &Host::start());
        let attachment = own.attach_until(deadline, inbox, names).await?;
        let observer = own.observer();
        Ok((Attachment::new(Arc::new(Owned { _attachment: attachment, _subscriber: own }), 0), observer))
    }

    fn over(
        opened: Option<Opened>,
        connector: Connector,
        settings: Arc<Settings>,
        events: Arc<Events>,
        owner: Owner,
        host: &Arc<Host>,
    ) -> Self {
        let shared = Arc::new(SharedRegistry::new(owner, events));
        let command_timeout = settings.command_timeout;
        let is_on_cluster = opened.as_ref().is_some_and(|opened| opened.capabilities.mode == "cluster");
        let worker = Worker { connector, settings, shared: Arc::clone(&shared) };
        Self { shared, command_timeout, is_on_cluster, _reader: host.take(worker.run(opened)) }
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
                let (channel, reason) = unconfirmed.unwrap_or_default();
                Err(SubscribeError::TimedOut { channel, timeout: self.command_timeout, reason })
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

    /// Whether the server was a node of a cluster when it was first connected to.
    pub(super) fn is_on_cluster(&self) -> bool {
        self.is_on_cluster
    }

    /// Where inboxes have names.
    pub(super) fn registry(&self) -> &Arc<SharedRegistry> {
        &self.shared
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

/// What the tokio task owns between connections.
struct Worker {
    connector: Connector,
    settings: Arc<Settings>,
    shared: Arc<SharedRegistry>,
}

impl Worker {
    async fn run(self, opened: Option<Opened>) {
        let _ended = ClosesInboxes(Arc::clone(&self.shared));
        match &self.shared.owner {
            Owner::Bus(life) => tokio::select! {
                () = self.work(opened) => {}
                _ = life.over() => {}
            },
            Owner::Node(bus) | Owner::One { bus, .. } => tokio::select! {
                () = self.work(opened) => {}
                reason = bus.over() => self.shared.close(reason),
            },
        }
    }

    fn live(&self, opened: Opened) -> LiveSession {
        LiveSession::new(Arc::clone(&self.shared), Arc::clone(&self.settings), self.connector.clone(), opened)
    }

    async fn work(&self, opened: Option<Opened>) {
        let opened = match opened {
            Some(opened) => Ok(opened),
            None => self.connector.open_followed(CLIENT_NAME).await,
        };
        let mut live = opened.map(|opened| self.live(opened));
        let mut backoff = Backoff::default();
        loop {
            let (cause, settled, server) = match &mut live {
                Ok(live) => (live.serve().await, live.settled, Some(live.server.clone())),
                Err(error) => (GapCause::Disconnected(chain(error)), false, self.connector.server()),
            };
            let since = now();
            tracing::warn!(%cause, server, "lost the connection for subscriptions");
            backoff.lost(settled, since, self.settings.reconnect.first_pause);
            self.shared.registry().connection_lost(&cause, since);
            *self.shared.status() = Status::Reconnecting { cause: cause.clone(), server: server.clone() };
            self.shared.events.disconnected(cause, server, since);
            let Some(opened) = self.reconnect(&mut backoff, since).await else {
                return self.give_up();
            };
            let lasted = now().saturating_duration_since(since);
            tracing::info!(?lasted, server = opened.address, "connected for subscriptions again");
            self.shared.events.connected(lasted, Some(opened.address.clone()));
            let mut next = self.live(opened);
            next.lost = Some(since);
            live = Ok(next);
        }
    }

    fn give_up(&self) {
        let reason = "the server was away for longer than the reconnect policy allows";
        self.shared.close(reason);
        match &self.shared.owner {
            Owner::Bus(life) | Owner::Node(life) => {
                life.end(reason);
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
    async fn reconnect(&self, backoff: &mut Backoff, lost: Instant) -> Option<Opened> {
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
            match self.connector.open_followed(CLIENT_NAME).await {
                Ok(opened) => return Some(opened),
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
async fn open_persistently(connector: &Connector, settings: &Settings) -> Result<Opened, ConnectError> {
    let mut failures = 0;
    loop {
        match connector.open_followed(CLIENT_NAME).await {
            Ok(opened) => return Ok(opened),
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
