//! Wire formats: how a message and its metadata become a payload, and come back.

mod json;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::delivery::Headers;

pub use self::json::Json;

/// How a message is written. Every format is understood on receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The standard envelope, `{"id", "type", "timestamp", "version", "data"}`.
    #[default]
    Envelope,
    /// The message alone. Id, time, version and headers are not sent.
    Plain,
}

/// A wire format: writes a message with its metadata, and reads both back.
///
/// [`Json`] is the default. The functions take no `self`: a codec is chosen by type, so that a message is encoded and decoded
/// without a virtual call.
pub trait Codec: Send + Sync + 'static {
    /// Appends the payload.
    ///
    /// # Errors
    ///
    /// The reason why the message cannot be written. What is in `payload` is then of no use.
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String>;

    /// Reads a payload in place. Borrowed parts of the result point into `payload`.
    ///
    /// # Errors
    ///
    /// What is wrong with the payload. Any bytes give a result or an error, never a panic.
    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError>;
}

/// The metadata of a message that is being written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outbound<'a> {
    /// Envelope or message alone.
    pub format: Format,
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
}

impl Expected {
    pub(crate) const fn new(name: &'static str, version: u32) -> Self {
        Self { name, version }
    }
}

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
