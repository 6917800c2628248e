//! What is told of a task that was delivered again.

use std::{
    error::Error as _,
    fmt::{self, Debug},
    time::Duration,
};

use crate::error::{ConnectError, EnqueueError, QueueError, SubscribeError};

/// How the work on a task is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disturbance {
    /// The instance dies when it has the task, before the handler begins.
    BeforeHandler,
    /// The instance dies while the handler waits, for the so many-th time since it began.
    AtAwait(u32),
    /// The instance dies when the handler has returned and what it publishes is on its way, before the queue knows of it.
    BeforeAcknowledgement,
    /// The task is delivered a second time after it was done.
    Duplicate,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeHandler => formatter.write_str("a crash before the handler began"),
            Self::AtAwait(number) => {
                let ending = match (number % 100, number % 10) {
                    (11..=13, _) => "th",
                    (_, 1) => "st",
                    (_, 2) => "nd",
                    (_, 3) => "rd",
                    _ => "th",
                };
                write!(formatter, "a crash when the handler waited for the {number}{ending} time")
            }
            Self::BeforeAcknowledgement => {
                formatter.write_str("a crash when the handler had returned and the queue did not know of it")
            }
            Self::Duplicate => formatter.write_str("a second delivery of the task, which was done"),
        }
    }
}

/// A task of which the same came after each [disturbance](Disturbance).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redelivered {
    /// The disturbances, in the order in which they were tried. One that could not come about is not among them: a task that is not completed has no
    /// duplicate, and a handler that fails has not succeeded before the queue knows of it.
    pub runs: Vec<Disturbance>,
}

impl Redelivered {
    /// How often the handler waits: so many crashes at an await were tried.
    #[must_use]
    pub fn awaits(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run, Disturbance::AtAwait(_))).count()
    }
}

/// Why a task does not come to the same when it is delivered again, or why that cannot be said. `Debug` shows the words, with their
/// causes, so that `unwrap` does.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RedeliveryError {
    /// Something else has come of it.
    #[error(
        "something else comes of the task after {disturbance}\n\nexpected: {expected}\n\nfound: {found}\n\n{}",
        advice(*.runs_once, *.disturbance)
    )]
    Differs {
        /// After this.
        disturbance: Disturbance,
        /// What was observed without it; of a handler that runs once and had begun, before the second delivery.
        expected: String,
        /// What was observed after it.
        found: String,
        /// Whether the handler says `once`.
        runs_once: bool,
    },
    /// Two runs in which nothing died came to different things.
    #[error(
        "two runs without a crash come to different things, so there is nothing that must be the same\n\nfirst: {first}\n\nsecond: {second}\n\nhave \
         `observe` leave out what differs from run to run, such as times and new ids"
    )]
    Unsteady {
        /// What was observed first.
        first: String,
        /// What was observed then.
        second: String,
    },
    /// The handler waits too often for each time to be tried.
    #[error(
        "the handler waits more than {limit} times, and a crash at each would take too long: give it a task that is less work"
    )]
    TooManyAwaits {
        /// So many were tried.
        limit: u32,
    },
    /// A run did not end.
    #[error(
        "a run with {during} had not ended after {patience:?}: a handler waits for something that does not happen, or tasks follow each other for ever"
    )]
    Unfinished {
        /// In words.
        during: String,
        /// For so long it was waited for.
        patience: Duration,
    },
    /// The router has no handler for the task.
    #[error("no handler of the router takes tasks of `{queue}`")]
    NotServed {
        /// The queue's template.
        queue: &'static str,
    },
    /// Its queue never delivers a task again.
    #[error("tasks of `{queue}` are done when they are taken, as `at_most_once` says, so none is delivered again")]
    AtMostOnce {
        /// The queue's template.
        queue: &'static str,
    },
    /// A bus could not be made.
    #[error("a bus of the test could not be made")]
    Connect(#[from] ConnectError),
    /// The router could not be served.
    #[error("the router could not be served")]
    Serve(#[from] SubscribeError),
    /// The task could not be enqueued.
    #[error("the task could not be enqueued")]
    NotEnqueued(#[from] EnqueueError),
    /// The queue could not be looked at.
    #[error("the queue could not be looked at")]
    Queue(#[from] QueueError),
}

impl Debug for RedeliveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

fn advice(runs_once: bool, disturbance: Disturbance) -> &'static str {
    match (runs_once, disturbance) {
        (true, Disturbance::Duplicate) => {
            "the handler says `once`, and runs again for another key: have `once = …` name the field that says which tasks are the same"
        }
        (true, _) => {
            "the handler says `once` and does not run again once it has begun, so this is not its doing: something else changes what is observed"
        }
        (false, _) => {
            "the handler says `idempotent`, so whatever it does must be done once however often it runs: keep it under a key of the task in one step, or hand the key \
             to whoever does it, as a crash can come between a look and the deed; or say `once` where it must not run twice"
        }
    }
}
