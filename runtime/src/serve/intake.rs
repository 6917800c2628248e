//! What happens to an item, without calling anything.

use std::{sync::Arc, time::Instant};

use crate::{
    bus::{handle::Bus, served::Served},
    codec::contract::Format,
    error::{PublishError, Rejection},
    handler::outcome::{Ended, Outcome},
    route::{entry::Route, table::RouteTable},
    serve::{
        hops::Hops,
        lanes::{LaneId, Lanes, Waits},
        stats::Counters,
    },
    transport::{
        events::BusEvent,
        frame::{Frame, Origin},
        inbox::Item,
    },
};

/// Decides what happens to an item, without calling anything.
pub(super) struct Intake {
    pub(super) table: RouteTable,
    pub(super) routes: &'static [Route],
    /// For each route, the token of the name that it is subscribed to.
    pub(super) tokens: Vec<u32>,
    pub(super) lanes: Vec<Lanes<Frame>>,
    pub(super) counters: Arc<Counters>,
    pub(super) payload_limit: usize,
    pub(super) format: Format,
    /// Where it is told that a handler falls behind.
    pub(super) bus: Bus,
    /// The handler that was last found full, where nothing is dropped: no item is taken as long as it is. Nothing else comes
    /// meanwhile, so there is one at most.
    pub(super) full: Option<usize>,
    /// How many services of the bus share the names, where they share a connection.
    pub(super) served: Option<Served>,
    /// Hops of what each handler returned last, and whether that was told.
    pub(super) hops: Hops,
    /// Why the bus has given up, once it has.
    pub(super) closed: Option<String>,
}

impl Waits for Frame {
    fn size(&self) -> usize {
        Self::size(self)
    }

    fn arrived(&self) -> Instant {
        Self::arrived(self)
    }
}

impl Intake {
    /// The frame's route, if it may start now. Otherwise it waits, or is not for this service. What is dropped for it is handed over.
    pub(super) fn admit(&mut self, mut frame: Frame, mut dropped: impl FnMut(usize, Frame)) -> Option<(usize, Frame)> {
        let Some(route) = self.table.find(frame.channel()) else {
            self.counters.unmatched.add(1);
            tracing::debug!("a channel matches a subscribed pattern but no template");
            return None;
        };
        // Overlapping patterns deliver a message once each; only the delivery by the route's own pattern counts.
        if frame.origin() != (Origin::Broadcast { token: self.tokens[route] }) {
            return None;
        }
        let order_key = self.routes[route].order_key();
        if self.lanes[route].has_room(order_key.of(frame.channel())) {
            return Some((route, frame));
        }
        frame.compact();
        let key = order_key.of(frame.channel()).map(<[u8]>::to_owned);
        let lanes = &mut self.lanes[route];
        let mut count = 0;
        lanes.wait(key.as_deref(), frame, |frame| {
            count += 1;
            dropped(route, frame);
        });
        if lanes.is_full() {
            self.full = Some(route);
        }
        if count > 0 {
            self.counters.handler(route).dropped.add(count);
            if lanes.falls_behind() {
                self.lags(route);
            }
        }
        self.note_load(route);
        None
    }

    /// A call that does not complete at once has begun.
    pub(super) fn started(&mut self, route: usize, key: Option<&[u8]>, arrived: Instant) -> LaneId {
        let lane = self.lanes[route].started(key, arrived);
        self.note_load(route);
        lane
    }

    /// A lane's message is done; another may run in its place.
    pub(super) fn finished(&mut self, route: usize, lane: LaneId) -> Option<(LaneId, Frame)> {
        let next = self.lanes[route].finished(lane);
        self.note_load(route);
        next
    }

    /// How many services share the subscription by which the route's messages come.
    pub(super) fn shared(&self, route: usize) -> usize {
        self.served.as_ref().map_or(1, |served| served.services(self.tokens[route] as usize))
    }

    /// Notes how far what a handler returned is from the first message of its chain.
    pub(super) fn note_hops(&mut self, route: usize, hops: u32) {
        let Some(looping) = self.hops.note(route, hops) else { return };
        let handlers: Vec<&'static str> = looping.into_iter().map(|route| self.routes[route].handler()).collect();
        tracing::warn!(
            hops,
            handlers = handlers.join(", "),
            "handlers return messages to each other for many hops; if that is a loop, it ends only with `hop_limit`"
        );
        self.bus.tell(BusEvent::ManyHops { handlers, hops });
    }

    fn note_load(&self, route: usize) {
        self.counters.handler(route).load.note(self.lanes[route].load());
    }

    /// Warns once until the handler has caught up: an overload must not flood the log as well.
    fn lags(&self, route: usize) {
        let (handler, template) = (self.routes[route].handler(), self.routes[route].template().text());
        tracing::warn!(
            handler,
            template,
            "too many messages wait for a handler; it drops messages until it has caught up"
        );
        self.bus.tell(BusEvent::Lagging { channel: template.to_owned() });
    }

    /// Whether no item may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some_and(|route| self.lanes[route].is_full())
    }

    /// Counts and logs what is no frame.
    pub(super) fn note(&self, item: &Item) {
        match item {
            Item::Frame(_) | Item::Ended(_) => {}
            Item::Oversized { token, channel, size } => {
                let Some(route) = self.table.find(channel).filter(|&route| self.tokens[route] == *token) else {
                    return;
                };
                let rejection = Rejection::TooLarge { size: *size, limit: self.payload_limit };
                self.count(route, Ended::Returned(Outcome::Rejected(Box::new(rejection))));
            }
            Item::Gap(gap) => {
                self.counters.gaps.add(1);
                tracing::warn!(cause = %gap.cause, lasted = ?gap.lasted, "a service may have missed messages");
            }
            Item::Lagged(count) => {
                self.counters.lagged.add(*count);
                tracing::warn!(count, "a service was stuck, and its oldest messages were dropped");
            }
            Item::Refused(error) => {
                tracing::error!(%error, "the server refused to renew a subscription of a service");
            }
        }
    }

    /// Counts and logs how a call ended.
    pub(super) fn count(&self, route: usize, ended: Ended) {
        let counters = self.counters.handler(route);
        let handler = self.routes[route].handler();
        let template = self.routes[route].template().text();
        match ended {
            Ended::Returned(Outcome::Done | Outcome::Send(_)) => counters.handled.add(1),
            Ended::Returned(Outcome::Filtered) => counters.filtered.add(1),
            Ended::Returned(Outcome::Expired) => counters.expired.add(1),
            Ended::Returned(Outcome::Failed(error) | Outcome::Refused(error)) => {
                counters.failed.add(1);
                tracing::warn!(handler, template, error, "a handler failed");
            }
            Ended::Returned(Outcome::Rejected(rejection)) => {
                counters.rejected.add(1);
                tracing::warn!(handler, template, reason = rejection.kind(), "a message was rejected");
            }
            Ended::Panicked => {
                counters.panicked.add(1);
                tracing::error!(handler, template, "a handler panicked");
            }
            Ended::TimedOut => {
                counters.timed_out.add(1);
                tracing::warn!(handler, template, "a handler ran past its timeout");
            }
            Ended::Cancelled => {
                counters.cancelled.add(1);
                tracing::warn!(
                    handler,
                    template,
                    "a handler was cancelled, because its requester has stopped waiting; `run_to_end` lets it finish"
                );
            }
        }
    }

    /// Counts and logs what a handler returned and could not be published.
    pub(super) fn unsent(&self, route: usize, errors: &[PublishError]) {
        let handler = self.routes[route].handler();
        for error in errors {
            self.counters.handler(route).unsent.add(1);
            tracing::warn!(handler, %error, "a message that a handler returned was not published");
        }
    }

    /// Counts and logs an answer that could not be sent.
    pub(super) fn unanswered(&self, route: usize, error: &PublishError) {
        let (handler, template) = (self.routes[route].handler(), self.routes[route].template().text());
        self.counters.handler(route).unanswered.add(1);
        tracing::warn!(handler, template, %error, "an answer could not be sent; whoever waits for it runs into the timeout");
    }

    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lanes| lanes.load().waiting).sum()
    }
}
