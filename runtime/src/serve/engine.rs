//! Calls handlers, and keeps what waits after them.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use memchr::memchr;

use crate::{
    bus::{handle::Bus, instances::State},
    codec::answers::PassedOn,
    error::ShutdownError,
    handler::outcome::{Ended, Outcome},
    message::delivery::Arriving,
    serve::{
        call::Calls,
        departures::{Departed, Departures, Published},
        driver::Stopping,
        intake::{Admission, Intake},
        lanes::LaneId,
        presence::{Heard, Presence},
        settlement::{Called, Open, Sent, Step, declined, dropped, oversized},
        slots::{Finished, Running, Slots},
        sources::Sources,
        spawned::{Spawned, SpawnedEnd},
        waiting::Waiting,
    },
    time::{Arrival, now},
    transport::{
        contract::Parcel,
        frame::{Frame, Origin},
        inbox::{HEAD_KEPT, Item},
    },
};

/// Calls handlers, and keeps what waits after them.
pub(super) struct Engine<'a> {
    calls: &'a Arc<dyn Calls>,
    pub(super) intake: Intake,
    bus: &'a Bus,
    slots: Slots<'a, Started, Called>,
    pub(super) running: Waiting<Running<'a, Started, Called, Place>>,
    pub(super) departures: Departures<'a>,
    pub(super) spawned: Spawned<Place, Called>,
    /// Whether there are handlers whose calls are tokio tasks. Where there are none no handler's options are read for each message.
    spawns: bool,
    starting: Starting,
    /// Whether requests are left to other instances.
    stops: bool,
}

/// What a call is of: its route, and the message.
type Started = (usize, Arriving);
/// The place of a call that waits: its route, and its lane.
type Place = (usize, LaneId);

/// As many of those that wait may have been woken together; others are taken with the next.
const TOGETHER: usize = 256;

/// What a lane wants to know of the frame that is being started, since the call owns it.
struct Starting {
    arrived: Arrival,
    has_key: bool,
    key: Vec<u8>,
}

impl Starting {
    #[inline]
    fn set(&mut self, key: Option<&[u8]>, arrived: Arrival) {
        self.arrived = arrived;
        self.has_key = key.is_some();
        self.key.clear();
        self.key.extend_from_slice(key.unwrap_or_default());
    }

    fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&self.key)
    }
}

impl<'a> Engine<'a> {
    pub(super) fn new(intake: Intake, bus: &'a Bus, calls: &'a Arc<dyn Calls>) -> Self {
        let spawns = intake.routes.iter().any(|route| route.options().spawn);
        Self {
            calls,
            intake,
            bus,
            slots: Slots::new(),
            running: Waiting::new(),
            departures: Departures::new(bus),
            spawned: Spawned::new(),
            spawns,
            starting: Starting { arrived: Arrival::NEVER, has_key: false, key: Vec::new() },
            stops: false,
        }
    }

    /// Works on what has come.
    pub(super) fn take(&mut self, sources: &mut Sources<'_>, context: &mut Context<'_>) {
        self.take_own(sources, context);
        self.items(sources.items(), context);
    }

    fn take_own(&mut self, sources: &mut Sources<'_>, context: &mut Context<'_>) {
        let presence = sources.presence;
        sources.own_items().into_iter().for_each(|item| self.heard(item, presence, context));
    }

    /// Works on items until a handler is full whose messages must not be dropped.
    fn items(&mut self, items: &mut VecDeque<Item>, context: &mut Context<'_>) {
        while !self.intake.is_full()
            && let Some(item) = items.pop_front()
        {
            self.item(item, context);
        }
    }

    #[inline]
    fn item(&mut self, item: Item, context: &mut Context<'_>) {
        match item {
            Item::Frame(frame) => self.frame(frame, context),
            other => self.event(other, context),
        }
    }

    #[inline]
    fn frame(&mut self, frame: Frame, context: &mut Context<'_>) {
        match self.intake.admit(&frame) {
            Admission::Starts(route) => self.start(route, frame, context),
            Admission::Waits(route) => self.wait(route, frame, context),
            Admission::NotForUs => {}
        }
    }

    /// What is no frame.
    fn event(&mut self, item: Item, context: &mut Context<'_>) {
        match item {
            Item::Oversized { token, channel, head, size } => {
                self.oversized(Origin::Broadcast { token }, &channel, &head, size, context);
            }
            Item::Ended(reason) => self.intake.closed = Some(reason),
            other => self.intake.note(&other),
        }
    }

    /// What has come to the instance itself.
    fn heard(&mut self, item: Item, presence: &Presence, context: &mut Context<'_>) {
        match item {
            Item::Frame(frame) => match Heard::of(frame, self.bus) {
                Heard::Request(request) if request.payload().len() > self.intake.payload_limit => {
                    let size = request.payload().len();
                    let head = &request.payload()[..HEAD_KEPT.min(size)];
                    self.oversized(Origin::Inbox, request.channel(), head, size, context);
                }
                Heard::Request(request) if self.stops => self.decline(request, context),
                Heard::Request(request) => self.frame(request, context),
                Heard::WhoTakes(question) => {
                    let description = presence.described(&question, self.state(), self.bus);
                    description.into_iter().for_each(|description| self.departures.note(description));
                }
                Heard::WhoIsThere(question) => {
                    let report = presence.reported(&question, &self.intake.tally.counters, self.bus);
                    report.into_iter().for_each(|report| self.departures.note(report));
                }
                Heard::Nothing => {}
                Heard::Unreadable => self.intake.tally.counters.unmatched.add(1),
            },
            // What is too large is a request: its channel stands before it.
            Item::Oversized { head, size, .. } => {
                if let Some(end) = memchr(b'\n', &head)
                    && let Some(channel) = self.bus.local(&head[..end])
                {
                    self.oversized(Origin::Inbox, channel, &head[end + 1..], size - end - 1, context);
                }
            }
            // Requesters have taken it for gone, and others may have come to know of it only now.
            Item::Gap(_) => self.announce(presence),
            Item::Ended(reason) => self.intake.closed = Some(reason),
            other => self.intake.note(&other),
        }
    }

    /// Tells all who ask for instances how this one stands.
    fn announce(&mut self, presence: &Presence) {
        let announcement = presence.announcement(self.state(), self.bus);
        announcement.into_iter().for_each(|announcement| self.departures.note(announcement));
    }

    /// The service finishes what has arrived, and leaves requests that come from now on to other instances.
    pub(super) fn stop(&mut self, sources: &mut Sources<'_>, deadline: Duration, context: &mut Context<'_>) {
        let outstanding = self.outstanding(sources.waiting());
        tracing::info!(outstanding, ?deadline, "a service stops: it takes nothing new, and finishes what has arrived");
        sources.stop();
        sources.take_own(context);
        self.take_own(sources, context);
        // Said once, also where the time for stopping is cut short.
        if !std::mem::replace(&mut self.stops, true) {
            self.announce(sources.presence);
        }
    }

    fn state(&self) -> State {
        if self.stops { State::Stopping } else { State::Serving }
    }

    fn decline(&mut self, request: Frame, context: &mut Context<'_>) {
        let Some(route) = self.intake.table.find(request.channel()) else { return };
        let (facts, format) = (self.intake.routes.at(route).facts(), self.intake.format);
        let answer = declined(request, PassedOn::Stopping, format, facts, 1, self.bus);
        self.answer(route, answer, context);
    }

    fn oversized(&mut self, origin: Origin, channel: &[u8], head: &[u8], size: usize, context: &mut Context<'_>) {
        let Some((route, rejection)) = self.intake.oversized(origin, channel, size) else { return };
        let (shared, facts) = (self.intake.shared(route), self.intake.routes.at(route).facts());
        let answer = oversized(head, now(), &rejection, self.intake.format, facts, shared, self.bus);
        self.answer(route, answer, context);
    }

    fn wait(&mut self, route: usize, frame: Frame, context: &mut Context<'_>) {
        let mut dropped = Vec::new();
        self.intake.wait(route, frame, |frame| dropped.push(frame));
        dropped.into_iter().for_each(|frame| self.dropped(route, frame, context));
    }

    /// Tells whoever waits for an answer that there will be none.
    fn dropped(&mut self, route: usize, frame: Frame, context: &mut Context<'_>) {
        let facts = self.intake.routes.at(route).facts();
        let answer = dropped(frame, self.intake.format, facts, self.intake.shared(route), self.bus);
        self.answer(route, answer, context);
    }

    /// Starts a frame that need not wait.
    #[inline]
    fn start(&mut self, route: usize, frame: Frame, context: &mut Context<'_>) {
        self.starting.set(self.intake.order_keys[route].of(frame.channel()), frame.arrived());
        if let Some(called) = self.call(route, None, frame, context) {
            self.ended(route, None, called, context);
        }
    }

    /// Starts a frame in its lane, and whatever may run in its place when it completes at once.
    fn start_in(&mut self, route: usize, mut lane: LaneId, mut frame: Frame, context: &mut Context<'_>) {
        while let Some(called) = self.call(route, Some(lane), frame, context)
            && self.ended(route, Some(lane), called, context)
            && let Some(next) = self.intake.finished(route, lane)
        {
            (lane, frame) = next;
        }
    }

    /// Calls the handler. `None` if that does not complete at once: it is held then, with its lane.
    #[inline]
    fn call(&mut self, route: usize, lane: Option<LaneId>, frame: Frame, context: &mut Context<'_>) -> Option<Called> {
        let format = self.intake.format;
        if self.spawns && self.intake.routes.at(route).options().spawn {
            let lane = self.hold(route, lane);
            self.spawned.start((route, lane), Arc::clone(self.calls).call(route, Arriving { frame, format }));
            return None;
        }
        let mut slot = self.slots.take().unwrap_or_else(|| self.calls.slot());
        // What has a lane is seen there.
        self.intake.polls(route, lane.map_or(self.starting.arrived, |_| Arrival::NEVER));
        let polled = slot.as_mut().begin((route, Arriving { frame, format }), context);
        self.intake.polls(route, Arrival::NEVER);
        match polled {
            Poll::Ready(called) => {
                self.slots.give_back(slot);
                Some(called)
            }
            Poll::Pending => {
                let lane = self.hold(route, lane);
                self.running.push(Running::new(slot, (route, lane)));
                None
            }
        }
    }

    /// The lane of what is being started, which does not complete at once.
    fn hold(&mut self, route: usize, lane: Option<LaneId>) -> LaneId {
        lane.unwrap_or_else(|| self.intake.started(route, self.starting.key(), self.starting.arrived))
    }

    /// Begins to carry out what a call asks for. `false` when its lane, or that of the order key, is held for longer.
    #[inline]
    fn ended(&mut self, route: usize, lane: Option<LaneId>, called: Called, context: &mut Context<'_>) -> bool {
        match called {
            Called::Settled(Ended::Returned(Outcome::Done)) => {
                self.intake.tally.counters.handler(route).handled.count();
                true
            }
            Called::Settled(ended) => {
                self.intake.tally.count(route, ended, None);
                true
            }
            Called::Open(open) => self.carry_out(route, lane, open, context),
        }
    }

    fn carry_out(&mut self, route: usize, lane: Option<LaneId>, open: Box<Open>, context: &mut Context<'_>) -> bool {
        let counters = self.intake.tally.counters.handler(route);
        if open.busy_micros() > 0 {
            counters.busy_micros.fetch_add(open.busy_micros().into(), Ordering::Relaxed);
        }
        if open.unreadable() > 0 {
            counters.unreadable.add(open.unreadable().into());
        }
        let kind = self.intake.routes[route].facts().kind();
        match open.step(kind, self.bus, || self.intake.shared(route)) {
            Step::Answer(ended, answer, open) => {
                self.intake.tally.count(route, ended, Some(open.delivery()));
                self.answer(route, answer, context);
            }
            Step::Publish(publishing) => {
                self.intake.tally.note_hops(route, publishing.hops());
                match self.departures.publish(route, *publishing, context) {
                    Published::Sent(sent) => self.sent(route, sent, context),
                    Published::InLine => {}
                    Published::Waits(publication) => {
                        let lane = self.hold(route, lane);
                        self.departures.hold(publication, lane);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// What a handler returned was published, or not: only now it is known how its call has ended.
    fn sent(&mut self, route: usize, sent: Sent, context: &mut Context<'_>) {
        let Sent { ended, answer, unsent, open } = sent;
        self.intake.tally.count(route, ended, Some(open.delivery()));
        self.intake.tally.unsent(route, &unsent);
        self.answer(route, answer, context);
    }

    fn answer(&mut self, route: usize, answer: Option<Parcel>, context: &mut Context<'_>) {
        if let Some(answer) = answer
            && let Some(Err(error)) = self.departures.answer(route, answer, context)
        {
            self.intake.tally.unanswered(route, &error);
        }
    }

    /// Something on its way has come so far, and whatever else has.
    pub(super) fn departed(&mut self, first: Departed<'a>, context: &mut Context<'_>) {
        let mut next = Some(first);
        for _ in 0..TOGETHER {
            let Some(departed) = next else { break };
            self.departs(departed, context);
            next = self.departures.come(context);
        }
    }

    fn departs(&mut self, departed: Departed<'a>, context: &mut Context<'_>) {
        match departed {
            Departed::InLine { publication, lane } => {
                let route = publication.route();
                self.departures.go_on(publication);
                self.next(route, lane, context);
            }
            Departed::Sent { route, lane, sent } => {
                self.sent(route, sent, context);
                if let Some(lane) = lane {
                    self.next(route, lane, context);
                }
            }
            Departed::Answered { route, result: Err(error) } => self.intake.tally.unanswered(route, &error),
            Departed::Noted(Err(error)) => {
                tracing::warn!(%error, "others could not be told of an instance; a request finds it, or that it is gone");
            }
            Departed::Answered { result: Ok(()), .. } | Departed::Noted(Ok(())) => {}
        }
    }

    /// A call that waited has ended, and whatever else has.
    pub(super) fn finished(&mut self, first: Finished<'a, Started, Called, Place>, context: &mut Context<'_>) {
        let mut next = Some(first);
        for _ in 0..TOGETHER {
            let Some(Finished { slot, place, output }) = next else { break };
            self.slots.give_back(slot);
            self.called(place, output, context);
            next = self.running.ended(context);
        }
    }

    pub(super) fn spawned_ended(&mut self, ended: SpawnedEnd<Place, Called>, context: &mut Context<'_>) {
        let SpawnedEnd { place, output } = ended;
        self.called(place, output.unwrap_or_else(|_| Called::Settled(Ended::Panicked)), context);
    }

    fn called(&mut self, (route, lane): Place, called: Called, context: &mut Context<'_>) {
        if self.ended(route, Some(lane), called, context) {
            self.next(route, lane, context);
        }
    }

    fn next(&mut self, route: usize, lane: LaneId, context: &mut Context<'_>) {
        if let Some((lane, frame)) = self.intake.finished(route, lane) {
            self.start_in(route, lane, frame, context);
        }
    }

    /// Whether nothing runs. What waits in a lane waits for something that does.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.departures.is_empty() && self.spawned.is_empty()
    }

    /// The time for stopping is over. So many have not even been looked at.
    pub(super) fn late(&self, stopping: Option<Stopping>, waiting: usize) -> ShutdownError {
        let deadline = stopping.map_or(Duration::ZERO, |stopping| stopping.deadline);
        ShutdownError::DeadlineMissed { abandoned: self.outstanding(waiting), handed_back: 0, deadline }
    }

    /// Messages that were taken and not finished.
    fn outstanding(&self, waiting: usize) -> usize {
        let running = self.running.len() + self.departures.len() + self.spawned.len();
        running + self.intake.waiting() + waiting
    }
}
