//! A task on its way in, an entry on its way out, and what is to become of it.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::transport::durable::{course::Beside, record::Record};

/// A queue: all tasks of one message type in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueName {
    /// The channel template without the types, such as `tasks:images:<priority>`.
    pub(crate) template: &'static str,
    /// Empty, or the namespace and a colon.
    pub(crate) namespace: Arc<str>,
}

/// How the keys of queues begin, behind the namespace.
pub(crate) const QUEUES: &str = "tidings:queues:";

impl QueueName {
    /// What all keys of the queue begin with. The template between the braces is their hash tag: on a cluster all of them are in one slot.
    pub(crate) fn base(&self) -> String {
        format!("{}{QUEUES}{{{}}}:", self.namespace, self.template)
    }
}

/// What is to be done, on its way to the queue.
#[derive(Clone, Debug)]
pub(crate) struct NewTask {
    pub(crate) queue: QueueName,
    /// The part of the queue: the task's channel, without the namespace. Each part has an order of its own.
    pub(crate) channel: String,
    /// The wire name and version of the message.
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) due: Due,
    /// Counted from when it is due, by the server's clock. A task that waited longer is not run.
    pub(crate) expires_in: Option<Duration>,
    pub(crate) unique: Option<Unique>,
    /// So many tasks may wait in the queue, delayed ones included; one more is refused.
    pub(crate) max_length: Option<u64>,
}

/// When a task may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// So long after the server has it.
    In(Duration),
    /// Milliseconds since the Unix epoch, by the server's clock.
    At(u64),
}

/// At most one task of a queue has this key, for so long and at least until the task has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unique {
    pub(crate) key: String,
    pub(crate) window: Duration,
}

/// What the queue says of a task that was handed to it.
///
/// It knows the type of its message, so that its result has one.
#[non_exhaustive]
pub struct Enqueued<M = ()> {
    /// The id of the task: of the one that was there, where its key was taken.
    pub id: String,
    /// Where a task with the same deduplication key was there, how that one is; nothing was added then. That is no refusal: whatever is to be
    /// done is in the queue, or was done within the window.
    pub was_there: Option<TaskState>,
    message: PhantomData<fn() -> M>,
}

impl Enqueued {
    pub(crate) fn new(id: String, was_there: Option<TaskState>) -> Self {
        Self { id, was_there, message: PhantomData }
    }

    /// The same, of a task of this type: what it was enqueued as. [`enqueue_all`](crate::Bus::enqueue_all) takes tasks of several types, and knows
    /// them no more.
    #[must_use]
    pub fn of<M>(self) -> Enqueued<M> {
        Enqueued { id: self.id, was_there: self.was_there, message: PhantomData }
    }
}

impl<M> Clone for Enqueued<M> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), was_there: self.was_there, message: PhantomData }
    }
}

impl<M> fmt::Debug for Enqueued<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, was_there, .. } = self;
        formatter.debug_struct("Enqueued").field("id", id).field("was_there", was_there).finish()
    }
}

impl<M> PartialEq for Enqueued<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.was_there == other.was_there
    }
}

impl<M> Eq for Enqueued<M> {}

/// How a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// It is due, and waits for an instance with a free place.
    Waiting,
    /// It waits for its time: enqueued with a delay, or to be retried.
    Delayed,
    /// An instance has it.
    Running,
    /// No instance knew its name or version for long; one that does takes it from here.
    Parked,
    /// Its handler succeeded.
    Completed,
    /// It is in the dead letters.
    Dead,
    /// Its handler said that it is not to be done.
    Discarded,
    /// It waited longer than it may.
    Expired,
    /// Somebody has [cancelled](crate::QueueHandle::cancel) it.
    Cancelled,
}

/// Where an entry is: this names it among all entries that the queue ever has. A task that comes back is another entry, so whoever holds an entry
/// holds what nobody else was ever given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryAt {
    /// The part's channel.
    pub(crate) channel: Arc<str>,
    /// Whether it came back to its part: those entries are taken first.
    pub(crate) is_back: bool,
    /// Within its stream, such as `1718000000000-0`.
    pub(crate) entry: Arc<str>,
}

/// A task that an instance has taken.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) at: EntryAt,
    /// The task's id; of a task of another program that names none, its entry's.
    pub(crate) id: Arc<str>,
    /// What the entry says of the message, where it does.
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u64>,
    pub(crate) payload: Bytes,
    pub(crate) record: Record,
    /// Its deduplication key.
    pub(crate) unique: Option<Arc<str>>,
    /// When it is too old to be run, by the server's clock in milliseconds.
    pub(crate) expires_at: Option<u64>,
}

impl Entry {
    /// The token of whoever has it now: it only grows from owner to owner of a task, whatever way the task went.
    pub(crate) fn token(&self) -> u64 {
        self.record.owners.saturating_add(1)
    }

    /// One that no transport has, for tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn made(channel: &str, payload: &str) -> Self {
        Self {
            at: EntryAt { channel: channel.into(), is_back: false, entry: "1700000000000-0".into() },
            id: "t-1".into(),
            name: None,
            version: None,
            payload: payload.to_owned().into(),
            record: Record::default(),
            unique: None,
            expires_at: None,
        }
    }

    /// When the task was enqueued, by the server's clock in milliseconds.
    pub(crate) fn enqueued_at(&self) -> Option<u64> {
        self.record.enqueued_at.or_else(|| self.at.entry.split_once('-')?.0.parse().ok())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the payload.
        formatter.debug_struct("Entry").field("at", &self.at).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is to become of an entry. It counts only while the entry is still the instance's.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) at: EntryAt,
    pub(crate) id: Arc<str>,
    pub(crate) unique: Option<Arc<str>>,
    /// The key of a handler that runs once, where it was begun or found begun. With [`Verdict::Done`] it says that it is done, and with another
    /// verdict it is free again; but a dead letter of the reason [`DeadReason::Unfinished`] keeps it, for its window, until it is replayed or
    /// deleted.
    pub(crate) once: Option<OnceKey>,
    pub(crate) verdict: Verdict,
    /// Absent where nothing goes with it, which is mostly so. Shared, because settlements are kept until the server has answered.
    pub(crate) beside: Option<Arc<Beside>>,
}

/// A key of a handler that is not to run twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnceKey {
    /// Without the base of the queue.
    pub(crate) key: String,
    /// For so long after the end it is known that it was done.
    pub(crate) window: Duration,
}

/// What is to become of an entry.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is done: gone from the queue, and what follows is in its queues, in one step.
    Done { follow_ups: Vec<NewTask> },
    /// It is to be tried again: at once, where it is taken before those that have not been tried, or after a time.
    Again { why: Why, after: Option<Duration>, record: Record },
    /// It waits aside until an instance comes that knows it.
    Park { record: Record },
    /// It goes to the dead letters.
    Dead { record: Record, reason: DeadReason, instance: Arc<str> },
    /// It is not to be done.
    Discarded,
    /// It has waited too long.
    Expired,
}

/// Why a task is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// An attempt failed.
    Failed,
    /// Its owner died.
    Crashed,
    /// Its handler asked for a later time.
    Snoozed,
    /// Its owner gave it back, and has not begun.
    HandedBack,
    /// Its owner does not know its name or version.
    Unknown,
}

/// Why a task is in the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// Each of its attempts failed.
    Failed,
    /// Its handler said that it will never succeed.
    Refused,
    /// Instances died while they had it, again and again.
    Crashed,
    /// It is a message of a known version, and cannot be decoded.
    Undecodable,
    /// Its handler runs once: it had begun, and its instance died, lost its lease or took too long.
    Unfinished,
}

impl DeadReason {
    /// How dead letters, and what watchers are told, say it.
    const WORDS: [(Self, &'static str); 5] = [
        (Self::Failed, "failed"),
        (Self::Refused, "refused"),
        (Self::Crashed, "crashed"),
        (Self::Undecodable, "undecodable"),
        (Self::Unfinished, "unfinished"),
    ];

    pub(crate) fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(known, _)| *known == self).map_or("failed", |(_, word)| word)
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(reason, _)| *reason)
    }
}

/// Whether a settlement counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Counted,
    /// The entry was not the instance's any more, so nothing was done.
    Stale,
}

/// How it is with a key of a handler that runs once, when it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It begins now, or was begun by this very owner.
    Now,
    /// It was done before.
    Done,
    /// Another owner of this task had begun it, and has neither finished it nor given it back; or another task of this key is a dead letter for
    /// that reason.
    Before,
    /// Another task of this key has begun, and nothing is known of its end.
    Elsewhere,
}
