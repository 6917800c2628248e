//! The settings of a bus, before it connects.

use std::{
    fmt,
    future::Pending,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    bus::{
        handle::{Bus, BusParts, Shared},
        replies::REPLIES,
    },
    codec::contract::Format,
    config::{Bounds, Config, Reconnect},
    error::ConnectError,
    future::NotConnectedYet,
    observe::observation::Observer,
    transport::any::AnyTransport,
};

/// The settings of a bus before it connects. Every one has a default that is right for most programs.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, testing::Broker};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = Broker::new();
/// let bus = Bus::builder(broker.url()) // or "redis://127.0.0.1:6379"
///     .namespace("shop")
///     .payload_limit(64 * 1024)
///     .command_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// let orders = bus.subscribe(OrderPlaced::channel(7)).await?;
/// assert_eq!(orders.selection(), "orders:7");
/// assert_eq!(broker.subscribers("shop:orders:7"), 1); // the channel's name on the server
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nothing is connected until `connect` is awaited"]
pub struct BusBuilder {
    url: String,
    config: Config,
}

impl BusBuilder {
    pub(super) fn new(url: String) -> Self {
        Self { url, config: Config::default() }
    }

    /// A prefix for every channel: with `"shop"`, `orders:7` is `shop:orders:7` on the server. Default: none.
    ///
    /// Buses with different namespaces share a server without hearing each other. The numbered databases of Redis do not do
    /// that: publish/subscribe ignores them.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = Some(namespace.into());
        self
    }

    /// How messages are written and read that do not choose a codec themselves. Default: [`Format::Envelope`].
    pub fn format(mut self, format: Format) -> Self {
        self.config.format = format;
        self
    }

    /// Who publishes, for formats that say so: the `source` of [`CloudEvents`](crate::codec::CloudEvents), a URI reference such as `"/shop"`.
    /// Default: `"tidings"`.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.config.source = source.into();
        self
    }

    /// The largest payload that is sent or accepted, in bytes, 1 to 512 MiB. Default: 10 MiB.
    ///
    /// Redis disconnects every subscriber whose output buffer exceeds its limit (32 MiB by default), so a larger limit here
    /// wants a larger `client-output-buffer-limit` there.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.config.payload_limit = bytes;
        self
    }

    /// The longest channel name with its namespace, in characters, 1 to 16,384. Default: 512. Names that the protocol makes, which begin with
    /// `tidings:` behind the namespace, do not count.
    pub fn name_limit(mut self, characters: usize) -> Self {
        self.config.name_limit = characters;
        self
    }

    /// User and password for the server. They replace those in the address.
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.username = Some(username.into());
        self.config.password = Some(password.into());
        self
    }

    /// Sentinels, each as `host` or `host:port` (26379 where there is none), and the name that they give the master. They stand in the place of the servers in
    /// the address, which says the rest: `redis://`, or `rediss://` for TLS, with credentials for the servers if there are any.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = tidings::Bus::builder("rediss://shop:secret@").sentinels(["a:26379", "b:26379"], "mymaster").connect().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// An address that names servers too, or another kind of them, is [`ConnectError::Contradiction`].
    pub fn sentinels<A: Into<String>>(
        mut self,
        addresses: impl IntoIterator<Item = A>,
        master: impl Into<String>,
    ) -> Self {
        self.config.sentinels = Some((addresses.into_iter().map(Into::into).collect(), master.into()));
        self
    }

    /// Nodes of a Redis Cluster, each as `host` or `host:port` (6379 where there is none); one that answers is enough to find the others. They stand in the
    /// place of the servers in the address, which says the rest: `redis://`, or `rediss://` for TLS, with credentials if there are any.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = tidings::Bus::builder("redis://").cluster(["a:7000", "b:7000"]).connect().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// An address that names servers too, or another kind of them, is [`ConnectError::Contradiction`].
    pub fn cluster<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.config.cluster = Some(addresses.into_iter().map(Into::into).collect());
        self
    }

    /// User and password for Sentinels, whose access rules are their own. Default: neither, whatever the address says for the servers.
    pub fn sentinel_credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.sentinel_credentials = Some((username.into(), password.into()));
        self
    }

    /// Reaches a server that the others announce as `announced` at `reached` instead, both written `host:port`: for servers in containers, which
    /// know each other by addresses that this program does not see. May be given several times. Only what Sentinels and the nodes of a cluster
    /// announce is looked up.
    pub fn map_address(mut self, announced: impl Into<String>, reached: impl Into<String>) -> Self {
        self.config.address_map.push((announced.into(), reached.into()));
        self
    }

    /// Certificates, as PEM text, of an authority to trust besides those of the system. Needs the feature `tls` and `rediss://`: with any other
    /// address of a Redis server it is an error.
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.config.certificate_authority = Some(pem.into());
        self
    }

    /// How long connecting may take, with name resolution, TLS and log-in. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a publish or the confirmation of a subscription may take. Default: 5 s.
    ///
    /// That a publish has taken longer is found a sixteenth of it later, or 100 ms, whichever is less.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.config.command_timeout = timeout;
        self
    }

    /// After how much silence the server is asked for a sign of life. Default: 5 s.
    ///
    /// A server that hangs is noticed within this and [`ping_deadline`](Self::ping_deadline) together.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// How long a sign of life may take before the connection counts as lost. Default: 5 s.
    pub fn ping_deadline(mut self, deadline: Duration) -> Self {
        self.config.ping_deadline = deadline;
        self
    }

    /// How a lost connection is made anew. Default: at once, then with pauses of up to 50 ms that double, up to 500 ms in the first minute and
    /// up to 5 s after it, for ever.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.config.reconnect = reconnect;
        self
    }

    /// How many bytes of messages that are published may wait to be sent or for their answers, at least 1. Default: 64 MiB.
    ///
    /// Above it a publish waits for room, for the command timeout at most, and then fails with
    /// [`PublishError::Overloaded`](crate::PublishError::Overloaded): a server that stands still must not fill the memory. Messages whose
    /// futures were dropped count too. One message fits always. Nothing waits on memory. Tasks that are enqueued one by one go with what is
    /// published, and may fail with [`EnqueueError::NotConnected`](crate::EnqueueError::NotConnected) there.
    pub fn publish_buffer(mut self, bytes: usize) -> Self {
        self.config.publish_buffer = bytes;
        self
    }

    /// Whether the server writes a message that is published alone to its subscribers before it writes the receipt to its publisher. Default: yes.
    ///
    /// A server writes first to the connection to which it owed something last, which is the publisher's; a
    /// [PING](https://redis.io/docs/latest/commands/ping/) that goes ahead of the message turns that round. Otherwise the receipt wakes the publisher, which may
    /// take the processor from the server before the message has left: with both on the server's machine, the median from publishing to
    /// the handler was 89 µs, and is 76. Messages that come while others are under way go without it, and so
    /// do requests, answers and acknowledged publishes, which it makes no faster. A user who may not PING is refused once for each
    /// connection, which shows in `ACL LOG`, and publishes without it.
    pub fn subscribers_first(mut self, first: bool) -> Self {
        self.config.subscribers_first = first;
        self
    }

    /// The bounds of each subscription's buffer. Default: 16,384 messages, 16 MiB.
    ///
    /// A full buffer drops its oldest messages; the subscription reports how many.
    pub fn subscription_buffer(mut self, bounds: Bounds) -> Self {
        self.config.subscription_buffer = bounds;
        self
    }

    /// The bounds of what waits for each handler of a service. Default: 16,384 messages, 16 MiB.
    ///
    /// Messages wait when their handler is at its concurrency or works on an earlier message with their order key. A full buffer
    /// drops its oldest messages; they are counted and logged.
    pub fn handler_buffer(mut self, bounds: Bounds) -> Self {
        self.config.handler_buffer = bounds;
        self
    }

    /// Lets answers go to channels that begin with `prefix` too, which is written with the namespace: for requesters in other languages
    /// that choose the channel for their answers as they like. May be given several times. Default: none but `<namespace>:tidings:replies:`.
    ///
    /// A request says itself where its answer goes. So whoever may publish requests has the service publish on every channel that is
    /// allowed here, with the service's own rights.
    pub fn allow_replies_to(mut self, prefix: impl Into<String>) -> Self {
        self.config.reply_prefixes.push(prefix.into());
        self
    }

    /// Name and version of the program, as [`Bus::services`](crate::Bus::services) shows them: `program("shop", env!("CARGO_PKG_VERSION"))`. The
    /// name is also the default group of services of free handlers. Default: none.
    pub fn program(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.config.program = Some((name.into(), version.into()));
        self
    }

    /// Refuses what handlers return from this hop on, 1 at least: a message or task that a handler returned while it handled another is one hop
    /// further than that. The delivery fails then, and nothing that its handler returned is published or enqueued; a task that fails so goes the way
    /// of its failures, and to the dead letters at last. A task that is tried again is no further. Default: no limit; from 64 on [`BusEvent::ManyHops`](crate::BusEvent::ManyHops) and a warning name the handlers.
    pub fn hop_limit(mut self, hops: u32) -> Self {
        self.config.hop_limit = Some(hops.max(1));
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], as for [`Bus::connect`], and when a setting is out of its range.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(self) -> Result<Bus, ConnectError> {
        self.connected().await
    }

    /// Boxed, so that it is compiled here, and not into each program.
    fn connected(self) -> BoxFuture<'static, Result<Bus, ConnectError>> {
        async move {
            self.config.validate().map_err(ConnectError::InvalidConfig)?;
            let transport = AnyTransport::connect(&self.url, &self.config).await?;
            let random = RandomState::new().build_hasher().finish();
            let id_prefix = format!("{random:016x}-");
            let namespace = self.config.namespace.as_ref().map(|namespace| format!("{namespace}:"));
            let reply_prefix = namespace.unwrap_or_default() + REPLIES;
            let shared = BusParts {
                observer: Observer::new(transport.system()),
                transport,
                config: self.config,
                id_prefix,
                next_id: AtomicU64::new(1),
                replies: OnceLock::new(),
                directory: OnceLock::new(),
                reply_prefix,
                disobeyed: AtomicU64::new(0),
                served: Arc::default(),
                closing: Arc::default(),
                stalled: Mutex::default(),
            };
            Ok(Bus { shared: Shared::new(shared) })
        }
        .boxed()
    }
}

impl BusBuilder {
    #[doc(hidden)]
    pub fn build<'a>(&'a self) -> Pending<Result<Bus, ConnectError>>
    where
        Self: NotConnectedYet<'a>,
    {
        Self::come_of()
    }
}

crate::future::never_polled!([] BusBuilder => Result<Bus, ConnectError>, crate::future::SettingsOnly: NotConnectedYet);

impl fmt::Debug for BusBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address and the settings may hold credentials.
        formatter.debug_struct("BusBuilder").finish_non_exhaustive()
    }
}
