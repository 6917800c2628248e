//! What goes with the end of a task beside what becomes of it: what is kept for whoever waits for its result, and the message that announces it.
//!
//! The worker that has run a task and the keeper that finds its owner gone ask the same.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    bus::handle::Bus,
    handler::ending::{Endings, TaskEnd},
    serve::stats::Counters,
    transport::durable::{
        contract::QueueSpec,
        course::{Announcement, Beside, Progress},
        task::{DeadReason, Entry, TaskState, Verdict},
    },
};

/// What goes with the ends of the tasks of one handler.
#[derive(Clone)]
pub(super) struct Ends {
    bus: Bus,
    /// Whether something is kept of them.
    keeps: bool,
    endings: Endings,
    counters: Arc<Counters>,
    route: usize,
}

/// What an attempt has said of itself.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The reply or the typed error, in JSON.
    pub(super) result: Option<Vec<u8>>,
    /// The words of an error that is not in what becomes of the task.
    pub(super) error: Option<String>,
    /// How far it came, where that is not noted.
    pub(super) progress: Option<Progress>,
}

impl Ends {
    pub(super) fn new(
        bus: &Bus,
        queue: &QueueSpec,
        endings: Option<&Endings>,
        counters: &Arc<Counters>,
        route: usize,
    ) -> Self {
        let endings = endings.copied().unwrap_or(Endings::NONE);
        Self { bus: bus.clone(), keeps: queue.results.is_some(), endings, counters: Arc::clone(counters), route }
    }

    /// Whether what a task was is needed once more when it has ended.
    pub(super) fn announces(&self) -> bool {
        self.endings.completed.is_some() || self.endings.failed.is_some()
    }

    /// Whether anything goes with an end.
    pub(super) fn are_plain(&self) -> bool {
        !self.keeps && !self.announces()
    }

    /// What goes with a settlement, and why an announcement could not be made: that keeps no task from its end, and is counted here.
    pub(super) fn beside(&self, entry: &Entry, verdict: &Verdict, said: Said) -> (Option<Arc<Beside>>, Option<String>) {
        let Some((state, reason)) = end(verdict) else {
            let beside = said.progress.map(|progress| Beside { progress: Some(progress), ..Beside::default() });
            return (beside.map(Arc::new), None);
        };
        if self.are_plain() {
            return (None, None);
        }
        let (announcement, failure) = match self.announcement(entry, verdict, state, reason, &said) {
            Ok(announcement) => (announcement, None),
            Err(failure) => {
                self.counters.handler(self.route).unsent.add(1);
                (None, Some(failure))
            }
        };
        let result = self.keeps.then(|| said.result.unwrap_or_default());
        let is_empty = result.is_none() && announcement.is_none();
        ((!is_empty).then(|| Arc::new(Beside { result, announcement, progress: None })), failure)
    }

    fn announcement(
        &self,
        entry: &Entry,
        verdict: &Verdict,
        state: TaskState,
        reason: Option<DeadReason>,
        said: &Said,
    ) -> Result<Option<Announcement>, String> {
        let Some(announce) = self.endings.of(state) else { return Ok(None) };
        let error = match verdict {
            Verdict::Dead { record, .. } => record.error.as_deref(),
            _ => said.error.as_deref(),
        };
        let (attempts, result) = (entry.record.attempt(), said.result.as_deref());
        let end = TaskEnd { entry, state, reason, error, attempts, result };
        // What makes it is the user's, and nothing of that may end a worker.
        let made = catch_unwind(AssertUnwindSafe(|| announce(&end, &self.bus)));
        made.unwrap_or_else(|_| Err("what makes it has panicked".to_owned())).map(Some)
    }
}

/// How a task has ended by this, if it has.
fn end(verdict: &Verdict) -> Option<(TaskState, Option<DeadReason>)> {
    match verdict {
        Verdict::Done { .. } => Some((TaskState::Completed, None)),
        Verdict::Dead { reason, .. } => Some((TaskState::Dead, Some(*reason))),
        Verdict::Discarded => Some((TaskState::Discarded, None)),
        Verdict::Expired => Some((TaskState::Expired, None)),
        Verdict::Again { .. } | Verdict::Park { .. } => None,
    }
}
