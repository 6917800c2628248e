//! Finding, listing and cancelling tasks.

use std::{fmt, future::IntoFuture};

use crate::{
    error::QueueError,
    future::BusFuture,
    message::contract::Message,
    operate::{queue::QueueHandle, view::TaskView},
    transport::durable::{
        course::{Cancelling, Page},
        task::TaskState,
    },
};

impl<M: Message> QueueHandle<M> {
    /// The task of this id, as it is now: it waits, is delayed, runs, is parked, or is a dead letter. `None` where there is no such task, or it has
    /// ended in another way: of those nothing is left but perhaps a result.
    ///
    /// A task of another program that names no id has its entry's, such as `1718000000000-0`. It costs one round trip, however long the
    /// queue is; but the first look at a queue for some time takes about 10 ms for each thousand tasks that wait, in steps that hold up nobody for long.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unbound`] of a queue of which it was not said which parts are looked at; else that the server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, TaskState};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { to: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let reminder = SendMail { to: "ada@example.org".into() }.enqueue(&bus).delay(Duration::from_secs(60)).await?;
    ///
    /// let mails = bus.queue::<SendMail>();
    /// let found = mails.find(&reminder.id).await?.ok_or("it is not there")?;
    /// assert_eq!((found.state, found.attempt), (TaskState::Delayed, 1));
    /// assert_eq!(found.task()?.to, "ada@example.org");
    /// # Ok(()) }
    /// ```
    pub async fn find(&self, id: &str) -> Result<Option<TaskView<M>>, QueueError> {
        let seen = self.bus.durable().find(&self.spec()?, id).await?;
        let format = self.bus.config().format;
        Ok(seen.map(|seen| TaskView::of(seen, format)))
    }

    /// The tasks that are in this state, a page of them: await it, after setting where it begins and how long it is.
    pub fn tasks(&self, state: TaskState) -> Tasks<'_, M> {
        Tasks { queue: self, state, limit: PAGE, from: None }
    }

    /// Ends a task, in whichever state it is, and for good: it is never run again, and whoever waits for its result is told.
    ///
    /// A task that waits, is delayed or parked is gone at once. Of one that runs the instance has lost it with this call: whatever its handler
    /// returns counts no more, nothing that follows from it is enqueued, and the instance is told, and drops the handler at its next `await`. Should
    /// that message get lost, the instance finds out with its next heartbeat, within a third of the lease. What the handler has done by then stays
    /// done. Of a race with the end of the task exactly one counts, and the answer says which.
    ///
    /// Its deduplication key is free again; but the key of a handler that runs `once`, and had begun, is kept for its window, since the task may
    /// have been done half. Where the queue keeps results it is known for as long as those that the task was cancelled.
    ///
    /// # Errors
    ///
    /// As of [`find`](Self::find).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the task was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Cancellation, Message, TaskState};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { to: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mail = SendMail { to: "ada@example.org".into() }.enqueue(&bus).await?;
    ///
    /// let mails = bus.queue::<SendMail>();
    /// assert_eq!(mails.cancel(&mail.id).await?, Cancellation::Cancelled(TaskState::Waiting));
    /// assert_eq!(mails.cancel(&mail.id).await?, Cancellation::Unknown); // this queue keeps no results
    /// # Ok(()) }
    /// ```
    pub async fn cancel(&self, id: &str) -> Result<Cancellation, QueueError> {
        Ok(match self.bus.durable().cancel(&self.spec()?, id).await? {
            Cancelling::Cancelled(state) => Cancellation::Cancelled(state),
            Cancelling::Ended(state) => Cancellation::Ended(state),
            Cancelling::Nothing => Cancellation::Unknown,
        })
    }
}

/// What came of [`QueueHandle::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancellation {
    /// The task was in this state, and has ended as [`TaskState::Cancelled`] with this call.
    Cancelled(TaskState),
    /// It had ended before, so: it is a dead letter, or its result is kept.
    Ended(TaskState),
    /// There is no such task, or nothing is left of it.
    Unknown,
}

/// A page of the tasks in one state; await it. [`QueueHandle::tasks`] makes it.
///
/// It is how things are now, and instances work on between two pages: a task that moves meanwhile may be in two pages, or in none. Of a queue in
/// which nothing changes each task is in exactly one.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, TaskState};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[queue("tasks:mails")]
/// # struct SendMail { to: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// # for to in ["ada", "grace", "edsger"] { SendMail { to: to.into() }.enqueue(&bus).await?; }
/// let mails = bus.queue::<SendMail>();
/// let mut page = mails.tasks(TaskState::Waiting).limit(2).await?;
/// let mut to = Vec::new();
/// loop {
///     for task in &page.tasks {
///         to.push(task.task()?.to);
///     }
///     let Some(next) = page.next else { break };
///     page = mails.tasks(TaskState::Waiting).limit(2).from(next).await?;
/// }
/// assert_eq!(to, ["ada", "grace", "edsger"]);
/// # Ok(()) }
/// ```
#[must_use = "nothing is asked until this is awaited"]
pub struct Tasks<'a, M> {
    queue: &'a QueueHandle<M>,
    state: TaskState,
    limit: usize,
    from: Option<String>,
}

/// How many are on a page, where it is not said.
const PAGE: usize = 100;

impl<'a, M: Message> Tasks<'a, M> {
    /// About so many, at least 1. A page may have more or fewer, or even none: only [`next`](TaskPage::next) says whether it is the last one.
    /// Default: 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.max(1);
        self
    }

    /// From where a page of the same state has ended: its [`next`](TaskPage::next).
    pub fn from(mut self, next: impl Into<String>) -> Self {
        self.from = Some(next.into());
        self
    }

    async fn run(self) -> Result<TaskPage<M>, QueueError> {
        let Self { queue, state, limit, from } = self;
        let state_left = match state {
            TaskState::Waiting | TaskState::Delayed | TaskState::Running | TaskState::Parked | TaskState::Dead => None,
            TaskState::Completed => Some("completed"),
            TaskState::Discarded => Some("discarded"),
            TaskState::Expired => Some("expired"),
            TaskState::Cancelled => Some("cancelled"),
        };
        if let Some(state) = state_left {
            return Err(QueueError::NothingLeft { queue: M::TEMPLATE.text(), state });
        }
        let Page { tasks, next } = queue.bus.durable().list(&queue.spec()?, state, from.as_deref(), limit).await?;
        let format = queue.bus.config().format;
        Ok(TaskPage { tasks: tasks.into_iter().map(|seen| TaskView::of(seen, format)).collect(), next })
    }
}

crate::future::once_awaited!(['a, M] Tasks<'a, M>);

impl<'a, M: Message> IntoFuture for Tasks<'a, M> {
    type Output = Result<TaskPage<M>, QueueError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Errors
    ///
    /// [`QueueError::NothingLeft`] of a state in which nothing is left of a task; else as of [`QueueHandle::find`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(self.run())
    }
}

impl<M: Message> fmt::Debug for Tasks<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Tasks");
        shown.field("queue", &M::TEMPLATE).field("state", &self.state).field("limit", &self.limit);
        shown.finish_non_exhaustive()
    }
}

/// Tasks of one state. [`QueueHandle::tasks`] makes it.
#[non_exhaustive]
pub struct TaskPage<M> {
    /// Those that wait as they will be taken, those that are delayed by when they are due, dead letters the newest first.
    pub tasks: Vec<TaskView<M>>,
    /// Where the next page begins, for [`Tasks::from`]; `None` of the last one. It is a text without blanks that a link can carry.
    pub next: Option<String>,
}

impl<M> fmt::Debug for TaskPage<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskPage").field("tasks", &self.tasks).field("next", &self.next).finish()
    }
}
