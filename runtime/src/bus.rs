//! The handle to one transport.

use std::{
    fmt,
    future::IntoFuture,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::sync::OnceCell;

use crate::{
    batch::Batch,
    channel::{selector::Selector, text::ChannelWriter},
    codec::{
        contract::{Codec, Exchange, Format, Outbound},
        headers::Headers,
    },
    config::{Config, Reconnect},
    error::{ConnectError, PublishError, SubscribeError},
    future::BusFuture,
    handler::Router,
    message::{
        contract::{AddressedByFields, Message, Subscribable},
        reading::written,
    },
    observe::{self, Observation, meters::Meters, outcome::Observed, trace_context},
    outcome::Outgoing,
    publish::Receipt,
    replies::Replies,
    serving::Serving,
    subscribing::Subscribing,
    subscription::Selection,
    time::unix_millis,
    transport::{
        any::AnyTransport,
        contract::{Attachment, Name, NameKind, PublishFailure, Transport, Wanted},
        events::{BusEvent, BusEvents},
        health::{BusStats, Health, HealthError},
        inbox::Inbox,
        status::Status,
    },
};

/// The cheap-to-clone handle to one transport.
///
/// All clones, services and subscriptions share the transport's connections; these close when the last of them is dropped.
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
    shared: Arc<Shared>,
}

struct Shared {
    transport: AnyTransport,
    config: Config,
    meters: Meters,
    /// The first part of every message's id: random, so that no two buses share it.
    id_prefix: String,
    next_id: AtomicU64,
    /// Made with the first request.
    replies: OnceCell<Replies>,
}

impl Bus {
    /// Connects with the default settings.
    ///
    /// `redis://[user[:password]@]host[:port]` is a Redis server (`rediss://` with TLS, feature `tls`); `memory:` is a new transport in
    /// this process, and `memory:name` one that all buses of the process share by that name.
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
        BusBuilder { url: url.into(), config: Config::default() }
    }

    /// Subscribes to one channel (`M::channel(…)`) or to a pattern (`M::any()`). Await it, after setting what is to differ from the
    /// defaults: [`idle_timeout`](Subscribing::idle_timeout), [`overflow`](Subscribing::overflow), [`buffer`](Subscribing::buffer).
    ///
    /// The subscription is live when it was awaited: no message published after that is missed, except in a gap that the
    /// subscription reports. Every subscription sees each message once, whatever other subscriptions overlap with it.
    /// [SUBSCRIBE](https://redis.io/docs/latest/commands/subscribe/),
    /// [PSUBSCRIBE](https://redis.io/docs/latest/commands/psubscribe/).
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the server refuses the channel or does not confirm it within the command timeout, or the name is
    /// too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future unsubscribes.
    pub fn subscribe<M: Subscribable>(&self, selector: impl Selector<M>) -> Subscribing<M> {
        Subscribing::new(self.clone(), Selection::new(&selector))
    }

    /// Serves a router: subscribes to the channels of all its handlers, and gives each message to exactly one of them. Await it, after
    /// setting what is to differ from the defaults: [`overflow`](Serving::overflow), [`buffer`](Serving::buffer), and with the feature
    /// `tower` `layer`.
    ///
    /// The service is live when it was awaited: the server has confirmed every subscription. It stops when the handle is dropped;
    /// [`Service::shutdown`](crate::Service::shutdown) drains it first.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the server refuses one of the channels or does not confirm it within the command timeout; nothing is
    /// subscribed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future unsubscribes everything.
    pub fn serve<R: Router>(&self, router: R) -> Serving {
        Serving::new(self.clone(), router)
    }

    /// Starts a batch: messages, also of different types, that are published in one round trip.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Publishes messages of one type in one round trip, in order, with a result for each.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before its first poll publishes nothing; later, any number of the messages may be published.
    pub fn publish_all<'m, M: AddressedByFields + 'm>(
        &self,
        messages: impl IntoIterator<Item = &'m M>,
    ) -> BusFuture<'_, Vec<Result<Receipt, PublishError>>> {
        messages.into_iter().fold(self.batch(), Batch::push).into_future()
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
            reply_channel: replies.map(|replies| replies.channel().to_owned()),
        }
    }

    /// What happens to the bus from now on: lost and renewed connections, refusals, lag. As a stream.
    ///
    /// It is for watching and logging: a subscription tells of its own gaps and losses itself, in order with its messages.
    #[must_use]
    pub fn events(&self) -> BusEvents {
        self.shared.transport.events().subscribe()
    }

    /// Asks the server how it is, on a connection of its own: round trip, version, role, and what is wrong with its settings.
    ///
    /// It costs a connection and four commands: right for a health endpoint that is asked each few seconds.
    ///
    /// # Errors
    ///
    /// [`HealthError`] when the server cannot be reached, or does not answer within the command timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn health(&self) -> Result<Health, HealthError> {
        self.shared.transport.health().await
    }

    /// Tells those who watch the bus.
    pub(crate) fn tell(&self, event: BusEvent) {
        self.shared.transport.events().tell(event);
    }

    /// What carries the messages, as spans and metrics name it.
    pub(crate) fn system(&self) -> &'static str {
        self.shared.transport.system()
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// A channel with the namespace.
    pub(crate) fn channel(&self, write: impl FnOnce(&mut ChannelWriter<'_>)) -> String {
        let mut channel = self.namespaced();
        write(&mut ChannelWriter::new(&mut channel));
        channel
    }

    /// Encodes a message for a channel with the namespace, to be published by itself.
    pub(crate) fn publishing<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
    ) -> Result<Outgoing, PublishError> {
        match Observation::publish(self, M::TEMPLATE.text()) {
            None => self.outgoing(channel, message, headers, None),
            Some(observation) => observation.encode(|| self.outgoing(channel, message, headers, None)),
        }
    }

    /// Encodes a message for a channel with the namespace, as a part of something larger.
    pub(crate) fn outgoing<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Outgoing, PublishError> {
        let draft =
            Draft { channel, template: M::TEMPLATE.text(), name: M::NAME, version: M::VERSION, headers, exchange };
        self.encode::<M::Codec, _>(draft, written(message))
    }

    /// Encodes a value, and checks name and size against the limits.
    pub(crate) fn encode<C: Codec, T: Serialize>(&self, draft: Draft<'_>, value: &T) -> Result<Outgoing, PublishError> {
        let Draft { channel, template, name, version, headers, exchange } = draft;
        if let Some((length, limit)) = self.exceeds_name_limit(&channel) {
            return Err(PublishError::NameTooLong { template, length, limit });
        }
        let mut payload = Vec::with_capacity(PAYLOAD_GUESS);
        let id = self.next_id();
        let Config { format, ref source, .. } = self.shared.config;
        let outbound = Outbound { format, source, name, version, id: &id, timestamp: unix_millis(), headers, exchange };
        trace_context::encode::<C, _>(&outbound, value, &mut payload)
            .map_err(|reason| PublishError::Encode { name, reason })?;
        let (size, limit) = (payload.len(), self.shared.config.payload_limit);
        if size > limit {
            return Err(PublishError::PayloadTooLarge { template, size, limit });
        }
        observe::encoded(&id, size, exchange.as_ref());
        Ok(Outgoing { template, channel, payload, observation: None })
    }

    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Receipt, PublishError> {
        let Outgoing { template, channel, payload, observation } = outgoing;
        match observation {
            None => self.deliver(template, channel, payload).await,
            observation => Box::pin(observe::watch(observation, self.deliver(template, channel, payload))).await,
        }
    }

    async fn deliver(
        &self,
        template: &'static str,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<Receipt, PublishError> {
        match self.shared.transport.publish(channel, payload).await {
            Ok(receivers) => Ok(Receipt { receivers }),
            Err(failure) => Err(failed(template, failure)),
        }
    }

    /// Sends what could be encoded, in order, and puts the results where the errors leave room.
    pub(crate) async fn send_all(
        &self,
        messages: Vec<Result<Outgoing, PublishError>>,
    ) -> Vec<Result<Receipt, PublishError>> {
        let mut templates = Vec::with_capacity(messages.len());
        let mut sendable = Vec::with_capacity(messages.len());
        for message in messages {
            templates.push(message.map(|Outgoing { template, channel, payload, .. }| {
                sendable.push((channel, payload));
                template
            }));
        }
        let mut answers = Vec::with_capacity(sendable.len());
        let mut sendable = sendable.into_iter();
        while sendable.len() > 0 {
            let part = sendable.by_ref().take(BATCH_PART).collect();
            answers.append(&mut self.shared.transport.publish_all(part).await);
        }
        let mut answers = answers.into_iter();
        let result = |template: Result<&'static str, PublishError>| {
            let template = template?;
            let sent = match answers.next() {
                Some(Ok(receivers)) => Ok(Receipt { receivers }),
                Some(Err(failure)) => Err(failed(template, failure)),
                None => {
                    let reason = "the transport gave no answer".to_owned();
                    Err(PublishError::ConnectionLost { template, reason })
                }
            };
            self.meters().published(template, sent.label());
            sent
        };
        templates.into_iter().map(result).collect()
    }

    /// Sends all of them or none.
    pub(crate) async fn send_atomically(&self, messages: Vec<Outgoing>) -> Result<Vec<Receipt>, PublishError> {
        let Some(template) = messages.first().map(|first| first.template) else { return Ok(Vec::new()) };
        let templates: Vec<&'static str> = messages.iter().map(|message| message.template).collect();
        let messages = messages.into_iter().map(|Outgoing { channel, payload, .. }| (channel, payload)).collect();
        let sent = match self.shared.transport.publish_atomically(messages).await {
            Ok(receivers) => {
                Ok(receivers.into_iter().map(|receivers| Receipt { receivers: Some(receivers) }).collect())
            }
            Err(failure) => Err(failed(template, failure)),
        };
        templates.into_iter().for_each(|template| self.meters().published(template, sent.label()));
        sent
    }

    /// The inbox for answers: subscribed and confirmed before the first request leaves.
    pub(crate) async fn replies(&self) -> Result<&Replies, SubscribeError> {
        let name = self.shared.id_prefix.trim_end_matches('-');
        self.shared.replies.get_or_try_init(|| Replies::open(self, name)).await
    }

    /// Connects an inbox to names without their namespace.
    pub(crate) async fn attach(
        &self,
        inbox: Arc<Inbox>,
        names: Vec<(String, NameKind)>,
    ) -> Result<Attachment, SubscribeError> {
        let mut wanted = Vec::with_capacity(names.len());
        for (token, (name, kind)) in (0..).zip(names) {
            let text = self.namespaced() + &name;
            if let Some((length, limit)) = self.exceeds_name_limit(&text) {
                return Err(SubscribeError::NameTooLong { length, limit });
            }
            wanted.push(Wanted { name: Name { text, kind }, token });
        }
        self.shared.transport.attach(inbox, wanted).await
    }

    /// Length and limit of a name that is too long.
    fn exceeds_name_limit(&self, name: &str) -> Option<(usize, usize)> {
        let limit = self.shared.config.name_limit;
        // A name has at least as many bytes as characters, so most need no counting.
        let length = if name.len() > limit { name.chars().count() } else { 0 };
        (length > limit).then_some((length, limit))
    }

    fn namespaced(&self) -> String {
        let mut name = String::with_capacity(NAME_GUESS);
        if let Some(namespace) = &self.shared.config.namespace {
            name.push_str(namespace);
            name.push(':');
        }
        name
    }

    fn next_id(&self) -> String {
        let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.shared.id_prefix.len() + 20);
        id.push_str(&self.shared.id_prefix);
        id.push_str(itoa::Buffer::new().format(number));
        id
    }
}

/// A value on its way into an envelope.
pub(crate) struct Draft<'a> {
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) template: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) headers: &'a Headers,
    pub(crate) exchange: Option<Exchange<'a>>,
}

/// Messages of a batch that are sent before their answers are awaited: a larger batch is cut into parts, so that neither side holds more
/// than so many answers.
const BATCH_PART: usize = 10_000;

/// Room for most channels and messages without a second allocation.
const NAME_GUESS: usize = 64;
const PAYLOAD_GUESS: usize = 256;

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn failed(template: &'static str, failure: PublishFailure) -> PublishError {
    match failure {
        PublishFailure::Refused { channel, reason, rule } => PublishError::Refused { channel, reason, rule },
        PublishFailure::TimedOut(timeout) => PublishError::TimedOut { template, timeout },
        PublishFailure::ConnectionLost(reason) => PublishError::ConnectionLost { template, reason },
        PublishFailure::Closed(reason) => PublishError::Closed { template, reason },
        PublishFailure::NotConnected(reason) => PublishError::NotConnected { template, reason },
        PublishFailure::Server(reason) => PublishError::Server { template, reason },
    }
}

/// The settings of a bus. Every one has a default that is right for most programs.
#[derive(Clone)]
#[must_use = "nothing is connected until `connect` is awaited"]
pub struct BusBuilder {
    url: String,
    config: Config,
}

impl BusBuilder {
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

    /// Who publishes, for formats that say so: the `source` of [`CloudEvents`](crate::codec::CloudEvents), a URI reference such as `"/shop"`. Default:
    /// `"tidings"`.
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

    /// The longest channel name with its namespace, in characters, 1 to 16,384. Default: 512.
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

    /// Certificates, as PEM text, of an authority to trust besides those of the system. Needs the feature `tls` and `rediss://`.
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
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.config.command_timeout = timeout;
        self
    }

    /// After how much silence the server is asked for a sign of life, and how long it may take. Defaults: 5 s and 5 s.
    ///
    /// A server that hangs is noticed within the sum of both.
    pub fn ping(mut self, interval: Duration, deadline: Duration) -> Self {
        self.config.ping_interval = interval;
        self.config.ping_deadline = deadline;
        self
    }

    /// How a lost connection is made anew. Default: at once, then with pauses of up to 50 ms that double up to 5 s, for ever.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.config.reconnect = reconnect;
        self
    }

    /// The bounds of each subscription's buffer: messages and bytes. Default: 16,384 messages, 16 MiB.
    ///
    /// A full buffer drops its oldest messages; the subscription reports how many.
    pub fn subscription_buffer(mut self, messages: usize, bytes: usize) -> Self {
        self.config.subscription_buffer.messages = messages;
        self.config.subscription_buffer.bytes = bytes;
        self
    }

    /// The bounds of what waits for each handler of a service: messages and bytes. Default: 16,384 messages, 16 MiB.
    ///
    /// Messages wait when their handler is at its concurrency or works on an earlier message of their channel. A full buffer
    /// drops its oldest messages; they are counted and logged.
    pub fn handler_buffer(mut self, messages: usize, bytes: usize) -> Self {
        self.config.handler_buffer.messages = messages;
        self.config.handler_buffer.bytes = bytes;
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
        self.config.validate().map_err(ConnectError::InvalidConfig)?;
        let transport = AnyTransport::connect(&self.url, &self.config).await?;
        let random = RandomState::new().build_hasher().finish();
        let id_prefix = format!("{random:016x}-");
        let shared = Shared {
            transport,
            config: self.config,
            meters: Meters::new(),
            id_prefix,
            next_id: AtomicU64::new(1),
            replies: OnceCell::new(),
        };
        Ok(Bus { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for BusBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address and the settings may hold credentials.
        formatter.debug_struct("BusBuilder").finish_non_exhaustive()
    }
}
