//! What can be seen of a queue.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::transport::durable::{record::Record, task::DeadReason};

/// How many tasks there are, by their state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Of each part, by its channel without the namespace.
    pub parts: BTreeMap<String, PartCounts>,
    /// Parked, whichever part they belong to.
    pub parked: u64,
    /// Dead letters that are kept.
    pub dead: u64,
    /// Results that are kept.
    pub results: u64,
    /// Whether it is [paused](crate::QueueHandle::pause): no instance takes anything.
    pub is_paused: bool,
    /// Ended since the queue exists.
    pub ended: EndedCounts,
    /// How long the oldest task has waited since it was due.
    pub oldest: Option<Duration>,
}

impl QueueCounts {
    /// Due, and not taken, in all parts.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.parts.values().map(|part| part.waiting).sum()
    }

    /// Not due, in all parts.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.parts.values().map(|part| part.delayed).sum()
    }

    /// Taken by an instance, in all parts.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.parts.values().map(|part| part.running).sum()
    }

    /// Accepted, and not ended: waiting, delayed, running or parked.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.waiting() + self.delayed() + self.running() + self.parked
    }
}

/// How many tasks a part of a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartCounts {
    /// Due, and not taken.
    pub waiting: u64,
    /// Not due.
    pub delayed: u64,
    /// Taken by an instance.
    pub running: u64,
}

/// What came of tasks, counted since the queue exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedCounts {
    /// Their handlers succeeded.
    pub completed: u64,
    /// Went to the dead letters.
    pub dead: u64,
    /// Not to be done, as their handlers said.
    pub discarded: u64,
    /// Waited too long.
    pub expired: u64,
    /// Cancelled by somebody.
    pub cancelled: u64,
    /// Attempts that failed, and were to be retried.
    pub failed_attempts: u64,
    /// Attempts whose instance died.
    pub crashed_attempts: u64,
    /// Given back without having begun.
    pub handed_back: u64,
    /// Given back because the instance does not know their name or version.
    pub unknown: u64,
    /// Dead letters that left by the bounds of their number, age and bytes.
    pub dead_trimmed: u64,
}

/// So many dead letters are kept, so long, and so many bytes of them; the oldest leave, which is counted and told as
/// [`BusEvent::DeadLettersTrimmed`](crate::BusEvent::DeadLettersTrimmed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterBounds {
    /// Default 10,000.
    pub count: u64,
    /// Default 30 days.
    pub age: Duration,
    /// Of their payloads. Default 64 MiB.
    pub bytes: u64,
}

impl DeadLetterBounds {
    /// The defaults.
    pub const DEFAULT: Self =
        Self { count: 10_000, age: Duration::from_secs(30 * 24 * 60 * 60), bytes: 64 * 1024 * 1024 };

    #[doc(hidden)]
    #[must_use]
    pub const fn for_nanos(mut self, nanos: u64) -> Self {
        self.age = Duration::from_nanos(nanos);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// A task in the dead letters.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    /// What to replay or delete it by.
    pub(crate) entry: String,
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u64>,
    pub(crate) payload: Bytes,
    pub(crate) record: Record,
    pub(crate) reason: DeadReason,
    /// The instance that gave it up.
    pub(crate) instance: String,
    /// When, by the server's clock in milliseconds.
    pub(crate) at: u64,
}

/// A task that an instance has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunningTask {
    pub(crate) id: String,
    pub(crate) channel: Arc<str>,
    pub(crate) instance: String,
    /// Since its lease was renewed last.
    pub(crate) idle: Duration,
    /// Since its instance was given it.
    pub(crate) held: Duration,
}

/// An instance that works on a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) instance: String,
    /// Since its last heartbeat.
    pub(crate) silent: Duration,
    /// What it says of itself, in JSON.
    pub(crate) about: String,
}

/// How long an instance holds its tasks, where it says so.
pub(crate) fn lease_said(about: &str) -> Option<Duration> {
    #[derive(serde::Deserialize)]
    struct Said {
        lease_millis: u64,
    }
    serde_json::from_str(about).ok().map(|Said { lease_millis }| Duration::from_millis(lease_millis))
}

/// What is to be done with dead letters.
#[derive(Clone, Debug)]
pub(crate) enum Mend {
    /// They wait again, with a record that begins afresh but for the token.
    Replay,
    Delete,
}
