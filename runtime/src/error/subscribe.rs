//! Why a subscription could not be made.

use std::time::Duration;

use crate::{
    error::queue::QueueError,
    observe::label::{Label, Observed},
};

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
    #[error("the server did not confirm the subscription to {channel} within {timeout:?}{}", said(reason.as_deref()))]
    #[non_exhaustive]
    TimedOut {
        /// The first channel that was not confirmed.
        channel: String,
        /// The command timeout.
        timeout: Duration,
        /// The server's words, where it has answered that it cannot subscribe now.
        reason: Option<String>,
    },
    /// The bus is closed for good: the program has closed it, or the reconnect policy's limit was reached.
    #[error("the bus is closed: {reason}")]
    #[non_exhaustive]
    Closed {
        /// Why it was closed.
        reason: String,
    },
    /// There is no connection, and it will not be tried again.
    #[error("not connected: {reason}")]
    #[non_exhaustive]
    NotConnected {
        /// The reason.
        reason: String,
    },
    /// A queue of the service cannot be served.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

fn said(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!("; it says {reason}"))
}

impl Observed for SubscribeError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::NameTooLong { .. } => "name_too_long",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::Closed { .. } => "closed",
            Self::NotConnected { .. } => "not_connected",
            Self::Queue(_) => "queue",
        })
    }
}
