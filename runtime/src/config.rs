//! Everything a bus can be configured with.

use std::time::Duration;

use crate::codec::contract::Format;

/// The settings of a bus, as the builder collects them. `Debug` shows no credentials.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) namespace: Option<String>,
    pub(crate) format: Format,
    pub(crate) source: String,
    pub(crate) payload_limit: usize,
    pub(crate) name_limit: usize,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Addresses of Sentinels, and what they call the master.
    pub(crate) sentinels: Option<(Vec<String>, String)>,
    /// Addresses of nodes of a cluster.
    pub(crate) cluster: Option<Vec<String>>,
    /// For Sentinels: a user and a password.
    pub(crate) sentinel_credentials: Option<(String, String)>,
    /// Of addresses that servers announce, those by which this program reaches them.
    pub(crate) address_map: Vec<(String, String)>,
    /// PEM certificates to trust in addition to the system's.
    pub(crate) certificate_authority: Option<Vec<u8>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_deadline: Duration,
    pub(crate) reconnect: Reconnect,
    /// Bytes of commands that may wait to be sent or answered.
    pub(crate) publish_buffer: usize,
    /// Whether a PING goes ahead of a message that is published alone.
    pub(crate) subscribers_first: bool,
    /// The buffer of each subscription.
    pub(crate) subscription_buffer: Bounds,
    /// The buffer of each handler of a service.
    pub(crate) handler_buffer: Bounds,
    /// How channels for answers may begin, beside the bus's own.
    pub(crate) reply_prefixes: Vec<String>,
    /// Name and version of the program.
    pub(crate) program: Option<(String, String)>,
    /// From which hop on messages that handlers return are refused.
    pub(crate) hop_limit: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            format: Format::Envelope,
            source: "tidings".to_owned(),
            payload_limit: 10 * 1024 * 1024,
            name_limit: 512,
            username: None,
            password: None,
            sentinels: None,
            cluster: None,
            sentinel_credentials: None,
            address_map: Vec::new(),
            certificate_authority: None,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_deadline: Duration::from_secs(5),
            reconnect: Reconnect::default(),
            publish_buffer: 64 * 1024 * 1024,
            subscribers_first: true,
            subscription_buffer: Bounds::default(),
            handler_buffer: Bounds::default(),
            reply_prefixes: Vec::new(),
            program: None,
            hop_limit: None,
        }
    }
}

/// Redis's own limit for one string.
const PAYLOAD_MAX: usize = 512 * 1024 * 1024;
/// A subscription's connection takes names of up to 64 KiB, and a character has up to 4 bytes.
const NAME_MAX: usize = 16 * 1024;

impl Config {
    /// The setting that names servers, if there is one.
    pub(crate) fn names_servers(&self) -> Option<&'static str> {
        let sentinels = self.sentinels.as_ref().map(|_| "sentinels");
        sentinels.or_else(|| self.cluster.as_ref().map(|_| "cluster"))
    }

    /// What is wrong with the settings.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(1..=PAYLOAD_MAX).contains(&self.payload_limit) {
            return Err(format!("`payload_limit` is {}, but must be 1 to {PAYLOAD_MAX} bytes", self.payload_limit));
        }
        if !(1..=NAME_MAX).contains(&self.name_limit) {
            return Err(format!("`name_limit` is {}, but must be 1 to {NAME_MAX} characters", self.name_limit));
        }
        if self.source.is_empty()
            || self.source.chars().any(|character| character.is_whitespace() || character.is_control())
        {
            return Err("the source is empty or has spaces: write a URI reference such as `/shop`".to_owned());
        }
        for (setting, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("command_timeout", self.command_timeout),
            ("ping interval", self.ping_interval),
            ("ping deadline", self.ping_deadline),
        ] {
            if duration.is_zero() {
                return Err(format!("the {setting} must be longer than zero"));
            }
        }
        if self.publish_buffer == 0 {
            return Err("`publish_buffer` must have room for at least 1 byte".to_owned());
        }
        for (setting, bounds) in
            [("subscription_buffer", self.subscription_buffer), ("handler_buffer", self.handler_buffer)]
        {
            if bounds.messages == 0 || bounds.bytes == 0 {
                return Err(format!("`{setting}` must have room for at least 1 message and 1 byte"));
            }
        }
        match self.namespace.as_deref() {
            Some("") => Err("the namespace is empty: leave it out".to_owned()),
            Some(namespace) => validate_namespace(namespace),
            None => Ok(()),
        }
    }
}

fn validate_namespace(namespace: &str) -> Result<(), String> {
    let special =
        |character: char| character.is_whitespace() || character.is_control() || "*?[]\\{}%".contains(character);
    match namespace.chars().find(|&character| special(character)) {
        Some(character) => {
            Err(format!("the namespace `{}` has {character:?}, which is special in patterns", namespace.escape_debug()))
        }
        None => Ok(()),
    }
}

/// How a lost connection is made anew: at once, then after pauses that double up to a maximum, each drawn at random between zero
/// and its full length so that many clients do not return in step.
///
/// In the first minute of an outage no pause is longer than half a second, unless [`first_pause`](Self::first_pause) is: a server that is
/// restarted has its subscribers back within a second of taking connections. One connection of the bus that is made, such as that of a
/// publish, ends the pauses of the others.
///
/// [`BusBuilder::reconnect`](crate::BusBuilder::reconnect) takes it.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, EndReason, Event, Message, Reconnect, Status, testing::Broker};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = Broker::new();
/// let reconnect = Reconnect::default().longest_pause(Duration::from_secs(1)).give_up_after(Duration::from_millis(20));
/// let bus = Bus::builder(broker.url()).reconnect(reconnect).connect().await?;
/// let mut orders = bus.subscribe(OrderPlaced::any()).await?;
/// broker.stop();
/// assert!(matches!(orders.next().await, Some(Event::Ended(EndReason::GaveUp { .. }))));
/// assert_eq!(bus.status(), Status::Closed);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) give_up_after: Option<Duration>,
}

/// A server that accepts and at once closes must not be asked in a tight loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl Default for Reconnect {
    /// Pauses from 50 ms up to 500 ms in the first minute and up to 5 s after it, for ever.
    fn default() -> Self {
        Self { first_pause: Duration::from_millis(50), longest_pause: Duration::from_secs(5), give_up_after: None }
    }
}

impl Reconnect {
    /// The longest pause in the first minute of an outage.
    pub(crate) const PROMPT: Duration = Duration::from_millis(500);

    /// The longest that the first pause can be, at least 1 ms. Default: 50 ms.
    #[must_use]
    pub fn first_pause(mut self, longest: Duration) -> Self {
        self.first_pause = longest.max(SHORTEST_PAUSE);
        self
    }

    /// The longest that any pause can be; never less than the first one. In the first minute pauses are 500 ms at most in any case. Default:
    /// 5 s.
    #[must_use]
    pub fn longest_pause(mut self, longest: Duration) -> Self {
        self.longest_pause = longest.max(SHORTEST_PAUSE);
        self
    }

    /// Gives up when the server was away for so long: every subscription then ends. The default is never.
    #[must_use]
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.give_up_after = Some(limit);
        self
    }
}

/// The bounds of a buffer: messages and bytes. Whichever is reached first counts.
///
/// One message fits always, however large it is.
///
/// # Examples
///
/// ```
/// use tidings::Bounds;
///
/// let bounds = Bounds::messages(1_000).bytes(1 << 20);
/// assert_ne!(bounds, Bounds::default()); // 16,384 messages, 16 MiB
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    /// So many messages, at least 1, of 16 MiB together.
    #[must_use]
    pub const fn messages(messages: usize) -> Self {
        Self { messages, ..Self::DEFAULT }
    }

    /// So many bytes of channels and payloads, at least 1.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    const DEFAULT: Self = Self { messages: 16_384, bytes: 16 * 1024 * 1024 };

    /// With room for at least one message and one byte.
    pub(crate) fn at_least_one(self) -> Self {
        Self { messages: self.messages.max(1), bytes: self.bytes.max(1) }
    }
}

impl Default for Bounds {
    /// 16,384 messages and 16 MiB.
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a subscription or a service does when a buffer is full.
///
/// Every loss of a subscription shows as [`Event::Lagged`](crate::Event::Lagged), at its place; those of a service are counted for
/// each handler, in [`HandlerStats::dropped`](crate::HandlerStats).
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bounds, Bus, Event, Message, Overflow};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("prices")]
/// # struct Price { cents: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mut newest = bus.subscribe(Price::channel()).buffer(Bounds::messages(2)).await?; // `DropOldest`
/// let mut first = bus.subscribe(Price::channel()).buffer(Bounds::messages(2)).overflow(Overflow::DropNewest).await?;
/// for cents in [100, 101, 102] {
///     Price { cents }.publish(&bus).await?; // meanwhile nobody reads
/// }
/// assert!(matches!(newest.next().await, Some(Event::Lagged(1))));
/// assert!(matches!(newest.next().await, Some(Event::Message(price)) if price.cents == 101));
/// assert!(matches!(first.next().await, Some(Event::Message(price)) if price.cents == 100));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops the oldest messages: what is read is as new as can be. The default.
    #[default]
    DropOldest,
    /// Drops what arrives: what is read has no hole until the buffer has been worked off.
    DropNewest,
    /// Stops reading: tidings drops nothing.
    ///
    /// On Redis the subscription or service gets a connection of its own, so that it stalls nobody else. The server then buffers for it, up to
    /// its limit for subscribers (`client-output-buffer-limit pubsub`, by default 32 MiB, or 8 MiB for a minute); beyond that it closes
    /// the connection, and the subscription reports a [`Gap`](crate::Gap). A server that is lost while nothing is read is noticed when
    /// reading goes on; the connection is made anew by the bus's policy, apart from the shared one.
    ///
    /// On memory, those who publish to a full subscription wait, for the command timeout at most, and then fail.
    BackPressure,
}
