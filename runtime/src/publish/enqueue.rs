//! Enqueueing one task.

use std::{
    fmt,
    future::{IntoFuture, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    bus::{handle::Bus, tasks::EnqueueOptions},
    codec::headers::Headers,
    error::EnqueueError,
    future::BusFuture,
    message::{
        address::Address,
        contract::{AddressedByFields, Message},
    },
    observe::observation::{Observation, watch},
    publish::addressed::Addressed,
    transport::durable::task::{Due, Enqueued, NewTask, Unique},
};

/// A task that is enqueued when it is awaited. `task.enqueue(&bus)` and `task.enqueue_to(address, &bus)` make one.
///
/// Once the result says so, the task is in its queue, and stays there until a handler has done it, however many instances die meanwhile: one
/// instance works on it at a time, and at least once it is worked on to its end. How safe it is in the server is the server's business: see the
/// table of its persistence in the README.
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
/// let mail = SendMail { to: "ada@example.org".into() };
/// mail.enqueue(&bus).delay(Duration::from_secs(60)).header("tenant", "acme").await?;
///
/// // Enqueued twice within an hour, sent once.
/// let first = mail.enqueue(&bus).deduplicate("order 7", Duration::from_secs(3_600)).await?;
/// let again = mail.enqueue(&bus).deduplicate("order 7", Duration::from_secs(3_600)).await?;
/// assert_eq!((first.was_there, again.was_there), (None, Some(TaskState::Waiting)));
/// assert_eq!(first.id, again.id);
/// # Ok(()) }
/// ```
#[must_use = "nothing is enqueued until this is awaited"]
pub struct Enqueueing<'a, M> {
    to_send: Addressed<'a, M>,
    options: EnqueueOptions,
}

impl<'a, M: Message> Enqueueing<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        Self { to_send: Addressed::by_fields(message, bus), options: EnqueueOptions::default() }
    }

    #[doc(hidden)]
    pub fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        Self { to_send: Addressed::to(message, address, bus), options: EnqueueOptions::default() }
    }

    /// Has it wait for so long after the server has it, by the server's clock. Default: it is due at once.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.due = Due::In(delay);
        self
    }

    /// Has it wait until a time of day, by the server's clock. A time that is over is now.
    pub fn at(mut self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.options.due = Due::At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets a header. A plain message carries none: it is not enqueued then.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.to_send.header(name, value);
        self
    }

    /// How long it may wait for an instance once it is due, by the server's clock. One that waited longer is not run, and counted as expired.
    /// Default: it never grows too old.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.options.expires_in = Some(time);
        self
    }

    /// At most one task of its queue has this key, for so long and at least until the task has ended: another one is not added, and its
    /// [`Enqueued`] says how the one is that was there.
    ///
    /// An ending by which the task was not done frees the key at once: the dead letters, a deletion, its expiry. With a key a task can be
    /// enqueued again whose first attempt had no answer, and is there once.
    pub fn deduplicate(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.options.unique = Some(Unique { key: key.into(), window });
        self
    }

    /// The task as it is enqueued on a bus, in a batch with these headers. Where both set one, its own counts.
    pub(super) fn on(self, bus: &Bus, batch: &Headers) -> Result<NewTask, EnqueueError> {
        let Self { to_send, options } = self;
        let (message, channel, own) = to_send.on(bus);
        let channel = channel.map_err(|error| EnqueueError::before_sending(M::TEMPLATE.text(), error))?;
        let headers = batch.with(own);
        bus.task(bus.without_namespace(&channel).to_owned(), message, &headers, options)
    }
}

crate::future::once_awaited!(['a, M] Enqueueing<'a, M>);
crate::future::never_polled!(['a, M] Enqueueing<'a, M> => Result<Enqueued<M>, EnqueueError>, (): GivenAway);

impl<'a, M: Message> IntoFuture for Enqueueing<'a, M> {
    /// The task's id, and whether it was there already, to [wait for its result](Enqueued::result) with; or the reason for which it is not in the queue, or not known to be.
    type Output = Result<Enqueued<M>, EnqueueError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// Encodes the task. It is sent at the first poll.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future after the first poll leaves it open whether the task is in the queue.
    fn into_future(self) -> Self::IntoFuture {
        let bus = self.to_send.bus;
        let observation = bus.observer().enqueue(M::TEMPLATE.text());
        match Observation::scope(observation.as_deref(), || self.on(bus, &Headers::default())) {
            Ok(task) => BusFuture::new(watch(observation, enqueue(bus, task))),
            Err(error) => BusFuture::new(watch(observation, ready(Err(error)))),
        }
    }
}

async fn enqueue<M>(bus: &Bus, task: NewTask) -> Result<Enqueued<M>, EnqueueError> {
    let queue = task.queue.template;
    let mut results = bus.durable().enqueue(vec![task], false).await;
    results.pop().unwrap_or_else(|| Err(unanswered(queue))).map(Enqueued::of)
}

/// The transport said nothing of a task.
pub(super) fn unanswered(queue: &'static str) -> EnqueueError {
    EnqueueError::Undecided { queue, reason: "the transport gave no answer".to_owned() }
}

impl<M> fmt::Debug for Enqueueing<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Enqueueing")
            .field("to_send", &self.to_send)
            .field("due", &self.options.due)
            .finish_non_exhaustive()
    }
}

/// What `enqueue` asks of a task whose parameters are not all fields. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say where to enqueue: not every parameter of its queue is a field",
    label = "the queue's channel is incomplete",
    note = "write `task.enqueue_to({M}::channel(…), &bus)`"
)]
pub trait CompleteQueue<'a, M> {
    fn incomplete(self) -> Enqueueing<'a, M>;
}
