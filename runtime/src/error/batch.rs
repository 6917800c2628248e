//! What goes wrong with batches that hold broadcasts and tasks.

use crate::{
    error::{publish::PublishError, queue::EnqueueError},
    observe::label::{Label, Observed},
};

/// Why a message of a batch was not published, or a task not enqueued, or not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A broadcast.
    #[error(transparent)]
    NotPublished(#[from] PublishError),
    /// A task. Of an atomic batch whose outcome is not known it is [`EnqueueError::Undecided`] of its first task: all of the batch is there, or
    /// nothing.
    #[error(transparent)]
    NotEnqueued(#[from] EnqueueError),
}

impl BatchError {
    /// Whether the same may succeed later: see [`PublishError::is_retryable`] and [`EnqueueError::is_retryable`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotPublished(error) => error.is_retryable(),
            Self::NotEnqueued(error) => error.is_retryable(),
        }
    }
}

impl Observed for BatchError {
    fn label(&self) -> Label {
        match self {
            Self::NotPublished(error) => error.label(),
            Self::NotEnqueued(error) => error.label(),
        }
    }
}
