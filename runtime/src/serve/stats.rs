//! Counters of a service: written by its driver, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    channel::template::Template,
    observe::{meters::Counted, names},
    route::entry::Route,
};

/// What a service has done so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceStats {
    /// For each handler, in the order in which they are written.
    pub handlers: Vec<HandlerStats>,
    /// Messages on channels that match a subscribed pattern but no template.
    pub unmatched: u64,
    /// Gaps: times in which messages may have been missed.
    pub gaps: u64,
    /// Messages dropped on the way to the service, because it was stuck for longer than the connection waits.
    pub lagged: u64,
}

/// What a handler has done so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandlerStats {
    /// The handler's name.
    pub handler: &'static str,
    /// Its channel.
    pub template: Template,
    /// Messages handled without an error.
    pub handled: u64,
    /// Messages for which the handler or the publishing of its answer failed.
    pub failed: u64,
    /// Messages in which the handler panicked.
    pub panicked: u64,
    /// Messages that took longer than the handler's timeout.
    pub timed_out: u64,
    /// Payloads that were no message: undecodable, of another type or version, too large, or not of their channel.
    pub rejected: u64,
    /// Messages that the filter did not want.
    pub filtered: u64,
    /// Requests that were reached after their deadline, and not handled.
    pub expired: u64,
    /// Messages dropped because too many waited.
    pub dropped: u64,
    /// Messages that the handler returned and that could not be published. The message that it had handled counts as failed, once.
    pub unsent: u64,
}

#[derive(Debug)]
pub(crate) struct Counters {
    routes: &'static [Route],
    handlers: Vec<HandlerCounters>,
    pub(crate) unmatched: Counter,
    pub(crate) gaps: Counter,
    pub(crate) lagged: Counter,
}

#[derive(Debug)]
pub(crate) struct HandlerCounters {
    pub(crate) handled: Counter,
    pub(crate) failed: Counter,
    pub(crate) panicked: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) rejected: Counter,
    pub(crate) filtered: Counter,
    pub(crate) expired: Counter,
    pub(crate) dropped: Counter,
    pub(crate) unsent: Counter,
}

/// A number that only grows, here and in the metrics. Readers may see it a moment late.
#[derive(Debug)]
pub(crate) struct Counter {
    value: AtomicU64,
    counted: Counted,
}

impl Counter {
    fn new(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        Self { value: AtomicU64::new(0), counted: Counted::new(name, labels) }
    }

    pub(crate) fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
        self.counted.add(count);
    }

    fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl HandlerCounters {
    fn new(route: &Route) -> Self {
        let counter = |outcome| {
            let labels = [("handler", route.handler()), ("template", route.template().text()), ("outcome", outcome)];
            Counter::new(names::HANDLED, &labels)
        };
        Self {
            handled: counter("handled"),
            failed: counter("failed"),
            panicked: counter("panicked"),
            timed_out: counter("timed_out"),
            rejected: counter("rejected"),
            filtered: counter("filtered"),
            expired: counter("expired"),
            dropped: counter("dropped"),
            unsent: Counter::new(names::UNSENT, &[("handler", route.handler()), ("template", route.template().text())]),
        }
    }
}

impl Counters {
    pub(crate) fn new(routes: &'static [Route]) -> Self {
        Self {
            routes,
            handlers: routes.iter().map(HandlerCounters::new).collect(),
            unmatched: Counter::new(names::UNMATCHED, &[]),
            gaps: Counter::new(names::GAPS, &[names::BY_SERVICE]),
            lagged: Counter::new(names::LAGGED, &[names::BY_SERVICE]),
        }
    }

    pub(crate) fn handler(&self, route: usize) -> &HandlerCounters {
        &self.handlers[route]
    }

    pub(crate) fn snapshot(&self) -> ServiceStats {
        let handlers = self.routes.iter().zip(&self.handlers).map(|(route, counters)| HandlerStats {
            handler: route.handler(),
            template: route.template(),
            handled: counters.handled.value(),
            failed: counters.failed.value(),
            panicked: counters.panicked.value(),
            timed_out: counters.timed_out.value(),
            rejected: counters.rejected.value(),
            filtered: counters.filtered.value(),
            expired: counters.expired.value(),
            dropped: counters.dropped.value(),
            unsent: counters.unsent.value(),
        });
        ServiceStats {
            handlers: handlers.collect(),
            unmatched: self.unmatched.value(),
            gaps: self.gaps.value(),
            lagged: self.lagged.value(),
        }
    }
}
