//! What came of a message, and what is to be done about it.

use crate::{bus::sending::Outgoing, error::Rejection};

/// What came of a message, and what is to be done after a handler ran. It is passed on as it is; [`kind`](Self::kind) says what it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing more.
    #[doc(hidden)]
    Done,
    /// Publish these, in order.
    #[doc(hidden)]
    Publish(Vec<Outgoing>),
    /// The handler failed: logged and counted. A requester is not told why.
    #[doc(hidden)]
    Failed(String),
    /// The handler failed, and whoever waits for its acknowledgement is told why.
    #[doc(hidden)]
    Refused(String),
    /// The message never reached the handler.
    #[doc(hidden)]
    Rejected(Box<Rejection>),
    /// The handler's filter did not want it.
    #[doc(hidden)]
    Filtered,
    /// The requester has stopped waiting, so the handler did not run.
    #[doc(hidden)]
    Expired,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// The handler ran without an error. An error with which it answers a request is an answer like others.
    Handled,
    /// The handler failed.
    Failed,
    /// The payload was no message of the handler's type, and the handler did not run.
    Rejected,
    /// The filter did not want the message, and the handler did not run.
    Filtered,
    /// The requester had stopped waiting, and the handler did not run.
    Expired,
}

impl Outcome {
    /// The outcome of a message that is left out on purpose, as by a filter: counted as filtered, and no failure. A requester is told
    /// nothing.
    #[must_use]
    pub fn filtered() -> Self {
        Self::Filtered
    }

    /// What came of the message.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Done | Self::Publish(_) => OutcomeKind::Handled,
            Self::Failed(_) | Self::Refused(_) => OutcomeKind::Failed,
            Self::Rejected(_) => OutcomeKind::Rejected,
            Self::Filtered => OutcomeKind::Filtered,
            Self::Expired => OutcomeKind::Expired,
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Returned(Outcome),
    Panicked,
    TimedOut,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self::Returned(outcome)
    }
}
