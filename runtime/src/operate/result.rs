//! What came of one of a queue's tasks, for a program that knows its id.

use crate::{
    message::{contract::Message, kind::Results},
    operate::queue::QueueHandle,
    publish::awaiting::AwaitingResult,
};

impl<M: Message> QueueHandle<M> {
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
    pub fn result<R, E>(&self, id: impl Into<String>) -> AwaitingResult<'_, R, E>
    where
        M: Results<Output = R, Error = E>,
    {
        AwaitingResult::new::<M>(&self.bus, id.into())
    }
}
