//! What came of a message, and what is to be done about it.

use std::{fmt, time::Duration};

use crate::{
    error::Rejection,
    handler::causes::Because,
    observe::{
        label::{Label, Observed},
        observation::Observation,
    },
    transport::{contract::Parcel, durable::task::NewTask},
};

/// What came of a message, and what is to be done after a handler ran. It is passed on as it is; [`kind`](Self::kind) says what it is.
// Each variant holds one pointer or nothing, so that it is returned in registers: it passes through a future in a future in a future.
#[non_exhaustive]
pub enum Outcome {
    /// Nothing more.
    #[doc(hidden)]
    Done,
    /// Send these.
    #[doc(hidden)]
    Send(Box<Outgoing>),
    /// The handler failed: logged and counted. A requester is not told why.
    #[doc(hidden)]
    Failed(Failure),
    /// The handler failed, and whoever waits for its acknowledgement is told why.
    #[doc(hidden)]
    Refused(Failure),
    /// The handler of a task failed, and its error says what is to become of the task.
    #[doc(hidden)]
    Ruled(Failure),
    /// The handler runs once, and the task is not to run: it was done before.
    #[doc(hidden)]
    DoneBefore,
    /// Or an owner that is gone had begun it.
    #[doc(hidden)]
    Unfinished,
    /// Or another task with the same key is running, or may be. It is looked at again later.
    #[doc(hidden)]
    Elsewhere,
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

/// What is to become of a task whose handler returned an error: what `#[derive(Outcome)]` makes of an error's variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The attempt failed: it is tried again after a pause, as often as the handler's `retries` say.
    Retry,
    /// It is tried again after this time. That is no failure, and counts none of the `retries`.
    RetryAfter(Duration),
    /// It goes to the dead letters at once.
    DeadLetter,
    /// It is not to be done: nothing is kept of it.
    Discard,
}

/// What a handler failed with, in its own words. Boxed, as every outcome that is none would be larger for it.
#[doc(hidden)]
pub struct Failure(Box<Words>);

#[derive(Debug)]
struct Words {
    /// What whoever waits for an acknowledgement may be told.
    reason: String,
    /// The reason and what has caused it, where there is more to say than the reason.
    with_causes: Option<String>,
    /// The error itself, in JSON, where the task's queue keeps results.
    typed: Option<Vec<u8>>,
    /// What is to become of the task, where the error says it.
    rule: Option<Rule>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.200}", self.0.reason)
    }
}

impl Failure {
    /// A reason, and its causes where its alternate form `{:#}` has them.
    pub(crate) fn new(error: &dyn fmt::Display) -> Self {
        let (reason, with_causes) = (error.to_string(), format!("{error:#}"));
        Self(Box::new(Words {
            with_causes: Some(with_causes).filter(|with_causes| *with_causes != reason),
            reason,
            typed: None,
            rule: None,
        }))
    }

    pub(crate) fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The same, with the error itself in JSON.
    pub(crate) fn with_typed(mut self, typed: Vec<u8>) -> Self {
        self.0.typed = Some(typed);
        self
    }

    /// The same, with what is to become of the task.
    pub(crate) fn with_rule(mut self, rule: Rule) -> Self {
        self.0.rule = Some(rule);
        self
    }

    /// What is to become of the task.
    pub(crate) fn rule(&self) -> Rule {
        self.0.rule.unwrap_or(Rule::Retry)
    }

    /// The error itself, in JSON, where it is kept.
    pub(crate) fn typed(&self) -> Option<&[u8]> {
        self.0.typed.as_deref()
    }

    /// For the log.
    pub(crate) fn with_causes(&self) -> &str {
        self.0.with_causes.as_deref().unwrap_or(&self.0.reason)
    }
}

impl<T: Into<String>> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self(Box::new(Words { reason: reason.into(), with_causes: None, typed: None, rule: None }))
    }
}

/// What a handler that succeeded wants sent: its messages together, and the answer once all of them were accepted.
#[derive(Debug, Default)]
#[doc(hidden)]
pub struct Outgoing {
    pub(crate) messages: Vec<Enclosed>,
    /// How far the messages and follow-ups are from the first of their chain.
    pub(crate) hops: u32,
    pub(crate) answer: Option<Parcel>,
    /// Follow-ups: in their queues in the step that says that the task is done.
    pub(crate) tasks: Vec<NewTask>,
    /// The reply of a task, in JSON, where its queue keeps results.
    pub(crate) result: Option<Vec<u8>>,
}

/// A message that a handler returned, with the observation of its publish.
#[derive(Debug)]
pub(crate) struct Enclosed {
    pub(crate) parcel: Parcel,
    pub(crate) observation: Option<Box<Observation>>,
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

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is to be sent are payloads.
        match self {
            Self::Failed(failure) | Self::Refused(failure) | Self::Ruled(failure) => {
                formatter.debug_tuple("Failed").field(failure).finish()
            }
            Self::Rejected(rejection) => formatter.debug_tuple("Rejected").field(rejection).finish(),
            other => write!(formatter, "{:?}", other.kind()),
        }
    }
}

impl Outcome {
    /// The outcome of a message that is left out on purpose, as by a filter: counted as filtered, and no failure. A requester is told so.
    #[must_use]
    pub fn filtered() -> Self {
        Self::Filtered
    }

    /// Called by generated code, with what the handler's error says beside its words: see [`causes`](crate::handler::causes).
    #[doc(hidden)]
    #[must_use]
    pub fn because(mut self, because: Because) -> Self {
        let Because { causes, rule } = because;
        if let (Self::Failed(failure) | Self::Refused(failure) | Self::Ruled(failure), Some(causes)) =
            (&mut self, causes)
        {
            failure.0.with_causes = Some(causes);
        }
        match (self, rule) {
            (Self::Failed(failure), Some(rule)) => Self::Ruled(failure.with_rule(rule)),
            (outcome, _) => outcome,
        }
    }

    /// What came of the message.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Done | Self::Send(_) | Self::DoneBefore => OutcomeKind::Handled,
            Self::Failed(_) | Self::Refused(_) | Self::Ruled(_) | Self::Unfinished => OutcomeKind::Failed,
            Self::Rejected(_) => OutcomeKind::Rejected,
            Self::Filtered | Self::Elsewhere => OutcomeKind::Filtered,
            Self::Expired => OutcomeKind::Expired,
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Returned(Outcome),
    Panicked,
    /// It took longer than the handler's timeout.
    TimedOut,
    /// It took longer than its requester waits.
    Cancelled,
    /// Another instance has it.
    LeftToOthers,
}

impl Ended {
    /// Whether nothing is left to be done: nothing is to be sent, and nobody is to be told.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::Returned(Outcome::Done | Outcome::Filtered) | Self::Cancelled | Self::LeftToOthers)
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self::Returned(outcome)
    }
}

impl Observed for Ended {
    fn label(&self) -> Label {
        match self {
            Self::Returned(Outcome::Done | Outcome::Send(_)) => Label::fine("handled"),
            Self::Returned(Outcome::Filtered) => Label::fine("filtered"),
            Self::Returned(Outcome::Expired) => Label::fine("expired"),
            Self::Returned(Outcome::Failed(_) | Outcome::Refused(_) | Outcome::Ruled(_)) => Label::error("failed"),
            Self::Returned(Outcome::DoneBefore) => Label::fine("done_before"),
            Self::Returned(Outcome::Unfinished) => Label::error("unfinished"),
            Self::Returned(Outcome::Elsewhere) => Label::fine("elsewhere"),
            Self::Returned(Outcome::Rejected(_)) => Label::error("rejected"),
            Self::Panicked => Label::error("panicked"),
            Self::TimedOut => Label::error("timed_out"),
            Self::Cancelled => Label::error("cancelled"),
            Self::LeftToOthers => Label::fine("left_to_others"),
        }
    }
}
