//! What can go wrong, one type for each family of operations.

use std::{error::Error, io, time::Duration};

use crate::observe::label::{Label, Observed};

/// An error's words and those of its causes, for where only words are passed on.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

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
        }
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be understood.
    #[error("`{url}` is no address of a bus: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// Host and port, or the path of a unix socket, where it is certain that they are; never anything else of the address.
        url: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// An option of the builder has a value outside of its range.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// The server cannot be reached.
    #[error("no Redis server answers at {address}")]
    #[non_exhaustive]
    Unreachable {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error("the Redis server at {address} did not answer within {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The connect timeout.
        timeout: Duration,
    },
    /// The server refused user or password.
    #[error("the Redis server at {address} refused the credentials: {reason}")]
    #[non_exhaustive]
    Unauthorized {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The server's words.
        reason: String,
    },
    /// TLS could not be established.
    #[error("no TLS with {address}: {reason}")]
    #[non_exhaustive]
    Tls {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        reason: String,
    },
    /// The server answered something that tidings cannot work with.
    #[error("the server at {address} cannot be used: {reason}")]
    #[non_exhaustive]
    Unusable {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        reason: String,
    },
}

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
    /// The reconnect policy's limit was reached, and the bus is closed for good. Nothing was published.
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

/// What a server says that will take commands again: it starts, is busy or full, changes its role or has lost its replicas.
const PASSING: [&str; 10] = [
    "LOADING",
    "BUSY",
    "TRYAGAIN",
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
    /// condition that passes: `LOADING`, `BUSY`, `OOM`, `READONLY`, `CLUSTERDOWN`, `MASTERDOWN`, `NOREPLICAS`, `MISCONF`, `TRYAGAIN`.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::Overloaded { .. } => true,
            Self::Server { reason, .. } => PASSING
                .iter()
                .any(|code| reason.strip_prefix(code).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))),
            _ => false,
        }
    }
}

/// Why a subscription could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The channel's name is longer than the bus allows.
    #[error("the channel's name has {length} characters, more than the limit of {limit}")]
    #[non_exhaustive]
    NameTooLong {
        /// Characters of the name.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// The server's access rules refuse the channel.
    #[error("the server refuses a subscription to {channel}: {reason}; a rule that allows it: `{rule}`")]
    #[non_exhaustive]
    Refused {
        /// The channel or pattern as the server knows it, with the namespace.
        channel: String,
        /// The server's words.
        reason: String,
        /// The command that would allow it.
        rule: String,
    },
    /// The server did not confirm the subscription in time.
    #[error("the server did not confirm the subscription to {channel} within {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The first channel that was not confirmed.
        channel: String,
        /// The command timeout.
        timeout: Duration,
    },
    /// There is no connection, and it will not be tried again.
    #[error("not connected: {reason}")]
    #[non_exhaustive]
    NotConnected {
        /// The reason.
        reason: String,
    },
}

/// Why a request has no reply. `E` is the error with which the request's handler may answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError<E> {
    /// The handler answered with its typed error.
    #[error("the handler answered with an error")]
    Answered(E),
    /// Nobody is subscribed to the channel. The request was not handled.
    #[error("on {template}: nobody listens")]
    #[non_exhaustive]
    NobodyListens {
        /// The channel template.
        template: &'static str,
    },
    /// No answer came in time: the request may or may not have been handled.
    #[error("on {template}: no answer within {timeout:?}; the request may or may not have been handled")]
    #[non_exhaustive]
    TimedOut {
        /// The channel template.
        template: &'static str,
        /// The request's timeout.
        timeout: Duration,
    },
    /// The connection was lost while the request waited: it may or may not have been handled.
    #[error("on {template}: the connection was lost while waiting; the request may or may not have been handled")]
    #[non_exhaustive]
    ConnectionLost {
        /// The channel template.
        template: &'static str,
    },
    /// The handler failed in a way that is not its typed error: it panicked, timed out, or refused the message.
    #[error("on {template}: the other side failed: {reason}")]
    #[non_exhaustive]
    Failed {
        /// The channel template.
        template: &'static str,
        /// What happened, without its internals.
        reason: String,
    },
    /// Everybody who received the request has left it to others: it was not handled.
    #[error("on {template}: the request was not handled: {reason}")]
    #[non_exhaustive]
    NotHandled {
        /// The channel template.
        template: &'static str,
        /// Why the last of them did not handle it: it was dropped, or filtered out.
        reason: &'static str,
    },
    /// The answer is larger than this bus takes. The request was handled.
    #[error("on {template}: the answer has {size} bytes, more than this bus's limit of {limit}; raise `payload_limit`")]
    #[non_exhaustive]
    AnswerTooLarge {
        /// The channel template.
        template: &'static str,
        /// Bytes of the answer.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not of the expected type.
    #[error("on {template}: the answer cannot be read: {reason}")]
    #[non_exhaustive]
    InvalidAnswer {
        /// The channel template.
        template: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The request could not be sent.
    #[error("the request could not be sent")]
    Publish(#[from] PublishError),
    /// The inbox for answers could not be subscribed.
    #[error("no inbox for the answer")]
    Subscribe(#[from] SubscribeError),
}

/// Why a published message was not acknowledged by as many handlers as were asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// Nobody is subscribed to the channel.
    #[error("on {template}: nobody listens")]
    #[non_exhaustive]
    NobodyListens {
        /// The channel template.
        template: &'static str,
    },
    /// Everybody who received the message failed to handle it.
    #[error("on {template}: every handler failed: {}", refusals.join("; "))]
    #[non_exhaustive]
    Refused {
        /// The channel template.
        template: &'static str,
        /// Why, in the handlers' words.
        refusals: Vec<String>,
    },
    /// Too few answers came in time: others may or may not have handled the message.
    #[error("on {template}: {handlers} handled and {} refused within {timeout:?}, fewer than asked for", refusals.len())]
    #[non_exhaustive]
    TimedOut {
        /// The channel template.
        template: &'static str,
        /// The timeout.
        timeout: Duration,
        /// How many handlers had handled the message by then.
        handlers: usize,
        /// Why others did not, in their handlers' words, in the order in which they said so.
        refusals: Vec<String>,
    },
    /// The connection was lost while waiting: the message may or may not have been handled.
    #[error("on {template}: the connection was lost while waiting; the message may or may not have been handled")]
    #[non_exhaustive]
    ConnectionLost {
        /// The channel template.
        template: &'static str,
    },
    /// The message could not be published.
    #[error("the message could not be published")]
    Publish(#[from] PublishError),
    /// The inbox for answers could not be subscribed.
    #[error("no inbox for the answers")]
    Subscribe(#[from] SubscribeError),
}

/// Why a service did not end in order: it missed the deadline, or it had ended before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The deadline passed; what was still running or waiting was dropped.
    #[error("{abandoned} messages were still being handled or waiting after {deadline:?}, and were dropped")]
    #[non_exhaustive]
    DeadlineMissed {
        /// Messages that were running or waiting.
        abandoned: usize,
        /// The deadline.
        deadline: Duration,
    },
    /// A second signal to stop arrived before the service had finished; what was still running or waiting was dropped.
    #[error(
        "a second signal to stop came while {abandoned} messages were still being handled or waiting, and they were dropped"
    )]
    #[non_exhaustive]
    Interrupted {
        /// Messages that were running or waiting.
        abandoned: usize,
    },
    /// The bus gave up reconnecting, and the service ended with it. What had arrived was finished.
    #[error("the service ended because the bus is closed: {reason}")]
    #[non_exhaustive]
    BusClosed {
        /// Why the bus is closed.
        reason: String,
    },
    /// The service's tokio task is gone: its runtime was shut down, or tidings has a defect.
    #[error("the service's tokio task ended early")]
    TaskEnded,
}

impl Observed for PublishError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::Encode { .. } => "not_encodable",
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

impl Observed for SubscribeError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::NameTooLong { .. } => "name_too_long",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::NotConnected { .. } => "not_connected",
        })
    }
}

impl<E> Observed for RequestError<E> {
    fn label(&self) -> Label {
        match self {
            // A typed error is an answer like others: the request itself succeeded.
            Self::Answered(_) => Label::fine("answered_error"),
            Self::NobodyListens { .. } => Label::error("nobody_listens"),
            Self::TimedOut { .. } => Label::error("timed_out"),
            Self::ConnectionLost { .. } => Label::error("connection_lost"),
            Self::Failed { .. } => Label::error("handler_failed"),
            Self::NotHandled { .. } => Label::error("not_handled"),
            Self::AnswerTooLarge { .. } => Label::error("answer_too_large"),
            Self::InvalidAnswer { .. } => Label::error("invalid_answer"),
            Self::Publish(error) => error.label(),
            Self::Subscribe(error) => error.label(),
        }
    }
}

impl Observed for AcknowledgeError {
    fn label(&self) -> Label {
        match self {
            Self::NobodyListens { .. } => Label::error("nobody_listens"),
            Self::Refused { .. } => Label::error("not_acknowledged"),
            Self::TimedOut { .. } => Label::error("timed_out"),
            Self::ConnectionLost { .. } => Label::error("connection_lost"),
            Self::Publish(error) => error.label(),
            Self::Subscribe(error) => error.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "nobody home");
        let unreachable = || ConnectError::Unreachable { address: "h:1".to_owned(), source: refused() };
        let template = "orders:<id>";
        let publish = || PublishError::NotConnected { template, reason: "away".to_owned() };
        let subscribe = || SubscribeError::NotConnected { reason: "away".to_owned() };
        let errors: [Box<dyn Error>; 6] = [
            Box::new(unreachable()),
            Box::new(Rejection::Address { template, source: AddressError::Disagrees { parameter: "id" } }),
            Box::new(RequestError::<io::Error>::Publish(publish())),
            Box::new(RequestError::<io::Error>::Subscribe(subscribe())),
            Box::new(AcknowledgeError::Publish(publish())),
            Box::new(AcknowledgeError::Subscribe(subscribe())),
        ];
        for error in errors {
            let source = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&source), "{error}");
            assert_eq!(chain(&*error).matches(&source).count(), 1);
        }
        assert_eq!(chain(&unreachable()), "no Redis server answers at h:1: nobody home");
    }

    #[test]
    fn only_what_passes_may_be_tried_again() {
        let answered = |reason: &str| PublishError::Server { template: "news", reason: reason.to_owned() };
        for passing in [
            "LOADING Redis is loading",
            "BUSY a script",
            "OOM command not allowed",
            "READONLY You can't",
            "NOREPLICAS Not",
        ] {
            assert!(answered(passing).is_retryable(), "{passing}");
        }
        for lasting in [
            "ERR unknown command",
            "WRONGTYPE",
            "BUSYGROUP",
            "EXECABORT",
            "ERR Protocol error: invalid bulk length",
            "…",
        ] {
            assert!(!answered(lasting).is_retryable(), "{lasting}");
        }
        let template = "news";
        for unknown in [
            PublishError::Undecided { template, reason: String::new() },
            PublishError::ConnectionLost { template, reason: String::new() },
            PublishError::TimedOut { template, timeout: Duration::ZERO },
        ] {
            assert!(!unknown.is_retryable(), "{unknown}");
        }
    }
}
