//! Why a received message was not handed on.

/// Why a channel is no address of the expected message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The segments do not fit the template.
    #[error("the channel does not fit the template")]
    Mismatch,
    /// A segment is no value of its parameter.
    #[error("the segment of `{parameter}` is no value of its type{}", because(reason))]
    #[non_exhaustive]
    Invalid {
        /// The parameter.
        parameter: &'static str,
        /// Why, where the parameter's type says so.
        reason: Option<String>,
    },
    /// A field of the message differs from the parameter in the channel.
    #[error("the field `{parameter}` differs from the channel")]
    #[non_exhaustive]
    Disagrees {
        /// The parameter and field.
        parameter: &'static str,
    },
}

impl AddressError {
    /// The parameter that it is about.
    #[must_use]
    pub fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Mismatch => None,
            Self::Invalid { parameter, .. } | Self::Disagrees { parameter } => Some(parameter),
        }
    }
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Why a received message was not handed to the program as a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The payload is not in the expected format, or `data` is no value of the message's type.
    #[error("the payload is no {name}: {reason}")]
    #[non_exhaustive]
    Undecodable {
        /// The expected wire name.
        name: &'static str,
        /// Where and why decoding failed. Says nothing of the payload's values beyond what the decoder quotes.
        reason: String,
    },
    /// The envelope names another type.
    #[error("the envelope holds a `{found}`, not a {name}")]
    #[non_exhaustive]
    WrongType {
        /// The expected wire name.
        name: &'static str,
        /// The name in the envelope, at most 64 characters of it.
        found: String,
    },
    /// The envelope's version is newer than the receiver's.
    #[error("version {found} of {name} is newer than version {known}, the newest that this program knows")]
    #[non_exhaustive]
    NewerVersion {
        /// The wire name.
        name: &'static str,
        /// The version in the envelope.
        found: u64,
        /// The receiver's version.
        known: u32,
    },
    /// The channel and the message disagree, or the channel holds no value of a parameter.
    #[error("on a channel of {template}: channel and message do not fit")]
    #[non_exhaustive]
    Address {
        /// The template.
        template: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// A request of another program does not say where its answer goes, or names a channel that is not allowed: there is nobody to answer, and
    /// of several instances none could know that it is the one.
    #[error(
        "the request has no `reply_to` with at most 512 bytes behind `{allowed}`, or no `correlation_id` of at most 512 bytes: nobody could be answered"
    )]
    #[non_exhaustive]
    NobodyToAnswer {
        /// How the channels for answers begin.
        allowed: String,
    },
    /// The payload is larger than the bus allows.
    #[error("the payload has {size} bytes, more than the limit of {limit}")]
    #[non_exhaustive]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// The bus's payload limit in bytes.
        limit: usize,
    },
}

impl Rejection {
    /// The kind of rejection in two words, without anything that comes from the payload: for logs and labels.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "undecodable payload",
            Self::WrongType { .. } => "wrong type",
            Self::NewerVersion { .. } => "newer version",
            Self::Address { .. } => "address mismatch",
            Self::TooLarge { .. } => "payload too large",
            Self::NobodyToAnswer { .. } => "nobody to answer",
        }
    }
}
