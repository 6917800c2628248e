//! What a handler of a queue knows of its hold on a task.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    message::progress::Reports,
    time::now,
    transport::durable::task::{Entry, OnceKey, QueueName},
};

/// The hold of an instance on a task, as an argument of a handler: `lease: &Lease`.
///
/// It is renewed for as long as the handler runs, one lease beyond its `timeout` at most, from a thread of its own: a handler that blocks its
/// thread keeps it. An instance that loses it, because it was cut off for longer than the lease, stops the handler at its next await: another
/// one may have the task by then.
#[derive(Clone)]
pub struct Lease {
    token: u64,
    ends: Arc<Mutex<Instant>>,
    /// Where what its handler says of the task's progress is put down. Absent where nothing is kept of it.
    reports: Option<Arc<Reports>>,
}

impl Lease {
    pub(crate) fn new(token: u64, ends: Instant) -> Self {
        Self { token, ends: Arc::new(Mutex::new(ends)), reports: None }
    }

    /// The same, of a task whose progress is kept.
    pub(crate) fn reporting(self, reports: &Arc<Reports>) -> Self {
        Self { reports: Some(Arc::clone(reports)), ..self }
    }

    pub(crate) fn reports(&self) -> Option<&Arc<Reports>> {
        self.reports.as_ref()
    }

    /// The fencing token: it only grows from owner to owner of a task, whatever way the task went. A store that remembers the largest one that it
    /// has seen, and refuses a smaller one, is safe from an owner that was thought dead and goes on. It guards against slow owners, not against a
    /// server that has lost writes.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How long the task belongs to this instance if it is not renewed, by this machine's clock: zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ends().saturating_duration_since(now())
    }

    pub(crate) fn ends(&self) -> Instant {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn renewed(&self, ends: Instant) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, .. } = self;
        formatter.debug_struct("Lease").field("token", token).field("remaining", &self.remaining()).finish()
    }
}

/// What a delivery knows of the task that it is.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) queue: QueueName,
    /// Its payload is the delivery's.
    pub(crate) entry: Entry,
    pub(crate) lease: Lease,
    /// The key of a handler that runs once, from when it has begun.
    pub(crate) once: Arc<Mutex<Option<OnceKey>>>,
}
