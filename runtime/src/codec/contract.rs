//! What a wire format is asked to do, and what it is told and tells of a message beside its value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::codec::{headers::Headers, slot::Slot};

/// How a bus writes the messages that do not choose a codec themselves, and how it reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// [`Json`](crate::codec::Json): the standard envelope, `{"id", "type", "timestamp", "version", "data"}`.
    #[default]
    Envelope,
    /// [`Plain`](crate::codec::Plain): the message alone. Id, time, version and headers are not sent.
    Plain,
    /// [`CloudEvents`](crate::codec::CloudEvents): a CloudEvent 1.0 in JSON's structured mode.
    CloudEvents,
    /// [`RedisToolkit`](crate::codec::RedisToolkit): what the Python library `redis-toolkit` 0.4 writes and reads.
    RedisToolkit,
    /// [`MessagePack`](crate::codec::MessagePack): the standard envelope as MessagePack.
    #[cfg(feature = "messagepack")]
    MessagePack,
    /// [`Cbor`](crate::codec::Cbor): the standard envelope as CBOR.
    #[cfg(feature = "cbor")]
    Cbor,
}

/// A wire format: writes a message with its metadata, and reads both back.
///
/// The functions take no `self`: a codec is chosen by type, with `#[message(codec = …)]`, so that a message is encoded and decoded
/// without a virtual call.
///
/// A codec of your own most often wraps one of these, as here:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{
///     Message,
///     codec::{Codec, DecodeError, Expected, Inbound, Json, Outbound},
/// };
///
/// /// JSON behind a mark of four bytes.
/// struct Marked;
///
/// impl Codec for Marked {
///     fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
///         payload.extend_from_slice(b"MARK");
///         Json::encode(outbound, message, payload)
///     }
///
///     fn decode<'de, T: Deserialize<'de>>(
///         expected: &Expected,
///         payload: &'de [u8],
///     ) -> Result<(T, Inbound<'de>), DecodeError> {
///         let json = payload.strip_prefix(b"MARK").ok_or_else(|| DecodeError::Invalid("no mark".into()))?;
///         Json::decode(expected, json)
///     }
///
///     fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
///         Json::metadata(expected, payload.strip_prefix(b"MARK")?)
///     }
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("orders:<id>")]
/// #[message(codec = Marked)]
/// struct OrderPlaced {
///     id: u64,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec",
    label = "not a codec",
    note = "write the path of a type that implements `tidings::Codec`, such as `codec = tidings::codec::CloudEvents`"
)]
pub trait Codec: Send + Sync + 'static {
    /// Appends the payload.
    ///
    /// A codec that cannot carry the headers or the exchange refuses: to leave them out would lose them silently.
    ///
    /// # Errors
    ///
    /// The reason why the message cannot be written. What is in `payload` is then of no use.
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String>;

    /// Like [`encode`](Self::encode), and says where the time left stands, where the exchange has one and its place is of fixed width: it is
    /// written again there, as it is when the payload leaves, by [`Slot::write`]. Without a slot it stays as it was when it was encoded.
    ///
    /// A codec that writes before or behind what another codec writes can hand that one's slot on. One that compresses, encrypts or signs
    /// leaves this function as it is, since its payload must not change any more. Default: no slot.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        Self::encode(outbound, message, payload).map(|()| None)
    }

    /// Whether headers that the program did not set may be added: the context of a trace, with the feature `opentelemetry`.
    ///
    /// `false` says that there is no place for them, or that a receiver would not expect them. Default: `true`.
    #[must_use]
    fn carries_context(outbound: &Outbound<'_>) -> bool {
        let _ = outbound;
        true
    }

    /// Reads a payload in place. Borrowed parts of the result point into `payload`.
    ///
    /// # Errors
    ///
    /// What is wrong with the payload. Any bytes give a result or an error, never a panic.
    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError>;

    /// [`decode`](Self::decode) with a place for the metadata, which stays empty where there is none: so a message alone does not carry an empty
    /// one through every layer of this.
    #[doc(hidden)]
    fn decode_beside<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
        inbound: &mut Option<Inbound<'de>>,
    ) -> Result<T, DecodeError> {
        let (message, said) = Self::decode(expected, payload)?;
        *inbound = Some(said);
        Ok(message)
    }

    /// The metadata of a message of any type, whatever its value is: a request that cannot be read is still answered.
    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>>;
}

/// The metadata of a message that is being written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outbound<'a> {
    /// What the bus chose. It concerns only the messages that leave the choice to the bus, so a codec of your own passes it over.
    pub format: Format,
    /// Who publishes, as [`BusBuilder::source`](crate::BusBuilder::source) says.
    pub source: &'a str,
    /// The wire name.
    pub name: &'static str,
    /// The version.
    pub version: u32,
    /// Unique for each message.
    pub id: &'a str,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// The headers.
    pub headers: &'a Headers,
    /// What an answer needs. Absent where none is expected.
    pub exchange: Option<Exchange<'a>>,
}

impl<'a> Outbound<'a> {
    /// A message of this wire name, in its version 1 and with this id, published at the beginning of 1970 by nobody in particular: for the
    /// tests of a codec of your own.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidings::codec::{Codec, Exchange, Expected, Json, Outbound};
    ///
    /// let request = Outbound::new("Ping", "id-1").exchange(Exchange::new("c-1").reply_to("answers"));
    /// let mut payload = Vec::new();
    /// Json::encode(&request, &7, &mut payload).unwrap();
    /// let (number, inbound) = Json::decode::<u8>(&Expected::new("Ping", 1), &payload).unwrap();
    /// assert_eq!((number, inbound.id.as_deref(), inbound.reply_to.as_deref()), (7, Some("id-1"), Some("answers")));
    /// ```
    #[must_use]
    pub const fn new(name: &'static str, id: &'a str) -> Self {
        const NO_HEADERS: &Headers = &Headers::new();
        Self {
            format: Format::Envelope,
            source: "tidings",
            name,
            version: 1,
            id,
            timestamp: 0,
            headers: NO_HEADERS,
            exchange: None,
        }
    }

    /// What the bus chose.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Who publishes.
    #[must_use]
    pub const fn source(mut self, source: &'a str) -> Self {
        self.source = source;
        self
    }

    /// The version.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// When it was published, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn timestamp(mut self, millis: u64) -> Self {
        self.timestamp = millis;
        self
    }

    /// The headers.
    #[must_use]
    pub const fn headers(mut self, headers: &'a Headers) -> Self {
        self.headers = headers;
        self
    }

    /// What an answer needs.
    #[must_use]
    pub const fn exchange(mut self, exchange: Exchange<'a>) -> Self {
        self.exchange = Some(exchange);
        self
    }
}

/// How a request and its answers find each other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The same in the request and in its answers.
    pub correlation_id: &'a str,
    /// The channel for answers. Absent in an answer.
    pub reply_to: Option<&'a str>,
    /// Milliseconds for which somebody still waits for an answer, counted from now: 2³¹ − 1 at most. Never a time of day, since two clocks
    /// differ. Absent where nobody's patience ends.
    pub time_left: Option<u32>,
}

impl<'a> Exchange<'a> {
    /// An answer's: it names what it answers, and no channel.
    #[must_use]
    pub const fn new(correlation_id: &'a str) -> Self {
        Self { correlation_id, reply_to: None, time_left: None }
    }

    /// The channel for answers.
    #[must_use]
    pub const fn reply_to(mut self, channel: &'a str) -> Self {
        self.reply_to = Some(channel);
        self
    }

    /// For how many milliseconds somebody still waits for an answer.
    #[must_use]
    pub const fn time_left(mut self, millis: u32) -> Self {
        self.time_left = Some(millis);
        self
    }
}

/// What a receiver accepts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Expected {
    /// The wire name.
    pub name: &'static str,
    /// The newest version.
    pub version: u32,
    /// What the bus chose. It concerns only the messages that leave the choice to the bus.
    pub format: Format,
}

impl Expected {
    /// Messages of this name, up to this version, of a bus that says [`Format::Envelope`].
    #[must_use]
    pub const fn new(name: &'static str, version: u32) -> Self {
        Self { name, version, format: Format::Envelope }
    }

    /// What the bus chose.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// For metadata: every name and version will do.
    pub(crate) const ANYTHING: Self = Self::anything(Format::Envelope);

    pub(crate) const fn anything(format: Format) -> Self {
        Self::new("", u32::MAX).format(format)
    }
}

/// [`Codec::metadata`].
pub(crate) type ReadMetadata = for<'de> fn(&Expected, &'de [u8]) -> Option<Inbound<'de>>;

/// The metadata of a message that was read. All of it is absent when the payload was the message alone.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Inbound<'de> {
    /// The id.
    pub id: Option<Cow<'de, str>>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// The version.
    pub version: Option<u64>,
    /// The headers.
    pub headers: Headers,
    /// The same in a request and in its answers.
    pub correlation_id: Option<Cow<'de, str>>,
    /// The channel for answers.
    pub reply_to: Option<Cow<'de, str>>,
    /// Milliseconds for which somebody waits for an answer, counted from the arrival.
    pub time_left: Option<u32>,
    /// How many of the envelope's members, and of its headers, could not be read: they are absent.
    pub unreadable: u32,
}

impl<'de> Inbound<'de> {
    /// Of the message alone: nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is known, as of nearly every message that came alone.
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        let Self { id, timestamp, version, headers, correlation_id, reply_to, time_left, unreadable } = self;
        id.is_none()
            && timestamp.is_none()
            && correlation_id.is_none()
            && headers.is_empty()
            && *unreadable == 0
            && version.is_none()
            && reply_to.is_none()
            && time_left.is_none()
    }

    /// The id.
    #[must_use]
    pub fn id(mut self, id: impl Into<Cow<'de, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it was published, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(mut self, millis: u64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// The version.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The headers.
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// What a request and its answers have in common.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<Cow<'de, str>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The channel for answers.
    #[must_use]
    pub fn reply_to(mut self, channel: impl Into<Cow<'de, str>>) -> Self {
        self.reply_to = Some(channel.into());
        self
    }

    /// For how many milliseconds, counted from the arrival, somebody waits for an answer.
    #[must_use]
    pub fn time_left(mut self, millis: u32) -> Self {
        self.time_left = Some(millis);
        self
    }

    /// How many members and headers could not be read.
    #[must_use]
    pub fn unreadable(mut self, count: u32) -> Self {
        self.unreadable = count;
        self
    }
}

/// Why a payload cannot be read. A codec of your own makes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not in the format, or not of the type. The text says where and why.
    #[error("{0}")]
    Invalid(String),
    /// An envelope of another type.
    #[error("an envelope of type `{0}`")]
    WrongType(String),
    /// An envelope of a version newer than the expected one.
    #[error("an envelope of the newer version {0}")]
    NewerVersion(u64),
}
