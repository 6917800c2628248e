//! Metrics, for the recorder that the process has installed.
//!
//! Whether there is one is found out once, when a bus connects. Without it no clock is read and no key is made.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram, IntoF64, Unit, counter, gauge, histogram};

use crate::observe::{
    label::{Label, OK},
    names,
};

/// The metrics of a bus.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Absent where nobody records.
    operations: Option<RwLock<HashMap<Key, Arc<Operation>>>>,
}

/// Handler and template; the handler is empty where there is none.
type Key = (Measured, &'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Measured {
    Publish,
    Request,
    Handling,
}

/// What is recorded of operations that differ in nothing a label shows.
#[derive(Debug)]
struct Operation {
    kind: Measured,
    template: &'static str,
    duration: Histogram,
    /// The outcome of nearly all of them.
    fine: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let recorded = is_recorded(&gauge!(names::CONNECTIONS));
        if recorded {
            describe();
        }
        Self { operations: recorded.then(RwLock::default) }
    }

    /// Whether anybody records.
    #[inline]
    pub(crate) fn are_on(&self) -> bool {
        self.operations.is_some()
    }

    pub(crate) fn publish(&self, template: &'static str) -> Option<Timer> {
        self.start((Measured::Publish, "", template))
    }

    pub(crate) fn request(&self, template: &'static str) -> Option<Timer> {
        self.start((Measured::Request, "", template))
    }

    pub(crate) fn handling(&self, handler: &'static str, template: &'static str) -> Option<Timer> {
        self.start((Measured::Handling, handler, template))
    }

    /// Counts a message that was published with others.
    pub(crate) fn published(&self, template: &'static str, label: Label) {
        if let Some(operation) = self.operation((Measured::Publish, "", template)) {
            operation.count(label);
        }
    }

    /// How many tasks a queue has in a state.
    pub(crate) fn tasks(&self, template: &'static str, state: &'static str, count: u64) {
        if self.are_on() {
            gauge!(names::QUEUE_TASKS, "template" => template, "state" => state).set(count as f64);
        }
    }

    /// How long the oldest task of a queue has waited.
    pub(crate) fn oldest(&self, template: &'static str, oldest: Duration) {
        if self.are_on() {
            gauge!(names::QUEUE_OLDEST, "template" => template).set(oldest.as_secs_f64());
        }
    }

    fn start(&self, key: Key) -> Option<Timer> {
        self.operation(key).map(|operation| Timer { started: Instant::now(), operation })
    }

    fn operation(&self, key: Key) -> Option<Arc<Operation>> {
        let operations = self.operations.as_ref()?;
        if let Some(known) = operations.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(known));
        }
        let mut operations = operations.write().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(operations.entry(key).or_insert_with(|| Arc::new(Operation::new(key)))))
    }
}

impl Operation {
    fn new((kind, handler, template): Key) -> Self {
        let duration = match kind {
            Measured::Publish => histogram!(names::PUBLISH_DURATION, "template" => template),
            Measured::Request => histogram!(names::REQUEST_DURATION, "template" => template),
            Measured::Handling => histogram!(names::HANDLING_DURATION, "handler" => handler, "template" => template),
        };
        Self { kind, template, duration, fine: Self::counter(kind, template, OK.text) }
    }

    fn counter(kind: Measured, template: &'static str, outcome: &'static str) -> Counter {
        match kind {
            Measured::Publish => counter!(names::PUBLISHED, "template" => template, "outcome" => outcome),
            Measured::Request => counter!(names::REQUESTS, "template" => template, "outcome" => outcome),
            // The service counts what its handlers do.
            Measured::Handling => Counter::noop(),
        }
    }

    fn count(&self, label: Label) {
        if label == OK {
            self.fine.increment(1);
        } else {
            Self::counter(self.kind, self.template, label.text).increment(1);
        }
    }
}

/// Measures one operation.
#[derive(Debug)]
pub(crate) struct Timer {
    started: Instant,
    operation: Arc<Operation>,
}

impl Timer {
    pub(crate) fn ended(&self, label: Label) {
        self.operation.duration.record(self.started.elapsed());
        self.operation.count(label);
    }
}

/// A counter that a recorder sees, if there is one.
#[derive(Debug)]
pub(crate) struct Counted(Counter);

impl Counted {
    pub(crate) fn new(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        Self(counter!(name, labels))
    }

    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.increment(count);
    }
}

/// A connection's part of the gauge of those that are up.
#[derive(Debug)]
pub(crate) struct ConnectionGauge {
    up: AtomicBool,
    gauge: Gauge,
}

impl ConnectionGauge {
    /// A connection that is up.
    pub(crate) fn new() -> Self {
        let gauge = gauge!(names::CONNECTIONS);
        gauge.increment(1.0);
        Self { up: AtomicBool::new(true), gauge }
    }

    pub(crate) fn went_up(&self) {
        if !self.up.swap(true, Ordering::Relaxed) {
            self.gauge.increment(1.0);
        }
    }

    pub(crate) fn went_down(&self) {
        if self.up.swap(false, Ordering::Relaxed) {
            self.gauge.decrement(1.0);
        }
    }
}

impl Drop for ConnectionGauge {
    fn drop(&mut self) {
        self.went_down();
    }
}

/// Adds nothing, and learns whether anybody wanted to know how much.
fn is_recorded(gauge: &Gauge) -> bool {
    struct Nothing<'a>(&'a Cell<bool>);

    impl IntoF64 for Nothing<'_> {
        fn into_f64(self) -> f64 {
            self.0.set(true);
            0.0
        }
    }

    let asked = Cell::new(false);
    // A handle that leads nowhere does not ask its argument for the number.
    gauge.increment(Nothing(&asked));
    asked.get()
}

fn describe() {
    for (name, text) in names::COUNTERS {
        metrics::describe_counter!(name, Unit::Count, text);
    }
    for (name, text) in names::DURATIONS {
        metrics::describe_histogram!(name, Unit::Seconds, text);
    }
    metrics::describe_gauge!(names::CONNECTIONS, Unit::Count, "Connections for subscriptions that are up");
    metrics::describe_gauge!(names::QUEUE_TASKS, Unit::Count, "Tasks of a queue, by their state");
    metrics::describe_gauge!(names::QUEUE_OLDEST, Unit::Seconds, "How long the oldest task of a queue has waited");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::GaugeFn;

    use super::*;

    struct Kept;

    impl GaugeFn for Kept {
        fn increment(&self, value: f64) {
            assert!(value.abs() < f64::EPSILON);
        }

        fn decrement(&self, _value: f64) {}

        fn set(&self, _value: f64) {}
    }

    #[test]
    fn a_gauge_tells_whether_it_is_recorded() {
        assert!(is_recorded(&Gauge::from_arc(Arc::new(Kept))));
        assert!(!is_recorded(&Gauge::noop()));
    }

    #[test]
    fn without_a_recorder_nothing_is_measured() {
        let meters = Meters::new();
        assert!(meters.operations.is_none());
        assert!(meters.publish("orders:<id>").is_none());
    }
}
