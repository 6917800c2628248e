//! The handle to one transport.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    bus::{builder::BusBuilder, closing::Closing, directory::Directory, replies::Replies, served::ServedNames},
    config::Config,
    error::ConnectError,
    observe::observation::Observer,
    transport::{
        any::AnyTransport,
        events::{BusEvent, BusEvents},
        health::{BusStats, Health, HealthError, HealthWarning},
        status::Status,
    },
};

/// The cheap-to-clone handle to one transport.
///
/// All clones, services and subscriptions share the transport's connections; these close when the last of them is dropped, or at
/// once for all of them with [`close`](Self::close).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = tidings::Bus::connect("memory:").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Bus {
    pub(super) shared: Shared,
}

/// The parts of a bus, without their types. Each unit of a program that takes a bus is otherwise described to debuggers with all that is in one,
/// transports included: a rebuild with one handler compiled thirty units anew, and now seventeen, in a seventh less time.
#[derive(Clone)]
pub(super) struct Shared(Arc<dyn Parts>);

trait Parts: Send + Sync {
    fn parts(&self) -> &BusParts;
}

impl Parts for BusParts {
    fn parts(&self) -> &BusParts {
        self
    }
}

impl Shared {
    pub(super) fn new(parts: BusParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Shared {
    type Target = BusParts;

    fn deref(&self) -> &BusParts {
        self.0.parts()
    }
}

pub(super) struct BusParts {
    pub(super) transport: AnyTransport,
    pub(super) config: Config,
    pub(super) observer: Observer,
    /// The first part of every message's id: random, so that no two buses share it.
    pub(super) id_prefix: String,
    pub(super) next_id: AtomicU64,
    /// Made with the first request.
    pub(super) replies: OnceLock<Replies>,
    /// Made with the first request.
    pub(super) directory: OnceLock<Directory>,
    /// How every channel begins that answers may go to.
    pub(super) reply_prefix: String,
    /// Requests that name another channel for their answers.
    pub(super) disobeyed: AtomicU64,
    pub(super) served: Arc<ServedNames>,
    pub(super) closing: Arc<Closing>,
    /// Queues from which nothing comes although something is due.
    pub(super) stalled: Mutex<BTreeSet<&'static str>>,
}

impl Bus {
    /// Connects with the default settings.
    ///
    /// `redis://[user[:password]@]host[:port]` is a Redis server (`rediss://` with TLS, feature `tls`), `unix://[user:password@]/path` one
    /// behind a unix socket; `redis+sentinel://[user:password@]host:port,host:port/name` is the master that Sentinels know by this name, and
    /// `redis+cluster://[user:password@]host:port,host:port` a cluster of which these are nodes (both with `rediss+…` too). `memory:` is a new transport
    /// in this process, and `memory:name` one that all buses of the process share by that name. Of a name with several addresses the first that
    /// answers counts; one that hangs holds up the next for 250 ms.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the address is invalid, or the server is not there, does not answer within 5 seconds, or refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Starts a bus with settings of its own.
    pub fn builder(url: impl Into<String>) -> BusBuilder {
        BusBuilder::new(url.into())
    }

    /// How the bus is connected.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.transport.status()
    }

    /// A snapshot of the bus.
    #[must_use]
    pub fn stats(&self) -> BusStats {
        let replies = self.shared.replies.get();
        BusStats {
            status: self.status(),
            status_since: self.shared.transport.events().since().elapsed(),
            reconnects: self.shared.transport.events().reconnects(),
            subscriptions: self.shared.transport.snapshots(),
            pending_requests: replies.map_or(0, Replies::pending),
            unexpected_answers: replies.map_or(0, Replies::unexpected),
            disobeyed_requests: self.shared.disobeyed.load(Ordering::Relaxed),
            reply_channel: replies.map(|replies| replies.channel().to_owned()),
        }
    }

    /// What happens to the bus from now on: lost and renewed connections, refusals, lag. As a stream.
    ///
    /// It is for watching and logging: a subscription tells of its own gaps and losses itself, in order with its messages.
    pub fn events(&self) -> BusEvents {
        self.shared.transport.events().subscribe()
    }

    /// Asks the server how it is, on a connection of its own: round trip, version, role, and what is wrong with its settings.
    ///
    /// Of the services to which this bus has sent requests it also says which requests are taken by several groups: each is executed by one of
    /// them, and not by one of each.
    ///
    /// A bus that uses queues is warned as well of a server that may lose tasks, or takes none: of its persistence, its memory, and its replicas. On a
    /// cluster that is one of its masters.
    ///
    /// It costs a connection and three commands, four with queues: right for a health endpoint that is asked each few seconds. Whether the program is
    /// ready is for [`status`](Self::status) to say, or whether this is an error; a warning is for an alert.
    ///
    /// # Errors
    ///
    /// [`HealthError`] when the server cannot be reached, or does not answer within the command timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tidings::Bus;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let health = bus.health().await?;
    /// for warning in &health.warnings {
    ///     println!("look after this: {warning}");
    /// }
    /// assert!(health.is_well());
    /// # Ok(()) }
    /// ```
    pub async fn health(&self) -> Result<Health, HealthError> {
        let mut health = self.shared.transport.health().await?;
        if let Some(directory) = self.shared.directory.get() {
            let shared = directory.shared().into_iter();
            health.warnings.extend(shared.map(|(message, groups)| HealthWarning::SeveralGroups { message, groups }));
        }
        health.warnings.extend(self.stalled().iter().map(|&queue| HealthWarning::QueueStalled { queue }));
        Ok(health)
    }

    /// Tells those who watch the bus.
    pub(crate) fn tell(&self, event: BusEvent) {
        self.shared.transport.events().tell(event);
    }

    /// Queues from which nothing comes although something is due.
    pub(crate) fn stalled(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who observes what the bus does.
    pub(crate) fn observer(&self) -> &Observer {
        &self.shared.observer
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// What a bus has once, from its first use on. Whoever needs it while somebody else makes it makes one too, so that nobody waits for a caller who is not
/// polled; what is there first is everybody's.
///
/// # Cancel safety
///
/// As of what `make` gives.
pub(super) async fn made<T, E, F: Future<Output = Result<T, E>>>(
    once: &OnceLock<T>,
    make: impl FnOnce() -> F,
) -> Result<&T, E> {
    if let Some(there) = once.get() {
        return Ok(there);
    }
    let made = make().await;
    match once.get() {
        Some(there) => Ok(there),
        None => made.map(|made| once.get_or_init(|| made)),
    }
}
