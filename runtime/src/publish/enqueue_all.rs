//! Many tasks in one round trip.

use std::{fmt, future::IntoFuture};

use crate::{
    bus::{handle::Bus, tasks::EnqueueOptions},
    codec::headers::Headers,
    error::EnqueueError,
    future::BusFuture,
    message::{contract::AddressedByFields, kind::Queue},
    observe::{
        label::Observed,
        observation::{Observation, watch},
    },
    publish::{
        addressed::Several,
        enqueue::{Enqueueing, unanswered},
    },
    transport::durable::{
        contract::whole,
        task::{Enqueued, NewTask},
    },
};

/// Tasks, also of different queues, that are enqueued together when this is awaited. [`Bus::enqueue_all`] starts it; a [`Batch`](crate::Batch)
/// takes broadcasts and tasks.
///
/// They are encoded as they are added and sent in one round trip. Each has a result of its own: one that cannot be encoded or is refused does not
/// keep the others out, unless they are [`atomic`](Self::atomic).
#[must_use = "nothing is enqueued until this is awaited"]
pub struct EnqueueAll<'a> {
    bus: &'a Bus,
    tasks: Vec<Result<NewTask, EnqueueError>>,
    /// Of all of them together.
    observation: Option<Box<Observation>>,
}

impl<'a> EnqueueAll<'a> {
    fn new(bus: &'a Bus) -> Self {
        Self { bus, tasks: Vec::new(), observation: bus.observer().batch() }
    }

    /// Adds a task, due at once.
    pub fn push<M: AddressedByFields + Queue>(self, task: &M) -> Self {
        let channel = self.bus.channel(|channel| task.write_channel(channel));
        let channel = self.bus.without_namespace(&channel).to_owned();
        let encode = || self.bus.task(channel, task, &Headers::default(), EnqueueOptions::default());
        let task = Observation::scope(self.observation.as_deref(), encode);
        self.added::<M>(task)
    }

    /// Adds tasks of one type, due at once.
    pub fn push_all<'m, M: AddressedByFields + Queue + 'm>(self, tasks: impl Several<'m, M>) -> Self {
        tasks.each().fold(self, Self::push)
    }

    /// Adds a task as `task.enqueue(&bus).delay(time)` or `enqueue_to` would enqueue it, with its delay, headers and key. It is enqueued on the
    /// bus of this batch.
    pub fn push_enqueueing<M: Queue>(self, enqueueing: Enqueueing<'_, M>) -> Self {
        let task = Observation::scope(self.observation.as_deref(), || enqueueing.on(self.bus, &Headers::default()));
        self.added::<M>(task)
    }

    /// How many tasks it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Enqueues all tasks or none, with one result for the whole of them. On a cluster they must be of one queue, else it is
    /// [`EnqueueError::SeveralSlots`] and nothing is sent.
    pub fn atomic(self) -> EnqueueAtomically<'a> {
        EnqueueAtomically { all: self }
    }

    fn added<M: Queue>(mut self, task: Result<NewTask, EnqueueError>) -> Self {
        if task.is_err() {
            self.bus.observer().published(M::TEMPLATE.text(), task.label());
        }
        self.tasks.push(task);
        self
    }
}

impl<'a> IntoFuture for EnqueueAll<'a> {
    /// One result for each task, in the order in which they were added. [`Enqueued::of`] says of which type one was.
    type Output = Vec<Result<Enqueued, EnqueueError>>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll enqueues nothing; later, any number of the tasks may be in their queues.
    fn into_future(self) -> Self::IntoFuture {
        let Self { bus, tasks, observation } = self;
        observation.iter().for_each(|observation| observation.counted(tasks.len()));
        BusFuture::new(watch(observation, enqueue_each(bus, tasks)))
    }
}

/// Tasks that are enqueued all together or not at all. [`EnqueueAll::atomic`] makes it.
#[derive(Debug)]
#[must_use = "nothing is enqueued until this is awaited"]
pub struct EnqueueAtomically<'a> {
    all: EnqueueAll<'a>,
}

crate::future::once_awaited!(['a] EnqueueAtomically<'a>);

impl<'a> IntoFuture for EnqueueAtomically<'a> {
    /// What became of each task in order, or the first error. After an error none was added, unless the error says that this is not known. A
    /// task that was there already is no error: the others are added.
    type Output = Result<Vec<Enqueued>, EnqueueError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll enqueues nothing; later, all of the tasks may be in their queues, or none.
    fn into_future(self) -> Self::IntoFuture {
        let EnqueueAll { bus, tasks, observation } = self.all;
        observation.iter().for_each(|observation| observation.counted(tasks.len()));
        let enqueue = async move { enqueue_atomically(bus, tasks.into_iter().collect::<Result<_, _>>()?).await };
        BusFuture::new(watch(observation, enqueue))
    }
}

/// Enqueues what could be encoded, and puts the results where the errors leave room.
pub(super) async fn enqueue_each(
    bus: &Bus,
    tasks: Vec<Result<NewTask, EnqueueError>>,
) -> Vec<Result<Enqueued, EnqueueError>> {
    let mut sendable = Vec::with_capacity(tasks.len());
    let mut results: Vec<Result<&'static str, EnqueueError>> = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.map(|task| {
            let queue = task.queue.template;
            sendable.push(task);
            queue
        }));
    }
    let sent = if sendable.is_empty() { Vec::new() } else { bus.durable().enqueue(sendable, false).await };
    let mut sent = sent.into_iter();
    let result = |queue: Result<&'static str, EnqueueError>| {
        let queue = queue?;
        let result = sent.next().unwrap_or_else(|| Err(unanswered(queue)));
        bus.observer().published(queue, result.label());
        result
    };
    results.into_iter().map(result).collect()
}

pub(super) async fn enqueue_atomically(bus: &Bus, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, EnqueueError> {
    let queues: Vec<&'static str> = tasks.iter().map(|task| task.queue.template).collect();
    let sent = if tasks.is_empty() { Vec::new() } else { bus.durable().enqueue(tasks, true).await };
    for (queue, result) in queues.iter().zip(&sent) {
        bus.observer().published(queue, result.label());
    }
    let missing = queues.get(sent.len()).copied();
    let enqueued = whole(sent)?;
    missing.map_or(Ok(enqueued), |queue| Err(unanswered(queue)))
}

impl fmt::Debug for EnqueueAll<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EnqueueAll").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Enqueues tasks of one type in one round trip, once this is awaited, with a result for each; [`push`](EnqueueAll::push) adds others.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { to: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mails = [SendMail { to: "ada@example.org".into() }, SendMail { to: "alan@example.org".into() }];
    /// let results = bus.enqueue_all(&mails).await;
    /// assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    ///
    /// // All or none, and one of them later.
    /// let reminder = SendMail { to: "ada@example.org".into() };
    /// let later = reminder.enqueue(&bus).delay(Duration::from_secs(60));
    /// let enqueued = bus.enqueue_all(&mails).push_enqueueing(later).atomic().await?;
    /// assert_eq!(enqueued.len(), 3);
    /// # Ok(()) }
    /// ```
    pub fn enqueue_all<'m, M: AddressedByFields + Queue + 'm>(&self, tasks: impl Several<'m, M>) -> EnqueueAll<'_> {
        EnqueueAll::new(self).push_all(tasks)
    }
}
