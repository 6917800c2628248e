//! What a service counts and tells of how calls end.

use std::{sync::Arc, time::Instant};

use crate::{
    bus::handle::Bus,
    error::{PublishError, Rejection},
    handler::outcome::{Ended, Outcome},
    message::delivery::Delivery,
    route::routes::Routes,
    serve::{
        journal::{About, Journal, Trouble},
        stats::Counters,
    },
    time::now,
    transport::events::BusEvent,
};

/// Counts how calls end, and tells of trouble.
pub(super) struct Tally {
    pub(super) counters: Arc<Counters>,
    bus: Bus,
    routes: Routes,
    journal: Journal,
}

impl Tally {
    pub(super) fn new(bus: Bus, routes: Routes, counters: Arc<Counters>) -> Self {
        Self { counters, bus: bus.clone(), routes, journal: Journal::new(bus, routes) }
    }

    /// Tells of trouble, or counts it to be told later.
    pub(super) fn note(&mut self, route: usize, trouble: Trouble, count: u64, about: About) {
        self.journal.note(now(), route, trouble, count, about);
    }

    /// When there is something to be told next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.journal.due()
    }

    /// Tells what is due.
    pub(super) fn tell(&mut self) {
        self.journal.tell(now());
    }

    /// Counts and logs tasks whose lease the instance has lost.
    pub(super) fn lost(&mut self, route: usize, count: u64, about: About) {
        self.counters.handler(route).lost_leases.add(count);
        self.note(route, Trouble::LeaseLost, count, about);
    }

    /// Counts tasks that somebody has cancelled while the instance had them. That was wanted, and is no trouble.
    pub(super) fn cancelled_tasks(&self, route: usize, count: u64) {
        if count > 0 {
            self.counters.handler(route).cancelled.add(count);
            tracing::debug!(route, count, "tasks were cancelled while an instance had them");
        }
    }

    /// Counts and logs a task that has waited for longer than it may.
    pub(super) fn expired_task(&mut self, route: usize, about: About) {
        self.counters.handler(route).expired.add(1);
        self.note(route, Trouble::TooOld, 1, about);
    }

    /// Counts how a call ended, and tells of trouble. The delivery is there where something was left to be done.
    pub(super) fn count(&mut self, route: usize, ended: Ended, delivery: Option<&Delivery>) {
        let counters = self.counters.handler(route);
        let (trouble, about) = match ended {
            Ended::Returned(Outcome::Done | Outcome::Send(_) | Outcome::DoneBefore) => {
                return counters.handled.add(1);
            }
            Ended::Returned(Outcome::Elsewhere) => return counters.left_to_others.add(1),
            Ended::Returned(Outcome::Unfinished) => {
                counters.failed.add(1);
                (
                    Trouble::Failed,
                    About::message(delivery).because("another owner had begun it, and has not finished it"),
                )
            }
            Ended::Returned(Outcome::Filtered) => return counters.filtered.add(1),
            Ended::Returned(Outcome::Rejected(rejection)) => {
                return self.rejected(route, &rejection, About::message(delivery));
            }
            Ended::Returned(Outcome::Expired) => {
                counters.expired.add(1);
                (Trouble::Expired, About::message(delivery))
            }
            Ended::Returned(Outcome::Failed(failure) | Outcome::Refused(failure) | Outcome::Ruled(failure)) => {
                counters.failed.add(1);
                (Trouble::Failed, About::message(delivery).because(failure.with_causes()))
            }
            Ended::Panicked => {
                counters.panicked.add(1);
                (Trouble::Panicked, About::message(delivery))
            }
            Ended::TimedOut => {
                counters.timed_out.add(1);
                (Trouble::TimedOut, About::message(delivery))
            }
            Ended::Cancelled => {
                counters.cancelled.add(1);
                (Trouble::Cancelled, About::message(delivery))
            }
            Ended::LeftToOthers => return counters.left_to_others.add(1),
        };
        self.note(route, trouble, 1, about);
    }

    pub(super) fn rejected(&mut self, route: usize, rejection: &Rejection, about: About) {
        self.counters.handler(route).rejected.add(1);
        self.note(route, Trouble::Rejected(rejection.kind()), 1, about.rejected(rejection));
    }

    /// Counts and logs what a handler returned and could not be published.
    pub(super) fn unsent(&mut self, route: usize, errors: &[PublishError]) {
        for error in errors {
            self.counters.handler(route).unsent.add(1);
            self.note(route, Trouble::Unsent, 1, About::default().because(&error.to_string()));
        }
    }

    /// Notes how far what a handler returned is from the first of its chain; where that is far for the first time, it is told.
    pub(super) fn note_hops(&self, route: usize, hops: u32) {
        let Some(looping) = self.counters.hops.note(route, hops) else { return };
        let handlers: Vec<&'static str> = looping.into_iter().map(|route| self.routes.at(route).handler()).collect();
        tracing::warn!(
            hops,
            handlers = handlers.join(", "),
            "handlers return messages to each other for many hops; if that is a loop, it ends only with `hop_limit`"
        );
        self.bus.tell(BusEvent::ManyHops { handlers, hops });
    }

    /// Counts and logs an answer that could not be sent.
    pub(super) fn unanswered(&mut self, route: usize, error: &PublishError) {
        self.counters.handler(route).unanswered.add(1);
        self.note(route, Trouble::Unanswered, 1, About::default().because(&error.to_string()));
    }
}
