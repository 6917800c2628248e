//! The course of a task as others see it: its progress, its end and what is kept of it, who waits for that, and what watchers are told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::transport::durable::{
    record::Record,
    task::{DeadReason, EntryAt, QueueName, TaskState},
};

/// So many results are kept, so long, and so many bytes of them; the oldest leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResultBounds {
    /// Default 100,000.
    pub count: u64,
    /// As `results = "1h"` says.
    pub age: Duration,
    /// Of encoded replies and errors. Default 64 MiB.
    pub bytes: u64,
}

impl ResultBounds {
    #[doc(hidden)]
    #[must_use]
    pub const fn for_nanos(nanos: u64) -> Self {
        Self { count: 100_000, age: Duration::from_nanos(nanos), bytes: 64 * 1024 * 1024 }
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

/// What goes with a settlement beside what becomes of the entry. It happens in the same step, and only if the settlement counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// What is kept of the task where this ends it, in JSON: its reply, or its typed error. `None` keeps nothing; the empty text keeps that it has
    /// ended, and how. Whoever waits for the result is told, whatever is kept.
    pub(crate) result: Option<Vec<u8>>,
    /// What is published where this ends the task.
    pub(crate) announcement: Option<Announcement>,
    /// The last progress, where it was not noted yet. It is kept for the next attempt, and forgotten where this ends the task.
    pub(crate) progress: Option<Progress>,
}

/// A message that is published in the step that ends a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
}

/// How far a task has come. Of what is `None` nothing was said; where it is noted, that leaves what was noted before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) reported: Option<Reported>,
    /// What the next attempt goes on from, in JSON.
    pub(crate) checkpoint: Option<Vec<u8>>,
}

impl Eq for Progress {}

/// What a handler has reported last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reported {
    /// From 0 to 1, where the handler says so.
    pub(crate) fraction: Option<f64>,
    pub(crate) text: String,
}

/// The progress of a task that an instance has.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) at: EntryAt,
    pub(crate) id: Arc<str>,
    pub(crate) progress: Progress,
    /// The report was sent before, and it is not known whether it was noted: watchers are told only of another one than is there.
    pub(crate) is_again: bool,
}

/// Who wants to be told when a task has ended: this is published then.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
    /// For so long.
    pub(crate) within: Duration,
}

/// What is known of a task by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has not ended; whoever asked is told when it does, if it wants that.
    Open(TaskState),
    Ended(EndedTask),
    /// There is no such task, or nothing was kept of it.
    Nothing,
    /// The time was over before everything was looked at. The next one who asks goes on from there.
    More,
}

/// What is kept of a task that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndedTask {
    /// [`Completed`](TaskState::Completed), [`Dead`](TaskState::Dead), [`Discarded`](TaskState::Discarded), [`Expired`](TaskState::Expired) or
    /// [`Cancelled`](TaskState::Cancelled).
    pub(crate) state: TaskState,
    /// Of one in the dead letters, why.
    pub(crate) reason: Option<DeadReason>,
    /// What the last failure said.
    pub(crate) error: Option<String>,
    /// The reply, or the typed error, in JSON; empty where there is none.
    pub(crate) result: Bytes,
    /// When, by the server's clock in milliseconds.
    pub(crate) at: u64,
}

/// A task as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) channel: Arc<str>,
    pub(crate) state: TaskState,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u64>,
    pub(crate) payload: Bytes,
    pub(crate) record: Record,
    /// When it was enqueued, by the server's clock in milliseconds.
    pub(crate) enqueued_at: Option<u64>,
    /// When it is due, of one that is delayed, by the server's clock in milliseconds.
    pub(crate) due: Option<u64>,
    /// Who has it.
    pub(crate) instance: Option<String>,
    pub(crate) progress: Option<Progress>,
}

/// Tasks of one state, and where the next page begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) tasks: Vec<Seen>,
    /// `None` behind the last one.
    pub(crate) next: Option<String>,
}

/// What came of a wish to cancel a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cancelling {
    /// It was in this state, and has ended as [`Cancelled`](TaskState::Cancelled). Where it was running, its owner's hold on it is over, and the
    /// owner was told.
    Cancelled(TaskState),
    /// It had ended before: it is in the dead letters, or its result is kept.
    Ended(TaskState),
    /// There is no such task.
    Nothing,
}

/// For so long a queue is watched after a watcher has said so.
pub(crate) const WATCHED: Duration = Duration::from_secs(30);

impl QueueName {
    /// The channel on which watchers are told what happens, without the namespace. Each message is [`Told`] in JSON.
    pub(crate) fn events(&self) -> String {
        format!("{}{{{}}}:events", super::task::QUEUES, self.template)
    }

    /// The channel on which instances are told of tasks that were cancelled while they have them, without the namespace. Each message is
    /// [`TakenAway`] in JSON.
    pub(crate) fn control(&self) -> String {
        format!("{}{{{}}}:control", super::task::QUEUES, self.template)
    }
}

/// A task was cancelled while an instance had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenAway {
    pub(crate) channel: String,
    pub(crate) is_back: bool,
    pub(crate) entry: String,
}

impl TakenAway {
    pub(crate) fn at(self) -> EntryAt {
        EntryAt { channel: self.channel.into(), is_back: self.is_back, entry: self.entry.into() }
    }
}

/// What watchers are told of a task, in JSON. What does not apply is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    /// What has happened: `taken`, `progress`, `completed`, `failed` (an attempt; it is tried again), `crashed` (likewise), `returned` (given back
    /// without a fault: snoozed, handed back or not known), `parked`, `dead`, `discarded`, `expired`, `cancelled`.
    pub(crate) what: String,
    pub(crate) id: String,
    pub(crate) channel: String,
    /// By the server's clock in milliseconds.
    pub(crate) at: u64,
    /// Who has it, or had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// Why it is a dead letter, in the words of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What the failure said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// In milliseconds, of one that is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}
