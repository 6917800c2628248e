//! Why whoever waits for an answer has none.

use std::time::Duration;

use crate::{
    error::{publish::PublishError, subscribe::SubscribeError},
    observe::label::{Label, Observed},
};

/// Why a request has no reply. `E` is the error with which the request's handler may answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError<E> {
    /// The handler answered with its typed error.
    #[error("the handler answered with an error")]
    Answered(E),
    /// No service takes such requests. The request was not handled.
    #[error("on {template}: nobody listens")]
    #[non_exhaustive]
    NobodyListens {
        /// The channel template.
        template: &'static str,
    },
    /// All instances have so much to do that they take no more. The request was not handled.
    #[error("on {template}: every instance is busy; try again later, or run more of them")]
    #[non_exhaustive]
    Busy {
        /// The channel template.
        template: &'static str,
    },
    /// The instance that had the request is gone: it may or may not have been handled. Not tried again by itself, unless the request is
    /// [`idempotent`](crate::Requesting::idempotent).
    #[error("on {template}: the instance that had the request is gone; it may or may not have been handled")]
    #[non_exhaustive]
    InstanceLost {
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
    /// The bus was closed while the request waited: it may or may not have been handled.
    #[error("on {template}: the bus was closed while waiting; the request may or may not have been handled")]
    #[non_exhaustive]
    Closed {
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
    /// All instances have left the request to others: it was not handled.
    #[error("on {template}: the request was not handled: {reason}")]
    #[non_exhaustive]
    NotHandled {
        /// The channel template.
        template: &'static str,
        /// Why the last of them did not handle it: they know no such version, filtered it out, or stop.
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

impl<E> RequestError<E> {
    /// Whether the same request may succeed later, without anything being changed, and is not handled twice then: it is known that it was not
    /// handled.
    ///
    /// After [`TimedOut`](Self::TimedOut), [`ConnectionLost`](Self::ConnectionLost) and [`InstanceLost`](Self::InstanceLost) that is not known, so
    /// they are never retryable: whether a second time does harm only the program can tell.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NobodyListens { .. } | Self::Busy { .. } => true,
            Self::Publish(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether nobody has begun to handle the request.
    pub(crate) fn is_unhandled(&self) -> bool {
        matches!(self, Self::NobodyListens { .. } | Self::Busy { .. } | Self::NotHandled { .. })
    }
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
    /// The bus was closed while waiting: the message may or may not have been handled.
    #[error("on {template}: the bus was closed while waiting; the message may or may not have been handled")]
    #[non_exhaustive]
    Closed {
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

impl<E> Observed for RequestError<E> {
    fn label(&self) -> Label {
        match self {
            // A typed error is an answer like others: the request itself succeeded.
            Self::Answered(_) => Label::fine("answered_error"),
            Self::NobodyListens { .. } => Label::error("nobody_listens"),
            Self::Busy { .. } => Label::error("busy"),
            Self::InstanceLost { .. } => Label::error("instance_lost"),
            Self::TimedOut { .. } => Label::error("timed_out"),
            Self::ConnectionLost { .. } => Label::error("connection_lost"),
            Self::Closed { .. } => Label::error("closed"),
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
            Self::Closed { .. } => Label::error("closed"),
            Self::Publish(error) => error.label(),
            Self::Subscribe(error) => error.label(),
        }
    }
}
