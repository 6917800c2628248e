//! The places of a queue's handler: what runs in them, and what becomes of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    bus::handle::Bus,
    error::Rejection,
    handler::outcome::{Ended, Outcome, Rule},
    message::{
        delivery::Delivery,
        lease::{Lease, Task},
        progress::Reports,
    },
    route::entry::Route,
    serve::{
        call::{Calls, Job},
        ends::{Ends, Said},
        holdings::{Brought, HoldingId, Holdings, Judged},
        journal::{About, Trouble},
        lanes::Load,
        policy::{
            rounds::ServerTime,
            turns::Choice,
            verdict::{Admission, How, Moment, OnceBefore, Policy, admit},
        },
        settlement::{Open, Worked},
        slots::{Finished, Running, Slots},
        spawned::{Spawned, SpawnedEnd},
        tally::Tally,
        waiting::Waiting,
        work::{ages::Ages, chance::Chance, outbox::Outbox},
    },
    time::{Arrival, now},
    transport::durable::{
        contract::QueueSpec,
        task::{Entry, NewTask, OnceKey, Verdict},
    },
};

/// The places of a queue's handler.
pub(super) struct Places<'a> {
    bus: &'a Bus,
    queue: &'a QueueSpec,
    number: usize,
    route: &'static Route,
    policy: Policy,
    ends: Ends,
    holdings: Arc<Holdings>,
    calls: &'a Arc<dyn Calls>,
    slots: Slots<'a, Job, Worked>,
    pub(super) running: Waiting<Running<'a, Job, Worked, Place>>,
    pub(super) spawned: Spawned<Place, Worked>,
    /// Taken and not begun.
    ready: VecDeque<Ready>,
    ages: Ages,
    pub(super) outbox: Outbox,
    pub(super) tally: Tally,
    chance: Chance,
    /// Absent until the server has said what time it is.
    pub(super) server_time: Option<ServerTime>,
    /// Of handlers that may run twice: nobody looks into it.
    no_key: Key,
    pub(super) reports: Arc<Reports>,
    /// When it is known why tasks were settled too late.
    pub(super) judges_at: Option<Instant>,
}

type Key = Arc<Mutex<Option<OnceKey>>>;

struct Ready {
    entry: Entry,
    holding: Option<HoldingId>,
    lease: Lease,
    arrived: Instant,
}

/// A task that runs.
pub(super) struct Place {
    /// Without what only the handler needs.
    entry: Entry,
    holding: Option<HoldingId>,
    once: Key,
    /// Among those that wait.
    age: u64,
}

impl<'a> Places<'a> {
    pub(super) fn new(
        bus: &'a Bus,
        queue: &'a QueueSpec,
        (number, route): (usize, &'static Route),
        (policy, ends): (Policy, Ends),
        holdings: Arc<Holdings>,
        calls: &'a Arc<dyn Calls>,
        tally: Tally,
    ) -> Self {
        let news = holdings.news();
        Self {
            bus,
            queue,
            number,
            route,
            policy,
            ends,
            holdings,
            calls,
            slots: Slots::new(),
            running: Waiting::new(),
            spawned: Spawned::new(),
            ready: VecDeque::new(),
            ages: Ages::default(),
            outbox: Outbox::default(),
            tally,
            chance: Chance::new(),
            server_time: None,
            no_key: Key::default(),
            reports: Reports::new(news),
            judges_at: None,
        }
    }

    /// So many tasks more may be taken.
    pub(super) fn free(&self) -> usize {
        self.route.options().concurrency.saturating_sub(self.len())
    }

    /// Tasks that are taken, and have not ended.
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.spawned.len() + self.ready.len()
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether nothing runs, and the server knows of all that has ended.
    pub(super) fn is_done(&self) -> bool {
        self.len() == 0 && self.outbox.is_empty()
    }

    /// Tasks have arrived: some to be begun, and others to be given back. Their leases end then if they are not renewed.
    pub(super) fn arrived(&mut self, Choice { start, back }: Choice, ends: Instant) {
        let arrived = now();
        let count = start.len();
        let all: Vec<Entry> = start.into_iter().chain(back).collect();
        if self.queue.at_most_once {
            self.holdings.call_ended(&[], ends);
            let lease = |entry: &Entry| Lease::new(entry.token(), ends);
            self.ready.extend(all.into_iter().map(|entry| {
                let lease = lease(&entry);
                Ready { entry, holding: None, lease, arrived }
            }));
            return;
        }
        let Brought { held, is_any_lost } = self.holdings.call_ended(&all, ends);
        for (index, (entry, (holding, lease))) in all.into_iter().zip(held).enumerate() {
            if index < count {
                self.ready.push_back(Ready { entry, holding: Some(holding), lease, arrived });
            } else {
                self.settle(&entry, None, Some(holding), How::Displaced, Said::default());
            }
        }
        if is_any_lost {
            self.drop_lost();
        }
    }

    /// Tasks were given out when the queue was paused already: they go back. Of a queue that delivers at most once they cannot, and are begun.
    pub(super) fn refuse(&mut self, entries: Vec<Entry>, ends: Instant) {
        let (start, back) = if self.queue.at_most_once { (entries, Vec::new()) } else { (Vec::new(), entries) };
        self.arrived(Choice { start, back }, ends);
    }

    /// Begins with what has arrived, as long as nothing better is to be done, or until so many places are free.
    pub(super) fn begin(&mut self, context: &mut Context<'_>, enough: usize, is_disturbed: impl Fn() -> bool) {
        while let Some(ready) = self.ready.pop_front() {
            self.start(ready, context);
            if is_disturbed() || self.free() >= enough {
                break;
            }
        }
        self.note_load();
    }

    fn start(&mut self, Ready { entry, holding, lease, arrived }: Ready, context: &mut Context<'_>) {
        let facts = self.route.facts();
        let time = if entry.expires_at.is_some() { self.server_now() } else { 0 };
        match admit(&entry, facts.name(), facts.version(), time) {
            Admission::Run => {}
            Admission::Unknown => {
                self.is_unknown(&entry);
                return self.settle(&entry, None, holding, How::Unknown, Said::default());
            }
            Admission::Expired => {
                self.tally.expired_task(self.number, About::channel(entry.at.channel.as_bytes()));
                return self.settle(&entry, None, holding, How::Expired, Said::default());
            }
        }
        let once = if self.runs_once() { Key::default() } else { Arc::clone(&self.no_key) };
        let announces = self.ends.announces();
        let mut kept = Entry {
            at: entry.at.clone(),
            id: Arc::clone(&entry.id),
            name: if announces { entry.name.clone() } else { None },
            version: entry.version,
            payload: Bytes::new(),
            record: entry.record.clone(),
            unique: entry.unique.clone(),
            expires_at: entry.expires_at,
        };
        let lease = if self.queue.at_most_once { lease } else { lease.reporting(&self.reports) };
        let queue = self.queue.name.clone();
        let task = Task { queue, entry, lease, once: Arc::clone(&once) };
        let delivery = Delivery::of_task(task, self.bus.config().format);
        if announces {
            kept.payload = delivery.share_payload();
        }
        let job = Job { delivery, is_done: self.queue.at_most_once };
        let mut place = Place { entry: kept, holding, once, age: 0 };
        if self.route.options().spawn {
            self.waits(&mut place, arrived);
            return self.spawned.start(place, Arc::clone(self.calls).work(self.number, job));
        }
        let mut slot = self.slots.take().unwrap_or_else(|| self.calls.task_slot(self.number));
        self.tally.counters.handler(self.number).load.polls(Arrival::of(arrived));
        if let Some(holding) = holding {
            self.holdings.polls(holding);
        }
        let polled = slot.as_mut().begin(job, context);
        self.holdings.polled();
        self.tally.counters.handler(self.number).load.polls(Arrival::NEVER);
        match polled {
            Poll::Ready(worked) => {
                self.slots.give_back(slot);
                self.ended(place, worked);
            }
            Poll::Pending => {
                self.waits(&mut place, arrived);
                self.running.push(Running::new(slot, place));
            }
        }
    }

    fn runs_once(&self) -> bool {
        matches!(self.route.options().work.redelivery, Some(crate::route::entry::Redelivery::Once { .. }))
    }

    /// A call does not complete at once.
    fn waits(&mut self, place: &mut Place, arrived: Instant) {
        place.age = self.ages.begin(arrived);
        if let Some(holding) = place.holding {
            self.holdings.begun(holding, now());
        }
    }

    /// Takes what has ended, this one and whatever else has.
    pub(super) fn finished(&mut self, first: Finished<'a, Job, Worked, Place>, context: &mut Context<'_>) {
        let mut next = Some(first);
        // As many as may have been woken together; others are taken with the next.
        for _ in 0..256 {
            let Some(Finished { slot, place, output }) = next else { break };
            self.slots.give_back(slot);
            self.ages.end(place.age);
            self.ended(place, output);
            next = self.running.ended(context);
        }
        self.note_load();
    }

    pub(super) fn spawned_ended(&mut self, SpawnedEnd { place, output }: SpawnedEnd<Place, Worked>) {
        self.ages.end(place.age);
        match output {
            Ok(worked) => self.ended(place, worked),
            Err(error) if error.is_cancelled() => self.was_lost(place),
            Err(_) => self.ended(place, Worked::of(Ended::Panicked)),
        }
        self.note_load();
    }

    fn ended(&mut self, place: Place, worked: Worked) {
        let Worked { ended, follow_ups, result, hops, unsent, open, unreadable } = worked;
        self.tally.note_hops(self.number, hops);
        if unreadable > 0 {
            self.tally.counters.handler(self.number).unreadable.add(unreadable.into());
        }
        self.tally.unsent(self.number, &unsent);
        let how = how(&ended, follow_ups);
        let said = if self.ends.are_plain() { Said::default() } else { said(&ended, &how, result) };
        if matches!(how, How::Unknown) {
            self.is_unknown(&place.entry);
        } else {
            self.tally.count(self.number, ended, open.as_deref().map(Open::delivery));
        }
        let once = place.once.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.settle(&place.entry, once, place.holding, how, said);
    }

    /// Puts what is to become of a task on its way.
    fn settle(&mut self, entry: &Entry, once: Option<OnceKey>, holding: Option<HoldingId>, how: How, said: Said) {
        if self.queue.at_most_once {
            return;
        }
        let moment = match &how {
            How::Succeeded { .. } => Moment { now: 0, random: 0 },
            _ => Moment { now: self.server_now(), random: self.chance.next() },
        };
        let mut settlement = self.policy.settle(entry, once, how, moment);
        let said = Said { progress: self.reports.close(&entry.at), ..said };
        let (beside, failure) = self.ends.beside(entry, &settlement.verdict, said);
        settlement.beside = beside;
        let about = || About::channel(entry.at.channel.as_bytes()).of(&entry.id);
        match &settlement.verdict {
            Verdict::Dead { record, .. } => {
                let about = about().because(record.error.as_deref().unwrap_or_default());
                self.tally.note(self.number, Trouble::Dead, 1, about);
                self.holdings.buried();
            }
            Verdict::Park { .. } => self.tally.note(self.number, Trouble::Parked, 1, about()),
            Verdict::Done { .. } | Verdict::Again { .. } | Verdict::Discarded | Verdict::Expired => {}
        }
        if let Some(failure) = failure {
            self.tally.note(self.number, Trouble::Unannounced, 1, about().because(&failure));
        }
        self.outbox.add(settlement, holding);
    }

    fn is_unknown(&mut self, entry: &Entry) {
        let name = entry.name.as_deref().unwrap_or(self.route.facts().name());
        let version = entry.version.map_or_else(String::new, |version| format!(", version {version}"));
        let about = About::channel(entry.at.channel.as_bytes()).because(&format!("it is a {name}{version}"));
        self.tally.note(self.number, Trouble::Unknown, 1, about);
    }

    /// Stops what was lost: another instance may have it.
    pub(super) fn drop_lost(&mut self) {
        self.judge(Some(now()));
        let lost = self.holdings.take_lost();
        if lost.is_empty() {
            return;
        }
        let is_lost = |holding: Option<HoldingId>| holding.is_some_and(|holding| lost.contains(&holding));
        let mut stopped = Vec::new();
        for running in self.running.take() {
            if running.place().is_some_and(|place| is_lost(place.holding)) {
                stopped.extend(running.cancel());
            } else {
                self.running.push(running);
            }
        }
        for place in stopped {
            self.ages.end(place.age);
            self.was_lost(place);
        }
        let gone: VecDeque<Ready>;
        (gone, self.ready) = self.ready.drain(..).partition(|ready: &Ready| is_lost(ready.holding));
        let gone = || gone.iter().filter_map(|ready| ready.holding);
        let cancelled = gone().filter(|holding| self.holdings.is_cancelled(*holding)).count();
        self.tally.cancelled_tasks(self.number, cancelled as u64);
        self.holdings.let_go(gone());
        // They end at their next await.
        self.spawned.cancel(|place| is_lost(place.holding));
        self.note_load();
    }

    fn was_lost(&mut self, place: Place) {
        self.reports.close(&place.entry.at);
        if place.holding.is_some_and(|holding| self.holdings.is_cancelled(holding)) {
            self.tally.cancelled_tasks(self.number, 1);
        } else {
            self.tally.lost(self.number, 1, About::channel(place.entry.at.channel.as_bytes()));
        }
        self.holdings.let_go(place.holding);
    }

    /// Gives back what has not begun.
    pub(super) fn hand_back_ready(&mut self) {
        for Ready { entry, holding, .. } in std::mem::take(&mut self.ready) {
            self.hand_back(&entry, None, holding);
        }
        self.note_load();
    }

    /// The time is over: what runs is stopped, and given back. How many that were.
    pub(super) fn give_up(&mut self) -> usize {
        let count = self.len();
        self.hand_back_ready();
        let running: Vec<Place> = self.running.take().filter_map(Running::cancel).collect();
        let spawned = self.spawned.give_up();
        for place in running.into_iter().chain(spawned) {
            self.ages.end(place.age);
            let once = place.once.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.hand_back(&place.entry, once, place.holding);
        }
        self.note_load();
        count
    }

    fn hand_back(&mut self, entry: &Entry, once: Option<OnceKey>, holding: Option<HoldingId>) {
        self.tally.counters.handler(self.number).handed_back.add(1);
        self.settle(entry, once, holding, How::HandedBack, Said::default());
    }

    /// Settlements did not count, because their tasks were not the instance's any more.
    pub(super) fn were_stale(&mut self, holdings: Vec<HoldingId>) {
        if !holdings.is_empty() {
            let now = now();
            self.holdings.were_stale(holdings, now);
            self.judge(Some(now));
        }
    }

    /// Counts and tells what is known by now of those that were settled too late; all of them where it is `None`.
    pub(super) fn judge(&mut self, now: Option<Instant>) {
        let Judged { cancelled, lost, next } = self.holdings.judged(now);
        self.judges_at = next;
        self.tally.cancelled_tasks(self.number, cancelled);
        if lost > 0 {
            self.tally.lost(self.number, lost, About::default());
        }
    }

    /// By the server's clock, in milliseconds.
    fn server_now(&self) -> u64 {
        self.server_time.map_or_else(crate::time::unix_millis, |time| time.at(now()))
    }

    fn note_load(&self) {
        let running = self.running.len() + self.spawned.len();
        let load = Load { running, waiting: self.ready.len(), oldest: self.ages.oldest() };
        self.tally.counters.handler(self.number).load.note(load);
    }
}

/// What an attempt has said of itself, where that is wanted.
fn said(ended: &Ended, how: &How, result: Option<Vec<u8>>) -> Said {
    let typed = match ended {
        Ended::Returned(Outcome::Failed(failure) | Outcome::Refused(failure) | Outcome::Ruled(failure)) => {
            failure.typed().map(<[u8]>::to_vec)
        }
        _ => None,
    };
    match how {
        How::Succeeded { .. } => Said { result, ..Said::default() },
        How::Failed { error, .. } => Said { result: typed, error: Some(error.clone()), progress: None },
        _ => Said::default(),
    }
}

/// What the policy wants to know of how a call ended.
fn how(ended: &Ended, follow_ups: Vec<NewTask>) -> How {
    let retry = |error: &str| How::Failed { rule: Rule::Retry, error: error.to_owned() };
    match ended {
        Ended::Returned(outcome) => match outcome {
            Outcome::Done | Outcome::Send(_) | Outcome::Filtered => How::Succeeded { follow_ups },
            Outcome::Failed(failure) | Outcome::Refused(failure) => retry(failure.with_causes()),
            Outcome::Ruled(failure) => How::Failed { rule: failure.rule(), error: failure.with_causes().to_owned() },
            Outcome::DoneBefore => How::Once(OnceBefore::Done),
            Outcome::Unfinished => How::Once(OnceBefore::Unfinished),
            Outcome::Elsewhere => How::Once(OnceBefore::Elsewhere),
            Outcome::Rejected(rejection) => match **rejection {
                // The payload says more of itself than its entry did.
                Rejection::NewerVersion { .. } | Rejection::WrongType { .. } => How::Unknown,
                _ => How::Undecodable { error: rejection.to_string() },
            },
            Outcome::Expired => retry("a layer has left it out"),
        },
        Ended::Panicked => How::Panicked,
        Ended::TimedOut => How::TimedOut,
        Ended::Cancelled | Ended::LeftToOthers => retry("it was cancelled"),
    }
}
