//! A connection for commands: it is shared by all publishers, and made anew as soon as it is lost.
//!
//! Not on the `redis` crate, whose pipeline costs a channel, two more copies of the payload and about a third more CPU for each command, lets
//! commands overtake each other when it is full, and does not say of a lost command whether it was sent. Scripts, streams and clusters, which
//! that crate knows, need connections of their own in any case.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    error::{ConnectError, PublishError, chain},
    transport::{
        contract::{Lined, Parcel, Published, Reach, ReceiptComes},
        life::Life,
        redis::{
            access::{Operation, is_refusal, rule},
            answer::{Answered, Coming, Response, Unanswered},
            capabilities::Capabilities,
            connector::Connector,
            door::Opened,
            host::Host,
            line::{Answers, NotTaken, UNREADABLE, lock},
            pipeline::{DEMOTED, Pipeline},
            publishing::Publishing,
            retry::{Awaited, Retry},
            settings::Settings,
            words::code,
        },
        status::GapCause,
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings";
/// Messages of a batch that are sent before their answers are awaited, and bytes of their payloads: a larger batch is cut into parts, so that
/// neither side holds more.
const PART: (usize, usize) = (10_000, 16 * 1024 * 1024);
/// Every server takes strings of this size: its limit, `proto-max-bulk-len`, is not lower.
pub(super) const SURELY_FITS: usize = 1024 * 1024;
/// For so long it is remembered what a server did not take: a size, where its limit is not known, and scripts.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30);

/// Publishes for everybody on one connection. Dropping it closes the connection.
pub(crate) struct Commands {
    pub(super) link: Arc<SharedLink>,
    /// Makes the connection anew when it is lost.
    _keeper: JoinSet<()>,
}

pub(super) struct SharedLink {
    connector: Connector,
    pub(super) settings: Arc<Settings>,
    pub(super) life: Arc<Life>,
    /// Where connections are driven.
    host: Arc<Host>,
    pub(super) current: Mutex<Current>,
    /// Told when the connection is lost.
    lost: Arc<Notify>,
    /// By those who need a connection while there is none; the reason of a failure that will last.
    awaited: Awaited<String>,
}

#[derive(Default)]
pub(super) struct Current {
    live: Option<Arc<OpenPipeline>>,
    /// Why the last attempt to connect failed.
    failed: Option<String>,
    /// The size of a payload that the server could not read, and when that was.
    unreadable: Option<(usize, Instant)>,
    /// When the server last let no script run.
    pub(super) scriptless: Option<Instant>,
}

impl Current {
    fn lost(&self) -> Option<(GapCause, Option<String>)> {
        let live = self.live.as_ref()?;
        Some((live.pipeline.gone()?.clone(), Some(live.server.clone())))
    }
}

pub(super) struct OpenPipeline {
    pub(super) pipeline: Pipeline,
    /// Host and port.
    server: String,
    pub(super) counts_receivers: bool,
    /// Whether it may be new enough for scripts that begin with what they need.
    pub(super) is_new: bool,
    /// The largest payload that is known to fit.
    fits: AtomicUsize,
    /// Whether the user may not know the limit.
    is_secret: AtomicBool,
}

/// How a payload goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    WithOthers,
    Alone,
}

impl OpenPipeline {
    fn new(pipeline: Pipeline, server: String, capabilities: &Capabilities) -> Self {
        Self {
            pipeline,
            server,
            counts_receivers: capabilities.counts_receivers(),
            is_new: !capabilities.is_too_old_for_queues(),
            fits: AtomicUsize::new(SURELY_FITS),
            is_secret: AtomicBool::new(false),
        }
    }
}

impl Commands {
    pub(super) async fn start(
        connector: Connector,
        settings: Arc<Settings>,
        life: Arc<Life>,
        host: Arc<Host>,
    ) -> Result<Self, ConnectError> {
        let commands = Self::idle(connector, settings, life, host);
        commands.link.open().await?;
        Ok(commands)
    }

    /// Connects when it is first needed.
    pub(super) fn idle(connector: Connector, settings: Arc<Settings>, life: Arc<Life>, host: Arc<Host>) -> Self {
        let (current, lost, awaited) = Default::default();
        let link = Arc::new(SharedLink { connector, settings, life, host, current, lost, awaited });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&link)));
        Self { link, _keeper: keeper }
    }

    /// PUBLISH; waits for a connection to be made anew if there is none, and for room if too much waits. All of it within the command timeout.
    ///
    /// Publishes go out in the order in which they are first polled; those that wait for a connection or for room may overtake each other.
    /// Await one before starting the next where that matters.
    ///
    /// <https://redis.io/docs/latest/commands/publish/>
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, the message may or may not be published.
    pub(super) fn publish(&self, parcel: Parcel) -> Publishing<'_> {
        Publishing::new(&self.link, parcel)
    }

    /// The same until then.
    pub(super) async fn publish_until(&self, deadline: Instant, parcel: &Parcel) -> Published {
        self.link.publish(Instant::now(), deadline, parcel).await
    }

    /// PUBLISH of each message, written together: one round trip for each part of a batch. Those whose connection was lost before they were
    /// sent are published again, one by one. All of it within one command timeout.
    ///
    /// # Cancel safety
    ///
    /// As for [`publish`](Self::publish), for each of them.
    pub(super) async fn publish_all(&self, parcels: &[Parcel], lined: Option<Lined>) -> Vec<Published> {
        self.publish_all_until(Instant::now() + self.link.settings.command_timeout, parcels, lined).await
    }

    /// The same until then; what is `lined` is dropped when they are in line.
    pub(super) async fn publish_all_until<L>(
        &self,
        deadline: Instant,
        parcels: &[Parcel],
        mut lined: Option<L>,
    ) -> Vec<Published> {
        let mut results = Vec::with_capacity(parcels.len());
        while results.len() < parcels.len() {
            let rest = &parcels[results.len()..];
            let part = &rest[..part(rest)];
            let lined = if part.len() == rest.len() { lined.take() } else { None };
            self.link.publish_part(deadline, part, lined, &mut results).await;
        }
        results
    }

    /// Refuses payloads that the server is known not to take.
    pub(super) async fn check_sizes(&self, deadline: Instant, parcels: &[Parcel]) -> Result<(), PublishError> {
        for parcel in parcels.iter().filter(|parcel| parcel.payload.len() > SURELY_FITS) {
            let live = self.link.connected(deadline, parcel).await?;
            self.link.check_size(&live, deadline, parcel).await?;
        }
        Ok(())
    }

    /// Closes the connection once those who wait for an answer have one, or no more time. The bus has ended.
    pub(super) fn close(&self, reason: &str) {
        let live = lock(&self.link.current).live.take();
        if let Some(live) = live {
            live.pipeline.retire(reason);
        }
    }

    /// Why there is no connection, if there is none and another one could not be made at once.
    pub(super) fn lost(&self) -> Option<(GapCause, Option<String>)> {
        let current = lock(&self.link.current);
        let failed = current.failed.as_ref()?;
        match current.live {
            Some(_) => current.lost(),
            None => Some((GapCause::Disconnected(failed.clone()), self.link.connector.server())),
        }
    }
}

impl SharedLink {
    pub(super) async fn publish(&self, mut now: Instant, deadline: Instant, parcel: &Parcel) -> Published {
        loop {
            let live = self.connected(deadline, parcel).await?;
            if parcel.payload.len() > SURELY_FITS && self.check_size(&live, deadline, parcel).await? == Way::Alone {
                return self.publish_alone(deadline, parcel).await;
            }
            match live.pipeline.send(now, publish_words(parcel), parcel.expiry, parcel.receipt) {
                Ok(answered) => {
                    match self.answer(now, deadline, answered).await {
                        // The connection was lost before it was sent: another one will do.
                        Some(Err(Unanswered::NotSent)) => {}
                        answered => return self.result(&live, parcel, answered),
                    }
                }
                Err(NotTaken::Closed) => {}
                Err(NotTaken::Full) => self.room(&live, deadline, parcel).await?,
            }
            now = Instant::now();
        }
    }

    /// The answer to a command that was put in line now; `None` when the time is over.
    async fn answer(&self, now: Instant, deadline: Instant, answered: Coming) -> Option<Answered> {
        // The pipeline tells when the whole of the command timeout is over, so that nobody needs a timer.
        if deadline >= now + self.settings.command_timeout {
            return Some(answered.await);
        }
        timeout_at(deadline, answered).await.ok()
    }

    /// Publishes on a connection for this payload alone: a server that does not take it closes the connection, and what others have sent on it
    /// would be lost with it.
    async fn publish_alone(&self, deadline: Instant, parcel: &Parcel) -> Published {
        let Opened { address, stream, capabilities } =
            match timeout_at(deadline, self.connector.open_master(CLIENT_NAME)).await {
                Ok(opened) => opened.map_err(|error| self.not_connected(parcel.template, chain(&error)))?,
                Err(_) => return Err(self.not_connected(parcel.template, self.reason())),
            };
        let pipeline = Pipeline::start(stream, &self.settings, Arc::default(), &self.host);
        let own = OpenPipeline::new(pipeline, address, &capabilities);
        let Ok(answered) =
            own.pipeline.send(Instant::now(), publish_words(parcel), parcel.expiry, ReceiptComes::Anytime)
        else {
            return Err(self.not_connected(parcel.template, self.reason()));
        };
        let answered = timeout_at(deadline, answered).await;
        self.result(&own, parcel, answered.ok())
    }

    async fn publish_part<L>(
        &self,
        deadline: Instant,
        parcels: &[Parcel],
        lined: Option<L>,
        results: &mut Vec<Published>,
    ) {
        if parcels.iter().any(|parcel| parcel.payload.len() > SURELY_FITS) {
            for parcel in parcels {
                results.push(self.publish_in_turn(deadline, parcel).await);
            }
            return;
        }
        let failed = |error: &dyn Fn(&Parcel) -> PublishError| {
            parcels.iter().map(|parcel| Err(error(parcel))).collect::<Vec<_>>()
        };
        let (live, answers) = loop {
            if Instant::now() >= deadline {
                return results.extend(failed(&|parcel| self.too_late(parcel)));
            }
            let Ok(live) = self.connected(deadline, &parcels[0]).await else {
                return results.extend(failed(&|parcel| self.not_connected(parcel.template, self.reason())));
            };
            match live.pipeline.send_all(Instant::now(), parcels.iter().map(publish_words), Answers::Numbers) {
                Ok(answers) => break (live, answers),
                Err(NotTaken::Closed) => {}
                Err(NotTaken::Full) => {
                    if self.room(&live, deadline, &parcels[0]).await.is_err() {
                        return results.extend(failed(&|parcel| self.overloaded(parcel)));
                    }
                }
            }
        };
        drop(lined);
        let mut answers = answers.until(deadline).await.into_iter();
        for parcel in parcels {
            results.push(match answers.next() {
                Some(Err(Unanswered::NotSent)) => self.publish_in_turn(deadline, parcel).await,
                answer => self.result(&live, parcel, answer),
            });
        }
    }

    /// Publishes one of a batch, if there is time for it.
    async fn publish_in_turn(&self, deadline: Instant, parcel: &Parcel) -> Published {
        let now = Instant::now();
        if now >= deadline {
            return Err(self.too_late(parcel));
        }
        self.publish(now, deadline, parcel).await
    }

    /// The connection; waits for it to be made anew.
    pub(super) async fn connected(
        &self,
        deadline: Instant,
        parcel: &Parcel,
    ) -> Result<Arc<OpenPipeline>, PublishError> {
        self.connected_for(deadline).await.map_err(|reason| self.not_connected(parcel.template, reason))
    }

    /// The same for any command; an error is the reason.
    pub(super) async fn connected_for(&self, deadline: Instant) -> Result<Arc<OpenPipeline>, String> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let reconnected = async {
            tokio::select! {
                biased;
                reason = self.life.over() => Err(reason.to_owned()),
                live = self.awaited.made(|| self.live()) => live,
            }
        };
        timeout_at(deadline, reconnected).await.unwrap_or_else(|_| Err(self.reason()))
    }

    pub(super) async fn room(
        &self,
        live: &OpenPipeline,
        deadline: Instant,
        parcel: &Parcel,
    ) -> Result<(), PublishError> {
        timeout_at(deadline, live.pipeline.has_room()).await.map_err(|_| self.overloaded(parcel))
    }

    /// Refuses a large payload that the server is known not to take: it would answer by closing everybody's connection. Its limit is asked
    /// for where it has to be known; a user who may not read it learns it from the server's answer, alone.
    ///
    /// <https://redis.io/docs/latest/commands/config-get/>
    async fn check_size(&self, live: &OpenPipeline, deadline: Instant, parcel: &Parcel) -> Result<Way, PublishError> {
        let (template, size) = (parcel.template, parcel.payload.len());
        if size <= live.fits.load(Ordering::Relaxed) {
            return Ok(Way::WithOthers);
        }
        let now = Instant::now();
        let unreadable = lock(&self.current).unreadable;
        if unreadable.is_some_and(|(least, since)| size >= least && now < since + REMEMBERED) {
            return Err(PublishError::Server { template, reason: format!("{UNREADABLE}: invalid bulk length") });
        }
        if live.is_secret.load(Ordering::Relaxed) {
            return Ok(Way::Alone);
        }
        // Whatever keeps the answer away is met by the publish itself.
        let Ok(answered) = live.pipeline.ask(now, &[b"CONFIG", b"GET", b"proto-max-bulk-len"]) else {
            return Ok(Way::WithOthers);
        };
        let Ok(Ok(answer)) = timeout_at(deadline, answered).await else { return Ok(Way::WithOthers) };
        let limit = match answer {
            Response::Texts(texts) => texts.get(1).and_then(|limit| limit.parse().ok()),
            Response::Error(_) | Response::Integer(_) => None,
        };
        let Some(limit) = limit else {
            live.is_secret.store(true, Ordering::Relaxed);
            return Ok(Way::Alone);
        };
        live.fits.store(limit, Ordering::Relaxed);
        if size > limit { Err(PublishError::PayloadTooLarge { template, size, limit }) } else { Ok(Way::WithOthers) }
    }

    /// What an answer means; there is none when the time is over.
    pub(super) fn result(&self, live: &OpenPipeline, parcel: &Parcel, answered: Option<Answered>) -> Published {
        let template = parcel.template;
        match answered {
            Some(Ok(Response::Integer(receivers))) => {
                // All subscribers of a shard channel are with the node that has its slot.
                let is_exact = live.counts_receivers || parcel.reach == Reach::ShardChannel;
                Ok(is_exact.then_some(receivers))
            }
            Some(Ok(Response::Error(words))) => Err(self.refused(live, words, parcel)),
            Some(Ok(Response::Texts(_))) => {
                Err(PublishError::ConnectionLost { template, reason: "the server answered something else".to_owned() })
            }
            Some(Err(Unanswered::NotSent)) => Err(self.not_connected(parcel.template, self.reason())),
            Some(Err(Unanswered::Lost(reason))) => Err(PublishError::ConnectionLost { template, reason }),
            Some(Err(Unanswered::Late)) | None => {
                Err(PublishError::TimedOut { template, timeout: self.settings.command_timeout })
            }
        }
    }

    pub(super) fn live(&self) -> Option<Arc<OpenPipeline>> {
        lock(&self.current).live.as_ref().filter(|live| live.pipeline.is_usable()).map(Arc::clone)
    }

    /// Makes the connection, with the reconnect policy's pauses between attempts. Whether there is one; not after a failure that will last.
    async fn make(&self, retry: &mut Retry) -> bool {
        let mut successes = self.connector.successes();
        while self.live().is_none() {
            retry.pause(&mut successes, &self.settings.reconnect).await;
            if self.life.ended().is_some() {
                return false;
            }
            match self.open().await {
                Ok(()) => retry.failures = 0,
                Err(error) => {
                    let failures = retry.failures;
                    if failures.is_power_of_two() {
                        tracing::warn!(error = chain(&error), failures, "could not reconnect for commands");
                    }
                    lock(&self.current).failed = Some(chain(&error));
                    if matches!(error, ConnectError::Unauthorized { .. } | ConnectError::Tls { .. }) {
                        self.awaited.tell(Some(chain(&error)));
                        return false;
                    }
                }
            }
        }
        self.awaited.tell(None);
        true
    }

    async fn open(&self) -> Result<(), ConnectError> {
        let Opened { address, stream, capabilities } = self.connector.open_master(CLIENT_NAME).await?;
        // Of a bus's connections only this one says so, and what asks for the health of a server now and then does not.
        tracing::info!(server = %address, version = capabilities.version, "connected to the server");
        let pipeline = Pipeline::start(stream, &self.settings, Arc::clone(&self.lost), &self.host);
        let mut current = lock(&self.current);
        if self.life.ended().is_some() {
            return Ok(());
        }
        // Those who wait for an answer on the old connection hold it until they have one, or no more time.
        let before = current.live.replace(Arc::new(OpenPipeline::new(pipeline, address, &capabilities)));
        current.failed = None;
        drop(current);
        if let Some(before) = before {
            tracing::info!("connected for commands again");
            // Subscriptions are still with the old one, which tells them nothing.
            if before.pipeline.was_demoted() {
                self.connector.demoted();
            }
        }
        Ok(())
    }

    fn refused(&self, live: &OpenPipeline, reason: String, parcel: &Parcel) -> PublishError {
        let Parcel { template, channel, payload, reach, .. } = parcel;
        match code(&reason) {
            // The server has changed its role. The next connection finds out what it is now.
            "READONLY" => live.pipeline.retire(DEMOTED),
            _ if reason.starts_with(UNREADABLE) => {
                lock(&self.current).unreadable = Some((payload.len(), Instant::now()));
            }
            _ => {}
        }
        if !is_refusal(&reason) {
            return PublishError::Server { template, reason: self.explained(reason) };
        }
        let operation = match reach {
            Reach::Channel | Reach::ShardChannelFirst => Operation::Publish,
            Reach::ShardChannel => Operation::PublishToShards,
        };
        let rule = rule(&self.settings, &reason, operation, &[channel]);
        PublishError::Refused { channel: channel.clone(), reason, rule }
    }

    /// Where the address names one server, that is a node of a cluster; of that nothing was known when it was given.
    pub(super) fn explained(&self, reason: String) -> String {
        match code(&reason) {
            "MOVED" | "ASK" if self.connector.cluster().is_none() => {
                format!("another node of the cluster has the slot ({reason}); write `redis+cluster://` in the address")
            }
            _ => reason,
        }
    }

    fn overloaded(&self, parcel: &Parcel) -> PublishError {
        let reason = format!("{} bytes or more wait to be sent and answered", self.settings.publish_buffer);
        PublishError::Overloaded { template: parcel.template, reason }
    }

    fn too_late(&self, parcel: &Parcel) -> PublishError {
        let reason = format!("the {:?} of the batch were over before its turn", self.settings.command_timeout);
        PublishError::Overloaded { template: parcel.template, reason }
    }

    pub(super) fn not_connected(&self, template: &'static str, reason: String) -> PublishError {
        self.life.check(template).err().unwrap_or(PublishError::NotConnected { template, reason })
    }

    fn reason(&self) -> String {
        lock(&self.current).failed.clone().unwrap_or_else(|| "the connection is being made anew".to_owned())
    }
}

/// Makes the connection when it is needed, and anew whenever it is lost, until the bus has ended.
async fn keep(link: Arc<SharedLink>) {
    let mut retry = Retry::default();
    while link.life.ended().is_none() {
        tokio::select! {
            () = link.awaited.wanted() => {
                link.make(&mut retry).await;
            }
            () = link.lost.notified() => {
                let lost = lock(&link.current).lost();
                if let Some((cause, server)) = lost {
                    tracing::warn!(%cause, server, "lost the connection for commands");
                }
                // On a cluster another node may have what was here.
                link.connector.outdated();
                while link.life.ended().is_none() && !link.make(&mut retry).await {}
            }
        }
    }
}

/// How many messages are sent before their answers are awaited, at least one.
fn part(parcels: &[Parcel]) -> usize {
    let mut bytes = 0;
    let within = |parcel: &&Parcel| {
        bytes += parcel.payload.len();
        bytes <= PART.1
    };
    parcels.iter().take(PART.0).take_while(within).count().max(1)
}

pub(super) fn publish_words(parcel: &Parcel) -> [&[u8]; 3] {
    let command: &[u8] = match parcel.reach {
        Reach::Channel | Reach::ShardChannelFirst => b"PUBLISH",
        Reach::ShardChannel => b"SPUBLISH",
    };
    [command, parcel.channel.as_bytes(), &parcel.payload]
}

impl fmt::Debug for Commands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Commands").field("connected", &self.link.live().is_some()).finish_non_exhaustive()
    }
}
