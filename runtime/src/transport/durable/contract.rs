//! What a transport does for queues.
//!
//! Each of these functions is one atomic step of the server, and all times are the server's.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{BatchError, EnqueueError, QueueError},
    transport::{
        contract::Parcel,
        durable::{
            course::{Asker, Cancelling, Known, Note, Page, Progress, ResultBounds, Seen},
            look::{Dead, DeadLetterBounds, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement, TaskState},
        },
    },
};

/// What became of the tasks of an atomic batch, and how many received each of its messages.
pub(crate) type Together = (Vec<Enqueued>, Vec<Option<u64>>);

/// The results of an atomic batch, or why none was added: the task that was refused says it.
pub(crate) fn whole(results: Vec<Result<Enqueued, EnqueueError>>) -> Result<Vec<Enqueued>, EnqueueError> {
    let (mut enqueued, mut aborted) = (Vec::with_capacity(results.len()), None);
    for result in results {
        match result {
            Ok(one) => enqueued.push(one),
            Err(error @ EnqueueError::Aborted { .. }) => aborted = Some(error),
            Err(error) => return Err(error),
        }
    }
    aborted.map_or(Ok(enqueued), Err)
}

/// A queue as one of its instances serves it.
#[derive(Clone, Debug)]
pub(crate) struct QueueSpec {
    pub(crate) name: QueueName,
    /// The channels of its parts, without the namespace, the best first.
    pub(crate) parts: Vec<Arc<str>>,
    pub(crate) lease: Duration,
    /// Whether a task is done when it is taken.
    pub(crate) at_most_once: bool,
    /// What dead letters are kept.
    pub(crate) dead: DeadLetterBounds,
    /// What results are kept; `None` where none is.
    pub(crate) results: Option<ResultBounds>,
}

/// Carries tasks: each to one instance, at least once.
pub(crate) trait Durable: Send + Sync + 'static {
    type Reader: Reader;
    type Keeper: Keeper;

    /// Adds tasks in one round trip; a result for each. With `atomic` either all of them or none: the others of one that is refused are
    /// [`EnqueueError::Aborted`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether they were added.
    fn enqueue(
        &self,
        tasks: Vec<NewTask>,
        atomic: bool,
    ) -> impl Future<Output = Vec<Result<Enqueued, EnqueueError>>> + Send;

    /// Adds tasks and publishes messages in one step, all of them or none: what became of each task, and how many received each message, where the
    /// server can tell. There is at least one of either.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether that was done.
    fn enqueue_and_publish(
        &self,
        tasks: Vec<NewTask>,
        parcels: Vec<Parcel>,
    ) -> impl Future<Output = Result<Together, BatchError>> + Send;

    /// Makes what the queue needs, and proves that everything that serving it takes is allowed. Called before it is served, and again when its
    /// keys are found to be gone.
    fn declare(&self, queue: &QueueSpec) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Carries out settlements apart from a take; whether each counted. What is sent again after a lost answer counts once.
    fn settle(
        &self,
        queue: &QueueName,
        settlements: Vec<Settlement>,
    ) -> impl Future<Output = Result<Vec<Settled>, QueueError>> + Send;

    /// Notes that a handler that runs once begins, under this key, with the task of this id and token. Whoever asks again for the same of them,
    /// because the answer was lost, gets the same answer: two tasks may have one key, and then their tokens may be equal too. The key holds until
    /// the settlement frees it or says that it is done.
    fn begin(
        &self,
        queue: &QueueName,
        key: &OnceKey,
        id: &str,
        token: u64,
    ) -> impl Future<Output = Result<Begun, QueueError>> + Send;

    /// Tells that the bus has to do with queues, before anything is asked of one: its health is what it is for them.
    fn expect_use(&self);

    /// A connection of its own that takes tasks from this queue. It connects when it is first used, and again after it has failed.
    fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> Self::Reader;

    /// What keeps leases, to be used from the tokio runtime in which it is first used: it has a connection of its own.
    fn keeper(&self) -> Self::Keeper;

    fn counts(&self, queue: &QueueSpec) -> impl Future<Output = Result<QueueCounts, QueueError>> + Send;

    /// Tasks that instances have, `limit` at most.
    fn running(
        &self,
        queue: &QueueSpec,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<RunningTask>, QueueError>> + Send;

    fn workers(&self, queue: &QueueName) -> impl Future<Output = Result<Vec<Worker>, QueueError>> + Send;

    /// Dead letters, the newest first, from those before the entry `before` on, `limit` at most.
    fn dead(
        &self,
        queue: &QueueName,
        before: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Dead>, QueueError>> + Send;

    /// Replays or deletes dead letters by their entries; how many of them were there.
    fn mend(
        &self,
        queue: &QueueName,
        entries: &[String],
        mend: Mend,
    ) -> impl Future<Output = Result<u64, QueueError>> + Send;

    /// Has parked tasks wait again whose name and version an instance knows: those of `name` up to `version`. How many they were.
    fn unpark(
        &self,
        queue: &QueueName,
        name: &str,
        version: u32,
    ) -> impl Future<Output = Result<u64, QueueError>> + Send;

    /// Notes how far tasks have come that the instance has; whether each was still its own. Watchers are told of each report.
    fn note(
        &self,
        queue: &QueueName,
        instance: &str,
        notes: Vec<Note>,
    ) -> impl Future<Output = Result<Vec<Settled>, QueueError>> + Send;

    /// The progress that was noted last of a task that has not ended, by whichever owner.
    fn progress(
        &self,
        queue: &QueueName,
        id: &str,
    ) -> impl Future<Output = Result<Option<Progress>, QueueError>> + Send;

    /// What is known of a task: at once where it has ended. Where it has not, the asker, if there is one, is told in the step that ends it. One who
    /// asks again in the same words takes the place of the first. Looking ends with the first answer of the server that comes after `until`.
    fn ask(
        &self,
        queue: &QueueName,
        id: &str,
        asker: Option<Asker>,
        until: Instant,
    ) -> impl Future<Output = Result<Known, QueueError>> + Send;

    /// Whoever has asked in these words does not wait any more.
    fn forget(&self, queue: &QueueName, id: &str, asker: &Asker)
    -> impl Future<Output = Result<(), QueueError>> + Send;

    /// A task that has not ended, or is a dead letter, by its id.
    fn find(&self, queue: &QueueSpec, id: &str) -> impl Future<Output = Result<Option<Seen>, QueueError>> + Send;

    /// Tasks that are [`Waiting`](TaskState::Waiting), [`Delayed`](TaskState::Delayed), [`Running`](TaskState::Running),
    /// [`Parked`](TaskState::Parked) or [`Dead`](TaskState::Dead), about `limit` of them, from where the page before ended.
    fn list(
        &self,
        queue: &QueueSpec,
        state: TaskState,
        from: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, QueueError>> + Send;

    /// Ends a task that has not ended as [`Cancelled`](TaskState::Cancelled), in whichever state it is; with bounds of results that is kept. Its
    /// deduplication key is free again. The key of a handler that runs once and had begun is kept for its window like that of an unfinished one.
    fn cancel(&self, queue: &QueueSpec, id: &str) -> impl Future<Output = Result<Cancelling, QueueError>> + Send;

    /// Has no instance take anything from the queue, or has them take again; whether that was so before.
    fn pause(&self, queue: &QueueName, pauses: bool) -> impl Future<Output = Result<bool, QueueError>> + Send;

    fn is_paused(&self, queue: &QueueName) -> impl Future<Output = Result<bool, QueueError>> + Send;

    /// Has watchers be told what happens for [`WATCHED`](crate::transport::durable::course::WATCHED) from now on.
    fn watch(&self, queue: &QueueName) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// Takes tasks for one instance.
///
/// Its functions are called one after the other, never two at once. A future that is dropped before it completes has lost its connection: the
/// next one makes another. Who took what before is found with [`Keeper::pending`].
pub(crate) trait Reader: Send + 'static {
    /// In one round trip: carries out settlements, has those tasks wait whose time has come, and takes what is due, without waiting for more.
    fn take(&mut self, take: Take) -> impl Future<Output = Result<Taken, QueueError>> + Send;

    /// Where another take may be left while the next one is under way, so that the server has it by the time that it is through with that. `None`
    /// where nothing would be saved by it.
    fn ahead(&self) -> Option<Arc<Ahead>> {
        None
    }

    /// What comes of the take that was left while the last one was under way. It is lost where that one failed.
    fn next(&mut self) -> impl Future<Output = Result<Taken, QueueError>> + Send {
        async { Ok(Taken::default()) }
    }

    /// Waits until a task is there, and takes it; until the time is over; until it is woken; or until a delayed task was enqueued that is due
    /// earlier than those before. It may bring one task of each part, and brings none where it was only woken.
    fn wait(&mut self, longest: Duration) -> impl Future<Output = Result<Waited, QueueError>> + Send;

    /// Waits until a queue that is paused goes on, until the time is over, or until it is woken. It brings nothing.
    fn rest(&mut self, longest: Duration) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// What ends [`wait`](Self::wait) from elsewhere, at once.
    fn waker(&self) -> Arc<dyn WakeReader>;

    /// How often this reader has had a connection: a change says that an answer may have been lost.
    fn connections(&self) -> u64;
}

/// A take that is left for a reader while another one is under way.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<Option<Take>>);

impl Ahead {
    /// Leaves it. Whoever polls the take that is under way sends it.
    pub(crate) fn leave(&self, take: Take) {
        *self.left() = Some(take);
    }

    /// Takes what was left, if it is such.
    pub(crate) fn found(&self, is_such: impl FnOnce(&Take) -> bool) -> Option<Take> {
        self.left().take_if(|take| is_such(take))
    }

    fn left(&self) -> MutexGuard<'_, Option<Take>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a [`Reader::wait`] or a [`Reader::rest`].
pub(crate) trait WakeReader: Send + Sync {
    /// Has the reader return if it waits, and has its next wait return at once if it does not. Returns at once itself.
    fn wake(&self);
}

/// What to take.
#[derive(Debug, Default)]
pub(crate) struct Take {
    /// Carried out first, in order.
    pub(crate) settlements: Vec<Settlement>,
    /// Indices into the queue's parts, in the order in which they are asked, and how many are taken from each before the next is asked. Then
    /// they are asked once more, in the same order and without such a limit. A part's tasks that came back come first.
    pub(crate) order: Vec<(usize, usize)>,
    /// So many tasks altogether.
    pub(crate) want: usize,
    /// So many more, from the first `.0` parts of the order alone.
    pub(crate) further: (usize, usize),
}

/// What a wait has brought.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    pub(crate) entries: Vec<Entry>,
    /// Whether the queue was paused when they were given out: then none of them may begin, and they go back. Where tasks are done when they are taken
    /// there are none: they were given back already.
    pub(crate) is_paused: bool,
}

/// What was taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// For each settlement, whether it counted.
    pub(crate) settled: Vec<Settled>,
    /// In the order in which they were asked for.
    pub(crate) entries: Vec<Entry>,
    /// Whether the queue was paused when they were given out: then none of them may begin, and they go back. Where tasks are done when they are taken
    /// there are none.
    pub(crate) is_paused: bool,
    /// When the next delayed task is due.
    pub(crate) next_due: Option<Duration>,
    /// The server's time of day, in milliseconds.
    pub(crate) now: u64,
}

/// Keeps the leases of one process, on a connection of its own, from a thread of its own: a handler that blocks its thread keeps its lease.
pub(crate) trait Keeper: Send + 'static {
    /// A heartbeat of the instance, with what it says of itself, in JSON: as `lease_millis`, how long it holds its tasks, where that is longer than whoever
    /// looks thinks. Renews the leases of what it holds. Once for each queue after the connection was
    /// lost it says that there is another one; until then [`overdue`](Self::overdue) and [`reclaim`](Self::reclaim) fail on it.
    fn keep(
        &mut self,
        queue: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
    ) -> impl Future<Output = Result<Heartbeat, QueueError>> + Send;

    /// Tasks whose lease is over, `limit` at most, and how long it takes until the next one can be. Others could renew theirs for `patience`, as far as whoever
    /// looks knows: nothing is over of an instance whose lease is longer than that.
    fn overdue(
        &mut self,
        queue: &QueueSpec,
        patience: Duration,
        limit: usize,
    ) -> impl Future<Output = Result<Overdue, QueueError>> + Send;

    /// What the server says that the instance has.
    fn pending(
        &mut self,
        queue: &QueueSpec,
        instance: &str,
    ) -> impl Future<Output = Result<Vec<Entry>, QueueError>> + Send;

    /// Like [`Durable::settle`], for entries whose owner lost them: it counts while nobody else has settled them and their lease is over still.
    fn reclaim(
        &mut self,
        queue: &QueueSpec,
        settlements: Vec<Settlement>,
    ) -> impl Future<Output = Result<Vec<Settled>, QueueError>> + Send;

    /// The instance is gone: its heartbeat ends. Removes it and others that are silent for ten leases, unless they have tasks. Trims dead letters.
    fn tidy(&mut self, queue: &QueueSpec, leaving: Option<&str>)
    -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// What came of a heartbeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// What the instance does not have any more.
    pub(crate) lost: Vec<EntryAt>,
    /// Whether the connection was made anew since the last one: the leases of others may be over only because nobody could renew them.
    pub(crate) is_anew: bool,
}

/// Tasks whose lease is over.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    pub(crate) entries: Vec<OverdueEntry>,
    /// So long it takes until the next lease can be over: of those that are held now.
    pub(crate) next: Option<Duration>,
    /// The server's time of day, in milliseconds.
    pub(crate) now: u64,
}

#[derive(Debug)]
pub(crate) struct OverdueEntry {
    pub(crate) entry: Entry,
    /// Who had it.
    pub(crate) owner: String,
    /// Whether its owner's last heartbeat is older than the lease: it has died, and has not only lost the task.
    pub(crate) has_died: bool,
}
