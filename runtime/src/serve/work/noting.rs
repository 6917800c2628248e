//! Notes how far the tasks of a queue have come: all that has changed in one call, and not more often than people can see.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bus::handle::Bus,
    error::QueueError,
    message::progress::{DueNote, Reports},
    serve::{
        holdings::Holdings,
        work::question::{Question, answer},
    },
    time::now,
    transport::durable::{contract::QueueSpec, task::Settled},
};

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(100);
/// After one that has failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// So many tasks are noted in one call: what a script carries out in a few milliseconds.
const LARGEST: usize = 1_000;

/// Notes what handlers report.
pub(super) struct Noting<'a> {
    bus: &'a Bus,
    queue: &'a QueueSpec,
    instance: Arc<str>,
    reports: Arc<Reports>,
    under_way: Vec<DueNote>,
    call: Option<Question<Vec<Settled>>>,
    /// The next call is not before that.
    next: Instant,
}

impl<'a> Noting<'a> {
    pub(super) fn new(bus: &'a Bus, queue: &'a QueueSpec, instance: Arc<str>, reports: Arc<Reports>) -> Self {
        Self { bus, queue, instance, reports, under_way: Vec::new(), call: None, next: now() }
    }

    /// When there is something to be noted. The worker is told when that changes.
    pub(super) fn due(&self) -> Option<tokio::time::Instant> {
        (self.call.is_none() && self.reports.is_due()).then(|| self.next.into())
    }

    /// Puts on its way what is to be noted.
    pub(super) fn send(&mut self) {
        self.next = now() + PAUSE;
        self.under_way = self.reports.take_due(LARGEST);
        if self.under_way.is_empty() {
            return;
        }
        let notes = self.under_way.iter().map(|due| due.note.clone()).collect();
        let (bus, queue, instance) = (self.bus.clone(), self.queue.name.clone(), Arc::clone(&self.instance));
        self.call = Some(Box::pin(async move { bus.durable().note(&queue, &instance, notes).await }));
    }

    /// What has come of it, once there is an answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn answer(&mut self) -> Result<Vec<Settled>, QueueError> {
        answer(&mut self.call).await
    }

    /// It is noted. What is not the instance's any more is lost.
    pub(super) fn answered(&mut self, answer: Result<Vec<Settled>, QueueError>, holdings: &Holdings) {
        let settled = answer.unwrap_or_else(|error| {
            tracing::debug!(queue = self.queue.name.template, %error, "progress is not noted now; it is tried again");
            self.next = now() + PAUSE_AFTER_FAILURE;
            Vec::new()
        });
        let mut settled = settled.into_iter();
        for due in std::mem::take(&mut self.under_way) {
            match settled.next() {
                Some(Settled::Counted) => due.noted(),
                Some(Settled::Stale) => due.lost().iter().for_each(|at| holdings.lost(at)),
                None => due.again(),
            }
        }
    }
}
