//! Why a message was not published.

use std::time::Duration;

use crate::{
    error::received::AddressError,
    observe::label::{Label, Observed},
};

/// Why a message was not published, or not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message cannot be encoded.
    #[error("{name} cannot be encoded: {reason}")]
    #[non_exhaustive]
    Encode {
        /// The wire name.
        name: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// The message and the address that it is to be sent to contradict each other, so every receiver would refuse it. Nothing was sent.
    #[error("on {template}: the message does not fit its address{}", at(source))]
    #[non_exhaustive]
    Address {
        /// The channel template.
        template: &'static str,
        /// What is wrong, and with which parameter.
        source: AddressError,
    },
    /// The encoded message is larger than the bus or the server allows. Nothing was sent.
    #[error(
        "on {template}: the payload has {size} bytes, more than the limit of {limit}; raise it (`payload_limit` on both sides, \
         `proto-max-bulk-len` of the server) or send a reference"
    )]
    #[non_exhaustive]
    PayloadTooLarge {
        /// The channel template.
        template: &'static str,
        /// Bytes of the encoded payload.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A handler returned the message at the end of a chain of messages that is longer than the bus allows. Nothing was sent.
    #[error(
        "on {template}: handlers have returned messages to each other for {hops} hops, and the limit is {limit}; is there a loop?"
    )]
    #[non_exhaustive]
    TooManyHops {
        /// The channel template.
        template: &'static str,
        /// How far the message is from the first of its chain.
        hops: u32,
        /// The limit of the bus.
        limit: u32,
    },
    /// The channel's name is longer than the bus allows. Nothing was sent.
    #[error("on {template}: the channel's name has {length} characters, more than the limit of {limit}")]
    #[non_exhaustive]
    NameTooLong {
        /// The channel template.
        template: &'static str,
        /// Characters of the name.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// The server's access rules refuse the channel. Nothing was published.
    #[error("the server refuses to publish on {channel}: {reason}; a rule that allows it: `{rule}`")]
    #[non_exhaustive]
    Refused {
        /// The channel as the server knows it, with the namespace.
        channel: String,
        /// The server's words.
        reason: String,
        /// The command that would allow it.
        rule: String,
    },
    /// No answer came in time: the message may or may not have been published.
    #[error("on {template}: no answer within {timeout:?}; the message may or may not have been published")]
    #[non_exhaustive]
    TimedOut {
        /// The channel template.
        template: &'static str,
        /// The command timeout.
        timeout: Duration,
    },
    /// The connection was lost before the answer came: the message may or may not have been published.
    #[error(
        "on {template}: the connection was lost before the answer came; the message may or may not have been published: {reason}"
    )]
    #[non_exhaustive]
    ConnectionLost {
        /// The channel template.
        template: &'static str,
        /// The reason.
        reason: String,
    },
    /// The bus is closed for good: the program has closed it, or the reconnect policy's limit was reached. Nothing was published.
    #[error("on {template}: the bus is closed: {reason}")]
    #[non_exhaustive]
    Closed {
        /// The channel template.
        template: &'static str,
        /// Why it was closed.
        reason: String,
    },
    /// There is no connection. Nothing was published.
    #[error("on {template}: not connected: {reason}")]
    #[non_exhaustive]
    NotConnected {
        /// The channel template.
        template: &'static str,
        /// The reason.
        reason: String,
    },
    /// More waits to be sent than may wait, or the time of a batch was over before its turn came. Nothing was published.
    #[error("on {template}: not sent: {reason}")]
    #[non_exhaustive]
    Overloaded {
        /// The channel template.
        template: &'static str,
        /// What there is too much of.
        reason: String,
    },
    /// The server refused the command for another reason. Nothing was published.
    #[error("on {template}: the server answered {reason}")]
    #[non_exhaustive]
    Server {
        /// The channel template.
        template: &'static str,
        /// The server's words, as far as they can quote nothing.
        reason: String,
    },
    /// Of an atomic batch: it was handed over, and how it ended is not known. All of it was published, or nothing, unless the reason says
    /// otherwise.
    #[error("on {template}: it is not known whether the batch was published: {reason}")]
    #[non_exhaustive]
    Undecided {
        /// The channel template of the first message.
        template: &'static str,
        /// Why it is not known.
        reason: String,
    },
}

/// The parameter that an error is about.
fn at(error: &AddressError) -> String {
    error.parameter().map_or_else(String::new, |parameter| format!(" in `{parameter}`"))
}

/// What a server says that will take commands again: it starts, is busy or full, changes its role or has lost its replicas; of a cluster, that a slot
/// moves or nobody has it.
const PASSING: [&str; 12] = [
    "LOADING",
    "BUSY",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "READONLY",
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "ERR max number of clients",
];

impl PublishError {
    /// Whether the same publish may succeed later, without anything being changed, and cannot publish the message twice: it is known that it
    /// was not published.
    ///
    /// After [`TimedOut`](Self::TimedOut), [`ConnectionLost`](Self::ConnectionLost) and [`Undecided`](Self::Undecided) that is not known, so they
    /// are never retryable: whether a second message does harm only the program can tell. What the server answered is retryable if it is a
    /// condition that passes: `LOADING`, `BUSY`, `OOM`, `READONLY`, `CLUSTERDOWN`, `MASTERDOWN`, `NOREPLICAS`, `MISCONF`, `TRYAGAIN`, `MOVED`,
    /// `ASK`.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::Overloaded { .. } => true,
            Self::Server { reason, .. } => is_passing(reason),
            _ => false,
        }
    }
}

/// Whether what the server has answered is a condition that passes.
pub(super) fn is_passing(reason: &str) -> bool {
    let begins_with =
        |code: &&str| reason.strip_prefix(*code).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    PASSING.iter().any(begins_with)
}

impl Observed for PublishError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::Encode { .. } => "not_encodable",
            Self::Address { .. } => "address_mismatch",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::NameTooLong { .. } => "name_too_long",
            Self::TooManyHops { .. } => "too_many_hops",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::Closed { .. } => "closed",
            Self::NotConnected { .. } => "not_connected",
            Self::Overloaded { .. } => "overloaded",
            Self::Server { .. } => "server_error",
            Self::Undecided { .. } => "undecided",
        })
    }
}
