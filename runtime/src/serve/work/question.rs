//! A call of the server beside the reader's.

use std::{future::pending, pin::Pin};

use crate::error::QueueError;

/// A call of the server beside the reader's.
pub(super) type Question<T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send>>;

/// The answer to a question, once there is one; never where none is asked.
///
/// # Cancel safety
///
/// Dropping the future loses nothing.
pub(super) async fn answer<T>(question: &mut Option<Question<T>>) -> Result<T, QueueError> {
    let Some(asked) = question else { return pending().await };
    let answer = asked.await;
    *question = None;
    answer
}
