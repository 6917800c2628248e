//! What came of one of a queue's tasks, for a program that knows its id.

use crate::{
    message::kind::{Queue, Results},
    operate::queue::QueueHandle,
    publish::awaiting::AwaitingResult,
};

impl<M: Queue> QueueHandle<M> {
    /// Waits for the result of a task by its id, as [`Enqueued::result`](crate::Enqueued::result) does: for a program that has restarted since it
    /// enqueued the task, or another one that was told the id.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidings::{Bus, Results, ResultError};
    /// async fn look_again<M: Results>(bus: &Bus, id: &str) -> Result<M::Output, ResultError<M::Error>> {
    ///     bus.queue::<M>().result(id).within(Duration::from_secs(60)).await
    /// }
    /// ```
    pub fn result(&self, id: impl Into<String>) -> AwaitingResult<'_, M>
    where
        M: Results,
    {
        AwaitingResult::new(&self.bus, id.into())
    }
}
