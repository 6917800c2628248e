//! How the end of a task is announced, where its queue says so.

use crate::{
    bus::handle::Bus,
    transport::durable::{
        course::Announcement,
        task::{DeadReason, Entry, TaskState},
    },
};

/// The messages of the user's own that announce how tasks of a handler's queue have ended.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Endings {
    /// Of one that is [`Completed`](TaskState::Completed).
    pub(crate) completed: Option<Announce>,
    /// Of one that is [`Dead`](TaskState::Dead) or [`Discarded`](TaskState::Discarded).
    pub(crate) failed: Option<Announce>,
}

/// Makes the message that announces an end; an error says why there is none.
pub(crate) type Announce = fn(&TaskEnd<'_>, &Bus) -> Result<Announcement, String>;

/// The end of a task, before its type is known.
pub(crate) struct TaskEnd<'a> {
    /// With its payload.
    pub(crate) entry: &'a Entry,
    pub(crate) state: TaskState,
    pub(crate) reason: Option<DeadReason>,
    /// What the last failure said.
    pub(crate) error: Option<&'a str>,
    /// The attempts that were made, the last one among them.
    pub(crate) attempts: u32,
    /// The reply, or the typed error, in JSON.
    pub(crate) result: Option<&'a [u8]>,
}

impl Endings {
    pub const NONE: Self = Self { completed: None, failed: None };

    /// The announcement of an end, where there is one for it.
    pub(crate) fn of(&self, state: TaskState) -> Option<Announce> {
        match state {
            TaskState::Completed => self.completed,
            TaskState::Dead | TaskState::Discarded => self.failed,
            _ => None,
        }
    }
}

impl std::fmt::Debug for Endings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { completed, failed } = self;
        formatter
            .debug_struct("Endings")
            .field("completed", &completed.is_some())
            .field("failed", &failed.is_some())
            .finish()
    }
}
