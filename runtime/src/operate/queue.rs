//! The handle to one queue.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;

use crate::{
    bus::handle::Bus,
    error::QueueError,
    message::{address::AddressOf, contract::Message, kind::Queue},
    operate::dead_letters::DeadLetters,
    serve::queues::{Bound, queue_of},
    time::TimeOfDay,
    transport::durable::{
        contract::QueueSpec,
        look::{QueueCounts, Worker},
        task::QueueName,
    },
};

/// A queue, to be looked at and mended. [`Bus::queue`] makes it; it costs nothing until something is asked, and [`Bus::health`] warns from
/// then on of a server that may lose tasks.
///
/// Whatever it tells is how it was a moment ago: instances work on while it is read.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[queue("tasks:mails")]
/// # struct SendMail { to: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// SendMail { to: "ada@example.org".into() }.enqueue(&bus).await?;
///
/// let mails = bus.queue::<SendMail>();
/// let counts = mails.counts().await?;
/// assert_eq!(counts.parts["tasks:mails"].waiting, 1);
/// assert!(mails.workers().await?.is_empty());
///
/// // What failed for good, once its cause is mended.
/// let replayed = mails.replay_all().await?;
/// assert_eq!(replayed, 0);
/// # Ok(()) }
/// ```
pub struct QueueHandle<M> {
    pub(super) bus: Bus,
    bound: Bound,
    message: PhantomData<fn() -> M>,
}

impl Bus {
    /// The queue of a message, to be looked at and mended: counts, what runs, who works on it, and its dead letters.
    #[must_use]
    pub fn queue<M: Queue>(&self) -> QueueHandle<M> {
        self.durable().expect_use();
        QueueHandle { bus: self.clone(), bound: Vec::new(), message: PhantomData }
    }
}

impl<M: Message> QueueHandle<M> {
    /// Looks at this part alone, and at others that are named so. Of a queue that is `bound`, what is asked of parts needs it: see
    /// [`Serving::on`](crate::Serving::on).
    #[must_use]
    pub fn on(mut self, part: impl AddressOf<M>) -> Self {
        self.bound.push((M::TEMPLATE.text(), part.as_address().to_string().into()));
        self
    }

    /// How many tasks there are in each state, and how long the oldest has waited.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unbound`] of a queue of which it was not said which parts are looked at; else that the server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    pub async fn counts(&self) -> Result<QueueCounts, QueueError> {
        self.bus.durable().counts(&self.spec()?).await
    }

    /// Tasks that instances have, `limit` at most, which instances these are, and for how long they have had them.
    ///
    /// # Errors
    ///
    /// As of [`counts`](Self::counts).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    pub async fn running(&self, limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        let running = self.bus.durable().running(&self.spec()?, limit).await?;
        let running = running.into_iter().map(|task| RunningTask {
            id: task.id,
            channel: task.channel.to_string(),
            instance: task.instance,
            running_for: task.held,
            since_renewal: task.idle,
        });
        Ok(running.collect())
    }

    /// The instances that work on it, as they tell of themselves; one that is gone is here until its heartbeat is forgotten, and
    /// [`silent`](QueueWorker::silent) shows it.
    ///
    /// # Errors
    ///
    /// That the server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    pub async fn workers(&self) -> Result<Vec<QueueWorker>, QueueError> {
        let workers = self.bus.durable().workers(&self.name()).await?;
        Ok(workers.into_iter().map(QueueWorker::of).collect())
    }

    /// Its dead letters, the newest first: await it, after setting how many and which.
    pub fn dead_letters(&self) -> DeadLetters<'_, M> {
        DeadLetters::new(self)
    }

    pub(super) fn name(&self) -> QueueName {
        self.bus.queue_name(M::TEMPLATE.text())
    }

    pub(super) fn spec(&self) -> Result<QueueSpec, QueueError> {
        queue_of(&M::FACTS, &self.bound, &self.bus)
    }
}

/// A task that an instance has. [`QueueHandle::running`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningTask {
    /// The task's id.
    pub id: String,
    /// Its part of the queue.
    pub channel: String,
    /// Who has it: the name of one of the [`workers`](QueueHandle::workers).
    pub instance: String,
    /// How long ago its instance was given it, by the server's clock: so long this attempt runs, but for the moment before its handler began.
    pub running_for: Duration,
    /// How long ago its lease began, or was renewed last: each third of the lease while its handler runs. One that is longer than the lease belongs
    /// to an instance that is gone, or hangs, and is about to be given to another one.
    pub since_renewal: Duration,
}

/// An instance that works on a queue. [`QueueHandle::workers`] finds it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueWorker {
    /// What no other instance is called: its host, its process, and a part that is drawn anew with each start.
    pub instance: String,
    /// The group of its service: see [`Serving::group`](crate::Serving::group).
    pub group: String,
    /// The name of its program, where it [says so](crate::BusBuilder::program).
    pub program: Option<String>,
    /// The version of its program.
    pub version: Option<String>,
    /// When it began to serve, by its own clock.
    pub started: SystemTime,
    /// The wire names that it knows, each with the newest version.
    pub knows: Vec<(String, u32)>,
    /// How long ago its last heartbeat was, by the server's clock: a third of the lease at most while it is well.
    pub silent: Duration,
}

/// What an instance says of itself. What is not there says nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    group: String,
    program: Option<String>,
    version: Option<String>,
    started_millis: u64,
    knows: Vec<Known>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Known {
    name: String,
    version: u32,
}

impl QueueWorker {
    fn of(Worker { instance, silent, about }: Worker) -> Self {
        let About { group, program, version, started_millis, knows } = serde_json::from_str(&about).unwrap_or_default();
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(started_millis)).unwrap_or(UNIX_EPOCH);
        let knows = knows.into_iter().map(|known| (known.name, known.version)).collect();
        Self { instance, group, program, version, started, knows, silent }
    }
}

impl fmt::Debug for QueueWorker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, group, program, version, started, knows, silent } = self;
        let mut shown = formatter.debug_struct("QueueWorker");
        shown.field("instance", instance).field("group", group).field("program", program).field("version", version);
        shown.field("started", &TimeOfDay(*started)).field("knows", knows).field("silent", silent).finish()
    }
}

impl<M> Clone for QueueHandle<M> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), bound: self.bound.clone(), message: PhantomData }
    }
}

impl<M: Message> fmt::Debug for QueueHandle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&Arc<str>> = self.bound.iter().map(|(_, part)| part).collect();
        let mut shown = formatter.debug_struct("QueueHandle");
        shown.field("queue", &M::TEMPLATE).field("on", &parts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_says_nothing_of_itself_is_shown_all_the_same() {
        let of = |about: &str| {
            let worker = Worker { instance: "a".into(), silent: Duration::from_secs(1), about: about.into() };
            QueueWorker::of(worker)
        };
        let well = of(r#"{"group":"Shop","started_millis":1000,"knows":[{"name":"SendMail","version":2}],"later":1}"#);
        assert_eq!((well.group.as_str(), &well.knows[..]), ("Shop", &[("SendMail".to_owned(), 2)][..]));
        assert_eq!(well.started, UNIX_EPOCH + Duration::from_secs(1));
        for about in ["", "{}", "[", "7"] {
            let silent = of(about);
            assert_eq!((silent.group.as_str(), silent.knows.len(), silent.program), ("", 0, None), "{about}");
        }
    }
}
