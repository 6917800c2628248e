//! What happens to an item, without calling anything.

use std::time::Instant;

use crate::{
    bus::{handle::Bus, served::Served},
    codec::contract::Format,
    error::Rejection,
    message::facts::Kind,
    route::{order::OrderKey, routes::Routes, sole::SoleRoutes, table::RouteTable},
    serve::{
        journal::{About, Trouble},
        lanes::{LaneId, Lanes, Waits},
        tally::Tally,
    },
    time::Arrival,
    transport::{
        events::BusEvent,
        frame::{Frame, Origin},
        inbox::Item,
    },
};

/// Decides what happens to an item, without calling anything.
pub(super) struct Intake {
    pub(super) table: RouteTable,
    pub(super) sole_routes: SoleRoutes,
    pub(super) routes: Routes,
    /// For each route, the token of the name that it is subscribed to.
    pub(super) tokens: Vec<u32>,
    /// For each route, where the order key is in its channels.
    pub(super) order_keys: Vec<OrderKey>,
    pub(super) lanes: Vec<Lanes<Frame>>,
    /// For each route, whether nothing runs or waits in its lanes: mostly so, and then neither lanes nor keys are looked at.
    pub(super) idle: Vec<bool>,
    pub(super) tally: Tally,
    pub(super) payload_limit: usize,
    pub(super) format: Format,
    /// Where it is told that a handler falls behind.
    pub(super) bus: Bus,
    /// The handler that was last found full, where nothing is dropped: no item is taken as long as it is. Nothing else comes
    /// meanwhile, so there is one at most.
    pub(super) full: Option<usize>,
    /// How many services of the bus share the names, where they share a connection.
    pub(super) served: Option<Served>,
    /// Why the bus has given up, once it has.
    pub(super) closed: Option<String>,
}

/// What becomes of a frame.
pub(super) enum Admission {
    /// The handler of this route may be called now.
    Starts(usize),
    /// It has to wait for that.
    Waits(usize),
    NotForUs,
}

impl Waits for Frame {
    fn size(&self) -> usize {
        Self::size(self)
    }

    fn arrived(&self) -> Instant {
        Self::arrived(self).instant()
    }
}

impl Intake {
    /// What becomes of a frame.
    #[inline]
    pub(super) fn admit(&self, frame: &Frame) -> Admission {
        let Some(route) = self.route_of(frame) else { return Admission::NotForUs };
        if self.idle[route] {
            return Admission::Starts(route);
        }
        let key = self.order_keys[route].of(frame.channel());
        if self.lanes[route].has_room(key) { Admission::Starts(route) } else { Admission::Waits(route) }
    }

    #[inline]
    fn route_of(&self, frame: &Frame) -> Option<usize> {
        let by_token = match frame.origin() {
            Origin::Broadcast { token } => self.sole_routes.find(token, frame.channel()),
            Origin::Inbox | Origin::Task => None,
        };
        by_token.or_else(|| self.route_in_table(frame))
    }

    fn route_in_table(&self, frame: &Frame) -> Option<usize> {
        let Some(route) = self.table.find(frame.channel()) else {
            self.tally.counters.unmatched.add(1);
            tracing::debug!("a channel matches a subscribed pattern but no template");
            return None;
        };
        match frame.origin() {
            // Overlapping patterns deliver a message once each; only the delivery by the route's own pattern counts.
            Origin::Broadcast { token } if token != self.tokens[route] => None,
            Origin::Inbox if self.routes.at(route).facts().kind() != Kind::Request => {
                self.tally.counters.unmatched.add(1);
                None
            }
            Origin::Broadcast { .. } | Origin::Inbox | Origin::Task => Some(route),
        }
    }

    /// Lets a frame wait. What is dropped for it is handed over.
    pub(super) fn wait(&mut self, route: usize, mut frame: Frame, mut dropped: impl FnMut(Frame)) {
        frame.compact();
        let key = self.order_keys[route].of(frame.channel()).map(<[u8]>::to_owned);
        let lanes = &mut self.lanes[route];
        let (mut count, mut about) = (0, About::default());
        lanes.wait(key.as_deref(), frame, |frame| {
            count += 1;
            about = About::channel(frame.channel());
            dropped(frame);
        });
        if lanes.is_full() {
            self.full = Some(route);
        }
        if count > 0 {
            self.tally.counters.handler(route).dropped.add(count);
            if lanes.falls_behind() {
                self.bus.tell(BusEvent::Lagging { channel: self.routes.at(route).template().text().to_owned() });
            }
            self.tally.note(route, Trouble::Dropped, count, about);
        }
        self.note_load(route);
    }

    /// A call that does not complete at once has begun.
    pub(super) fn started(&mut self, route: usize, key: Option<&[u8]>, arrived: Arrival) -> LaneId {
        let lane = self.lanes[route].started(key, arrived.instant());
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

    fn note_load(&mut self, route: usize) {
        let load = self.lanes[route].load();
        self.idle[route] = load.running == 0 && load.waiting == 0;
        self.tally.counters.handler(route).load.note(load);
    }

    /// A call begins to be polled for the first time, of a message that has arrived then, or that is over.
    #[inline]
    pub(super) fn polls(&self, route: usize, arrived: Arrival) {
        self.tally.counters.handler(route).load.polls(arrived);
    }

    /// Whether no item may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some_and(|route| self.lanes[route].is_full())
    }

    /// Counts and logs a message above the payload limit. Its route, if it is for this service.
    pub(super) fn oversized(&mut self, origin: Origin, channel: &[u8], size: usize) -> Option<(usize, Rejection)> {
        let is_for = |&route: &usize| match origin {
            Origin::Broadcast { token } => self.tokens[route] == token,
            Origin::Inbox => self.routes.at(route).facts().kind() == Kind::Request,
            Origin::Task => true,
        };
        let route = self.table.find(channel).filter(is_for)?;
        let rejection = Rejection::TooLarge { size, limit: self.payload_limit };
        self.tally.rejected(route, &rejection, About::channel(channel));
        Some((route, rejection))
    }

    /// Counts and logs what is no message.
    pub(super) fn note(&mut self, item: &Item) {
        match item {
            Item::Frame(_) | Item::Oversized { .. } | Item::Ended(_) => {}
            Item::Gap(gap) => {
                self.tally.counters.gaps.add(1);
                tracing::warn!(cause = %gap.cause, lasted = ?gap.lasted, "a service may have missed messages");
            }
            Item::Lagged(count) => {
                self.tally.counters.lagged.add(*count);
                tracing::warn!(count, "a service was stuck, and its oldest messages were dropped");
            }
            Item::Refused(error) => {
                tracing::error!(%error, "the server refused to renew a subscription of a service");
            }
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lanes| lanes.load().waiting).sum()
    }
}
