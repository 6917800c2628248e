//! Counters of a service: written by its driver, read by anyone.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{
    channel::template::Template,
    message::facts::Kind,
    observe::{meters::Counted, names},
    route::{entry::Route, routes::Routes},
    serve::{hops::Hops, lanes::Load, services::HandlerReport},
    time::Arrival,
};

/// What a service has done so far. `Debug` shows more than two handlers together, and leaves out what is zero.
#[derive(Clone)]
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

/// Handlers that are shown one by one.
const SHOWN: usize = 2;

impl fmt::Debug for ServiceStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("ServiceStats");
        let mut counts = vec![("unmatched", self.unmatched), ("gaps", self.gaps), ("lagged", self.lagged)];
        if self.handlers.len() <= SHOWN {
            shown.field("handlers", &self.handlers);
        } else {
            let sum = |count: fn(&HandlerStats) -> u64| self.handlers.iter().map(count).sum();
            let failed = sum(|handler| handler.failed + handler.panicked + handler.timed_out + handler.cancelled);
            shown.field("handlers", &self.handlers.len()).field("outstanding", &self.outstanding());
            counts.extend([("handled", sum(|handler| handler.handled)), ("failed", failed)]);
            counts.extend([("rejected", sum(|handler| handler.rejected)), ("dropped", sum(|handler| handler.dropped))]);
        }
        for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            shown.field(name, &count);
        }
        shown.finish_non_exhaustive()
    }
}

impl ServiceStats {
    /// Messages that have arrived at a handler, and are not finished.
    pub(super) fn outstanding(&self) -> usize {
        self.handlers.iter().map(|handler| handler.running + handler.waiting).sum()
    }
}

/// What a handler has done so far. `Debug` leaves out what is zero.
#[derive(Clone)]
#[non_exhaustive]
pub struct HandlerStats {
    /// The handler's name.
    pub handler: &'static str,
    /// The name of its router's type, where it is a method of one.
    pub router: Option<&'static str>,
    /// Whether the service has several routers: only then `Debug` shows them.
    of_several: bool,
    /// Its channel.
    pub template: Template,
    /// Messages that it works on now: those whose handler waits for something, and one that keeps its thread busy.
    pub running: usize,
    /// Messages that wait for their turn: for an earlier one with the same order key, or for a free place.
    pub waiting: usize,
    /// How long ago the oldest of both arrived. One that only grows is a handler that hangs.
    pub oldest: Option<Duration>,
    /// Messages handled without an error. Counted when the handler has returned and before its answer leaves, so whoever has an answer finds
    /// it counted.
    pub handled: u64,
    /// Messages for which the handler failed, or the publishing of what it returned.
    pub failed: u64,
    /// Messages in which the handler panicked.
    pub panicked: u64,
    /// Messages that took longer than the handler's timeout.
    pub timed_out: u64,
    /// Payloads that were no message: undecodable, of another type or version, too large, or not of their channel.
    pub rejected: u64,
    /// Members of metadata that could not be read, such as a time that is none: absent in the delivery, and no reason to reject it.
    pub unreadable: u64,
    /// Messages that the filter did not want.
    pub filtered: u64,
    /// Requests that were reached after their requester had stopped waiting, and tasks that had waited for longer than they may: not handled.
    pub expired: u64,
    /// Requests whose requester stopped waiting while the handler ran, and tasks that somebody has cancelled while the instance had them: the handler
    /// was stopped at its next await.
    pub cancelled: u64,
    /// Messages dropped because too many waited. Of requests the requester is told, and asks another instance.
    pub dropped: u64,
    /// Requests of other programs, which every instance gets, that another instance has taken.
    pub left_to_others: u64,
    /// Messages that the handler returned and that could not be published: the message that it had handled counts as failed, once. And
    /// announcements of the end of a task that could not be made: the task has ended all the same.
    pub unsent: u64,
    /// Tasks whose lease the instance lost while their handler ran, which was stopped at its next await, or before it was known that they are done.
    pub lost_leases: u64,
    /// Tasks that were given back because the instance was stopping: not begun, or not finished.
    pub handed_back: u64,
    /// How long all its calls took together, waiting included. Of requests only.
    pub busy: Duration,
    /// Answers that could not be sent. Their messages count as the handler ended; whoever asked runs into the timeout.
    pub unanswered: u64,
}

impl fmt::Debug for HandlerStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("HandlerStats");
        shown.field("handler", &self.handler);
        if let Some(router) = self.router.as_ref().filter(|_| self.of_several) {
            shown.field("router", router);
        }
        shown.field("template", &self.template);
        for (name, count) in
            [("running", self.running), ("waiting", self.waiting)].into_iter().filter(|&(_, count)| count > 0)
        {
            shown.field(name, &count);
        }
        if let Some(oldest) = &self.oldest {
            shown.field("oldest", oldest);
        }
        let counts = [
            ("handled", self.handled),
            ("failed", self.failed),
            ("panicked", self.panicked),
            ("timed_out", self.timed_out),
            ("rejected", self.rejected),
            ("filtered", self.filtered),
            ("expired", self.expired),
            ("cancelled", self.cancelled),
            ("dropped", self.dropped),
            ("left_to_others", self.left_to_others),
            ("unsent", self.unsent),
            ("unanswered", self.unanswered),
            ("lost_leases", self.lost_leases),
            ("handed_back", self.handed_back),
        ];
        for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            shown.field(name, &count);
        }
        shown.finish()
    }
}

#[derive(Debug)]
pub(crate) struct Counters {
    routes: Routes,
    handlers: Vec<HandlerCounters>,
    pub(crate) unmatched: Counter,
    pub(crate) gaps: Counter,
    pub(crate) lagged: Counter,
    pub(super) hops: Hops,
}

/// Of many handlers none is in the cache: what is written for each message is to be in one line of it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct HandlerCounters {
    pub(crate) handled: Counter,
    pub(crate) failed: Counter,
    pub(crate) panicked: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) rejected: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) filtered: Counter,
    pub(crate) expired: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) dropped: Counter,
    pub(crate) left_to_others: Counter,
    pub(crate) unsent: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) lost_leases: Counter,
    pub(crate) handed_back: Counter,
    /// How long all calls of requests took together.
    pub(crate) busy_micros: AtomicU64,
    pub(crate) load: LoadGauge,
}

/// How much a handler has to do, as its driver last said.
#[derive(Debug)]
pub(crate) struct LoadGauge {
    running: AtomicUsize,
    waiting: AtomicUsize,
    /// The nanoseconds of an [`Arrival`], those of none where there is nobody.
    oldest: AtomicU64,
    /// The same of the message whose call is polled for the first time now: it has no lane yet, and does not end while it blocks.
    polled: AtomicU64,
}

/// The arrival of nobody.
const NOBODY: u64 = Arrival::NEVER.nanos();

impl LoadGauge {
    fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            oldest: AtomicU64::new(NOBODY),
            polled: AtomicU64::new(NOBODY),
        }
    }

    pub(crate) fn note(&self, load: Load) {
        self.running.store(load.running, Ordering::Relaxed);
        self.waiting.store(load.waiting, Ordering::Relaxed);
        self.oldest.store(load.oldest.map_or(NOBODY, |arrived| Arrival::of(arrived).nanos()), Ordering::Relaxed);
    }

    /// A call begins to be polled for the first time, or, with an arrival that never was, that is over.
    #[inline]
    pub(crate) fn polls(&self, arrived: Arrival) {
        self.polled.store(arrived.nanos(), Ordering::Relaxed);
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed) + usize::from(self.polled.load(Ordering::Relaxed) != NOBODY)
    }

    fn oldest(&self, now: Instant) -> Option<Duration> {
        let nanos = self.oldest.load(Ordering::Relaxed).min(self.polled.load(Ordering::Relaxed));
        let arrived = Arrival::from_nanos(Some(nanos).filter(|&nanos| nanos != NOBODY)?);
        Some(now.saturating_duration_since(arrived.instant()))
    }
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

    /// Counts one more, where only the caller counts: it costs less than what several callers would need.
    #[inline]
    pub(crate) fn count(&self) {
        self.value.store(self.value.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.counted.add(1);
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
        let labels = [("handler", route.handler()), ("template", route.template().text())];
        Self {
            handled: counter("handled"),
            failed: counter("failed"),
            panicked: counter("panicked"),
            timed_out: counter("timed_out"),
            rejected: counter("rejected"),
            filtered: counter("filtered"),
            expired: counter("expired"),
            cancelled: counter("cancelled"),
            dropped: counter("dropped"),
            left_to_others: counter("left_to_others"),
            lost_leases: counter("lost_lease"),
            handed_back: counter("handed_back"),
            unsent: Counter::new(names::UNSENT, &labels),
            unanswered: Counter::new(names::UNANSWERED, &labels),
            unreadable: Counter::new(names::UNREADABLE, &labels),
            busy_micros: AtomicU64::new(0),
            load: LoadGauge::new(),
        }
    }
}

impl Counters {
    pub(crate) fn new(routes: Routes) -> Self {
        Self {
            routes,
            handlers: routes.iter().map(HandlerCounters::new).collect(),
            unmatched: Counter::new(names::UNMATCHED, &[]),
            gaps: Counter::new(names::GAPS, &[names::BY_SERVICE]),
            lagged: Counter::new(names::LAGGED, &[names::BY_SERVICE]),
            hops: Hops::new(routes.len()),
        }
    }

    #[inline]
    pub(crate) fn handler(&self, route: usize) -> &HandlerCounters {
        &self.handlers[route]
    }

    /// What whoever asks is told of each handler.
    pub(crate) fn reports(&self, now: Instant) -> Vec<HandlerReport> {
        let stats = self.snapshot(now).handlers.into_iter();
        let report = |(route, stats): (&Route, HandlerStats)| {
            let facts = route.facts();
            let errors = stats.failed + stats.panicked + stats.timed_out + stats.cancelled;
            HandlerReport {
                handler: route.handler().to_owned(),
                template: route.template().text().to_owned(),
                message: facts.name().to_owned(),
                version: facts.version(),
                is_request: facts.kind() == Kind::Request,
                calls: stats.handled + errors,
                errors,
                busy_micros: u64::try_from(stats.busy.as_micros()).unwrap_or(u64::MAX),
                running: stats.running,
                waiting: stats.waiting,
            }
        };
        self.routes.iter().zip(stats).map(report).collect()
    }

    pub(crate) fn snapshot(&self, now: Instant) -> ServiceStats {
        let handlers = self.routes.iter().zip(&self.handlers).map(|(route, counters)| HandlerStats {
            handler: route.handler(),
            router: route.router(),
            of_several: self.routes.has_members(),
            template: route.template(),
            running: counters.load.running(),
            waiting: counters.load.waiting.load(Ordering::Relaxed),
            oldest: counters.load.oldest(now),
            handled: counters.handled.value(),
            failed: counters.failed.value(),
            panicked: counters.panicked.value(),
            timed_out: counters.timed_out.value(),
            rejected: counters.rejected.value(),
            unreadable: counters.unreadable.value(),
            filtered: counters.filtered.value(),
            expired: counters.expired.value(),
            cancelled: counters.cancelled.value(),
            dropped: counters.dropped.value(),
            left_to_others: counters.left_to_others.value(),
            unsent: counters.unsent.value(),
            unanswered: counters.unanswered.value(),
            lost_leases: counters.lost_leases.value(),
            handed_back: counters.handed_back.value(),
            busy: Duration::from_micros(counters.busy_micros.load(Ordering::Relaxed)),
        });
        ServiceStats {
            handlers: handlers.collect(),
            unmatched: self.unmatched.value(),
            gaps: self.gaps.value(),
            lagged: self.lagged.value(),
        }
    }
}
