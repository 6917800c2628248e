//! Wire formats: how a message and its metadata become a payload, and come back.
//!
//! | codec | a payload is | on receive it also takes |
//! |--|--|--|
//! | [`Json`] | the standard envelope as JSON | the message alone |
//! | [`Plain`] | the message alone as JSON | the standard envelope |
//! | [`CloudEvents`] | a CloudEvent 1.0 in JSON's structured mode | the standard envelope, the message alone |
//! | [`RedisToolkit`] | what the Python library `redis-toolkit` 0.4 writes | the standard envelope, the message alone |
//! | `MessagePack` (feature `messagepack`) | the standard envelope as MessagePack | the message alone as MessagePack |
//! | `Cbor` (feature `cbor`) | the standard envelope as CBOR | the message alone as CBOR |
//!
//! A message chooses its codec with `#[message(codec = CloudEvents)]`, and a codec of your own works the same way. What the other
//! messages are written in, [`BusBuilder::format`](crate::BusBuilder::format) says.
//!
//! Requests and acknowledged publishes need metadata; each codec carries it. Answers always travel in the standard envelope as JSON, so that
//! whoever asks need not know the format of whoever answers; an answer in one of the other formats of JSON text is understood.

#[cfg(feature = "cbor")]
mod cbor;
mod cloud_events;
mod envelope;
mod json;
#[cfg(feature = "messagepack")]
mod messagepack;
mod redis_toolkit;
#[cfg(any(feature = "cbor", feature = "messagepack"))]
mod scan;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::delivery::Headers;

#[cfg(feature = "cbor")]
pub use self::cbor::Cbor;
#[cfg(feature = "messagepack")]
pub use self::messagepack::MessagePack;
pub use self::{
    cloud_events::CloudEvents,
    json::{Json, Plain},
    redis_toolkit::{RedisToolkit, ToolkitBytes},
};

/// How a bus writes the messages that do not choose a codec themselves, and how it reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// [`Json`]: the standard envelope, `{"id", "type", "timestamp", "version", "data"}`.
    #[default]
    Envelope,
    /// [`Plain`]: the message alone. Id, time, version and headers are not sent.
    Plain,
    /// [`CloudEvents`]: a CloudEvent 1.0 in JSON's structured mode.
    CloudEvents,
    /// [`RedisToolkit`]: what the Python library `redis-toolkit` 0.4 writes and reads.
    RedisToolkit,
    /// [`MessagePack`]: the standard envelope as MessagePack.
    #[cfg(feature = "messagepack")]
    MessagePack,
    /// [`Cbor`]: the standard envelope as CBOR.
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

    /// The metadata of a message of any type, whatever its value is: a request that cannot be read is still answered.
    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>>;
}

/// Does what the bus's [`Format`] says: the codec of every message that chooses none.
#[derive(Clone, Copy, Debug)]
pub struct ByBus;

macro_rules! by_format {
    ($format:expr, $function:ident $arguments:tt) => {
        match $format {
            Format::Envelope => Json::$function $arguments,
            Format::Plain => Plain::$function $arguments,
            Format::CloudEvents => CloudEvents::$function $arguments,
            Format::RedisToolkit => RedisToolkit::$function $arguments,
            #[cfg(feature = "messagepack")]
            Format::MessagePack => MessagePack::$function $arguments,
            #[cfg(feature = "cbor")]
            Format::Cbor => Cbor::$function $arguments,
        }
    };
}

impl Codec for ByBus {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        by_format!(outbound.format, encode(outbound, message, payload))
    }

    fn carries_context(outbound: &Outbound<'_>) -> bool {
        by_format!(outbound.format, carries_context(outbound))
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        by_format!(expected.format, decode(expected, payload))
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        by_format!(expected.format, metadata(expected, payload))
    }
}

/// The codec of answers: written as the standard envelope, read from any JSON text.
pub(crate) enum Answers {}

impl Codec for Answers {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Json::encode(outbound, message, payload)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        match foreign(payload) {
            Some(Format::CloudEvents) => CloudEvents::decode(expected, payload),
            Some(_) => RedisToolkit::decode(expected, payload),
            None => Json::decode(expected, payload),
        }
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        match foreign(payload) {
            Some(Format::CloudEvents) => CloudEvents::metadata(expected, payload),
            Some(_) => RedisToolkit::metadata(expected, payload),
            None => Json::metadata(expected, payload),
        }
    }
}

/// The format of an answer that does not start as the standard envelope does.
fn foreign(payload: &[u8]) -> Option<Format> {
    if payload.starts_with(b"{\"id\":") {
        return None;
    }
    let contains = |member: &[u8]| payload.windows(member.len()).any(|window| window == member);
    if contains(b"\"__type__\"") {
        Some(Format::RedisToolkit)
    } else {
        contains(b"\"specversion\"").then_some(Format::CloudEvents)
    }
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

/// How a request and its answers find each other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The same in the request and in its answers.
    pub correlation_id: &'a str,
    /// The channel for answers. Absent in an answer.
    pub reply_to: Option<&'a str>,
    /// Milliseconds since the Unix epoch, by the requester's clock, after which nobody waits for an answer.
    pub deadline: Option<u64>,
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
    pub(crate) const fn new(name: &'static str, version: u32, format: Format) -> Self {
        Self { name, version, format }
    }

    /// For metadata: every name and version will do.
    const ANYTHING: Self = Self::anything(Format::Envelope);

    pub(crate) const fn anything(format: Format) -> Self {
        Self::new("", u32::MAX, format)
    }
}

/// [`Codec::metadata`].
pub(crate) type Metadata = for<'de> fn(&Expected, &'de [u8]) -> Option<Inbound<'de>>;

/// The metadata of a message that was read. All of it is absent when the payload was the message alone.
#[derive(Clone, Debug, Default)]
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
    /// Milliseconds since the Unix epoch after which nobody waits for an answer.
    pub deadline: Option<u64>,
}

/// Why a payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

#[cfg(test)]
mod tests;
