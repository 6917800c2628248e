//! How an operation ended, in a word for spans and labels.

use crate::{
    error::{AcknowledgeError, PublishError, RequestError, SubscribeError},
    handler::outcome::{Ended, Outcome},
};

/// A word of a small set: it says nothing of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) text: &'static str,
    pub(crate) is_error: bool,
}

/// What nearly all operations end with.
pub(crate) const OK: Label = Label::fine("ok");

impl Label {
    const fn fine(text: &'static str) -> Self {
        Self { text, is_error: false }
    }

    const fn error(text: &'static str) -> Self {
        Self { text, is_error: true }
    }
}

/// What an operation yields.
pub(crate) trait Observed {
    fn label(&self) -> Label;
}

impl<T, E: Observed> Observed for Result<T, E> {
    fn label(&self) -> Label {
        match self {
            Ok(_) => OK,
            Err(error) => error.label(),
        }
    }
}

/// A batch fails as its first message that fails.
impl<T, E: Observed> Observed for Vec<Result<T, E>> {
    fn label(&self) -> Label {
        self.iter().map(Observed::label).find(|label| label.is_error).unwrap_or(OK)
    }
}

impl<E: Observed> Observed for &E {
    fn label(&self) -> Label {
        (**self).label()
    }
}

impl Observed for PublishError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::Encode { .. } => "not_encodable",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::NameTooLong { .. } => "name_too_long",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::Closed { .. } => "closed",
            Self::NotConnected { .. } => "not_connected",
            Self::Server { .. } => "server_error",
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
            // The answer that the request's type names: nothing went wrong on the way.
            Self::Answered(_) => Label::fine("answered_error"),
            Self::NobodyListens { .. } => Label::error("nobody_listens"),
            Self::TimedOut { .. } => Label::error("timed_out"),
            Self::ConnectionLost { .. } => Label::error("connection_lost"),
            Self::Failed { .. } => Label::error("handler_failed"),
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

impl Observed for Ended {
    fn label(&self) -> Label {
        match self {
            Self::Returned(Outcome::Done | Outcome::Publish(_)) => Label::fine("handled"),
            Self::Returned(Outcome::Filtered) => Label::fine("filtered"),
            Self::Returned(Outcome::Expired) => Label::fine("expired"),
            Self::Returned(Outcome::Failed(_) | Outcome::Refused(_)) => Label::error("failed"),
            Self::Returned(Outcome::Rejected(_)) => Label::error("rejected"),
            Self::Panicked => Label::error("panicked"),
            Self::TimedOut => Label::error("timed_out"),
        }
    }
}
