//! Why a service did not end in order.

use std::time::Duration;

/// Why a service did not end in order: it missed the deadline, or it had ended before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The deadline passed; what was still running or waiting was dropped. Of these, tasks of queues were given back, and run elsewhere.
    #[error(
        "{abandoned} messages were still being handled or waiting after {deadline:?}, and were dropped{}",
        given_back(*handed_back)
    )]
    #[non_exhaustive]
    DeadlineMissed {
        /// Messages that were running or waiting.
        abandoned: usize,
        /// Those of them that were given back to their queues. Other tasks come back when their leases are over.
        handed_back: usize,
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

/// Of so many tasks, none of which is lost.
fn given_back(tasks: usize) -> String {
    if tasks == 0 { String::new() } else { format!("; {tasks} of them are tasks, and were given back to their queues") }
}
