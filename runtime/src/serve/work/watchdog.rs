//! Finds out that nothing comes from a queue although something is due, and warns of it in `health`.

use std::time::{Duration, Instant};

use crate::{
    bus::handle::Bus,
    error::QueueError,
    serve::work::question::{Question, answer},
    time::now,
    transport::{
        durable::{contract::QueueSpec, look::QueueCounts},
        events::BusEvent,
    },
};

/// Takes nothing for so long although something is due: then its connection is not what it seems.
const STALLED: Duration = Duration::from_secs(30);
/// What is due for less than this may just not have been taken yet.
const OVERDUE: Duration = Duration::from_secs(10);

/// Warns in `health` once it has found that nothing comes, until something does or it is dropped.
pub(super) struct Watchdog<'a> {
    bus: &'a Bus,
    queue: &'a QueueSpec,
    /// When something was taken, or a place for it became free.
    progress: Instant,
    /// Whether something is due, where nothing comes.
    looking: Option<Question<QueueCounts>>,
    warns: bool,
}

impl<'a> Watchdog<'a> {
    pub(super) fn new(bus: &'a Bus, queue: &'a QueueSpec) -> Self {
        Self { bus, queue, progress: now(), looking: None, warns: false }
    }

    /// That nothing was taken until now is no fault of the connection.
    pub(super) fn begins(&mut self) {
        self.progress = now();
    }

    /// Something has come.
    pub(super) fn is_well(&mut self) {
        self.progress = now();
        self.clear();
    }

    /// When nothing has come for too long.
    pub(super) fn stalls_at(&self) -> Option<tokio::time::Instant> {
        self.looking.is_none().then(|| (self.progress + STALLED).into())
    }

    /// Asks on another connection whether something is due.
    pub(super) fn look(&mut self) {
        let (bus, queue) = (self.bus.clone(), self.queue.clone());
        self.looking = Some(Box::pin(async move { bus.durable().counts(&queue).await }));
    }

    /// What was asked for, once there is an answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn counts(&mut self) -> Result<QueueCounts, QueueError> {
        answer(&mut self.looking).await
    }

    /// Whether something is due and nothing has come: then that is told. Where the instance takes nothing, that is right.
    pub(super) fn is_stalled(&mut self, counts: Result<QueueCounts, QueueError>, takes: bool) -> bool {
        let now = now();
        let took = now.saturating_duration_since(self.progress) < STALLED;
        self.progress = now;
        let Ok(counts) = counts else { return false };
        let waiting = counts.waiting();
        if waiting == 0 || counts.is_paused || counts.oldest.is_none_or(|oldest| oldest < OVERDUE) {
            self.clear();
            return false;
        }
        if took || !takes {
            return false;
        }
        let queue = self.queue.name.template;
        tracing::error!(
            queue,
            waiting,
            "an instance takes nothing from a queue although something is due; it connects anew"
        );
        self.warns = true;
        self.bus.stalled().insert(queue);
        self.bus.tell(BusEvent::QueueStalled { queue });
        true
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.warns) {
            self.bus.stalled().remove(self.queue.name.template);
        }
    }
}

impl Drop for Watchdog<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
