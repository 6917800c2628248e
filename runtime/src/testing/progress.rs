//! Progress that nobody keeps, for handlers that a test calls as functions.

use serde::Serialize;

use crate::handler::progress::{Progress, ProgressError, encode};

impl Progress {
    /// The progress of a test that calls a handler of a queue as a function, on its first attempt. What the handler has said is in
    /// [`reports`](Self::reports), and its checkpoint in [`saved`](Self::saved).
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Message, Progress, handler};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:resize")]
    /// # struct ResizeImage { path: String }
    /// #[handler(idempotent, timeout = "2m")]
    /// async fn resize(task: ResizeImage, progress: Progress) {
    ///     progress.report(0.5, format!("{} is read", task.path));
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let progress = Progress::testing();
    /// resize(ResizeImage { path: "cat.png".into() }, progress.clone()).await;
    /// assert_eq!(progress.reports(), [(Some(0.5), "cat.png is read".to_owned())]);
    /// # }
    /// ```
    #[must_use]
    pub fn testing() -> Self {
        Self::for_test(None)
    }

    /// The same of a later attempt, which goes on from this checkpoint.
    ///
    /// # Errors
    ///
    /// [`ProgressError::Encode`] where the checkpoint cannot be written as JSON.
    pub fn testing_from<T: Serialize + ?Sized>(checkpoint: &T) -> Result<Self, ProgressError> {
        Ok(Self::for_test(Some(encode(checkpoint)?)))
    }

    /// What was reported to a [`testing`](Self::testing) one, fraction and text as they would be kept: the last 10,000. Empty of any other one.
    #[must_use]
    pub fn reports(&self) -> Vec<(Option<f64>, String)> {
        self.tested()
    }
}
