//! The worker of one queue: takes its tasks, has them handled, and settles them.
//!
//! | room | holds |
//! |--|--|
//! | `places` | the places of its handler: what runs in them, and what becomes of it |
//! | `pull` | the reader, and what of it is under way |
//! | `outbox` | settlements on their way to the server |
//! | `ages` | when what runs has arrived |
//! | `watchdog` | finds out that nothing comes |
//! | `noting` | how far tasks have come, on its way to the server |
//! | `question` | a call of the server beside the reader's |
//! | `chance` | chance, for pauses |
//!
//! It is a tokio task of its own beside the driver's. While a place is free it reads; what has ended travels with the next take, or by itself where
//! the reader waits. What decides is `policy`.

mod ages;
pub(super) mod chance;
mod noting;
mod outbox;
mod places;
mod pull;
mod question;
mod watchdog;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::coop::consume_budget};

use self::{
    chance::Chance,
    noting::Noting,
    outbox::Way,
    places::Places,
    pull::{Asked, Pull, Pulled},
    question::{Question, answer},
    watchdog::Watchdog,
};
use crate::{
    bus::{closing::Stage, handle::Bus},
    error::{QueueError, ShutdownError},
    route::entry::Route,
    serve::{
        call::Calls,
        driver::{Phase, Stopping, at_once, reached, sooner},
        ends::Ends,
        holdings::Holdings,
        journal::{About, Trouble},
        policy::{
            rounds::{ServerTime, wait_for},
            turns::Rotation,
            verdict::Policy,
        },
        service::SHUTDOWN_DEADLINE,
        tally::Tally,
    },
    time::{deadline_after, now},
    transport::{
        contract::Attachment,
        durable::{
            contract::{QueueSpec, Take, Taken, Waited},
            look::QueueCounts,
            task::{Entry, Settled},
        },
        events::BusEvent,
    },
};

/// The worker of one queue.
pub(super) struct Worker {
    pub(super) calls: Arc<dyn Calls>,
    pub(super) bus: Bus,
    /// Its handler, and the number of that.
    pub(super) route: (usize, &'static Route),
    pub(super) queue: QueueSpec,
    pub(super) rotation: Rotation,
    pub(super) policy: Policy,
    pub(super) ends: Ends,
    /// Where it hears of tasks that are cancelled.
    pub(super) control: Option<Attachment>,
    pub(super) instance: Arc<str>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) tally: Tally,
}

/// After the deadline of a shutdown, what was not finished has so long to be given back.
const FAREWELL: Duration = Duration::from_millis(500);
/// So many waits in a row that bring nothing, and bring it at once, are too many.
const EMPTY_WAITS: u32 = 8;
/// What is shorter is no wait.
const AT_ONCE: Duration = Duration::from_millis(5);
/// After a failure it is tried again after such pauses, which double. What is away may be back at any time, and connections have pauses of their own.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_AWAY: Duration = Duration::from_secs(1);
/// For fewer places it is not asked ahead: each question costs as much as some tasks.
const AHEAD: usize = 8;
/// So long a queue is well before what happens to its keys is told again.
const WELL_AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    /// # Cancel safety
    ///
    /// Dropping the future stops what runs; the tasks stay with the server until their leases end.
    pub(super) async fn run(
        self,
        phases: watch::Receiver<Phase>,
        stages: watch::Receiver<Stage>,
    ) -> Result<(), ShutdownError> {
        let Self { calls, bus, route, queue, rotation, policy, ends, control, instance, holdings, tally } = self;
        let pull = Pull::new(bus.clone(), queue.clone(), Arc::clone(&instance), Arc::clone(&holdings));
        let judges = (policy, ends);
        let places = Places::new(&bus, &queue, route, judges, Arc::clone(&holdings), &calls, tally);
        let noting = Noting::new(&bus, &queue, instance, Arc::clone(&places.reports));
        let course = Course {
            bus: &bus,
            queue: &queue,
            route: route.0,
            rotation,
            holdings: &holdings,
            pull,
            places,
            noting,
            settling: None,
            brought: Vec::new(),
            more: true,
            was_full: false,
            next_due: None,
            waits_since: now(),
            empty_waits: 0,
            watchdog: Watchdog::new(&bus, &queue),
            had_no_place: false,
            ahead: (route.1.options().concurrency / 2).max(AHEAD),
            is_paused: false,
            chance: Chance::new(),
            failures: 0,
            settle_again: None,
            gone_at: None,
            takes: true,
            closed: None,
        };
        let ended = course.run(phases, stages).await;
        // Until then it is listened to.
        drop(control);
        ended
    }
}

/// How far the worker is.
struct Course<'a> {
    bus: &'a Bus,
    queue: &'a QueueSpec,
    route: usize,
    rotation: Rotation,
    holdings: &'a Holdings,
    pull: Pull,
    places: Places<'a>,
    noting: Noting<'a>,
    /// Settlements that are on their way by themselves.
    settling: Option<Question<Vec<Settled>>>,
    /// What a wait has brought, until it is known whether something better is there.
    brought: Vec<Entry>,
    /// Whether more may be there to be taken at once.
    more: bool,
    /// Whether the last take brought as much as it was for.
    was_full: bool,
    /// When the next delayed task is due, as the last take has said.
    next_due: Option<Instant>,
    waits_since: Instant,
    empty_waits: u32,
    watchdog: Watchdog<'a>,
    /// Whether nothing could be taken when it was to be.
    had_no_place: bool,
    /// While so many places are free, more is taken before what was taken has begun: the server gives out as this instance works.
    ahead: usize,
    /// Whether the queue is, as the server last said.
    is_paused: bool,
    chance: Chance,
    /// In a row.
    failures: u32,
    /// Settlements are not sent by themselves before that.
    settle_again: Option<Instant>,
    /// When the keys were last found to be gone.
    gone_at: Option<Instant>,
    /// Whether it may take.
    takes: bool,
    /// Why the bus has given up, once it has.
    closed: Option<String>,
}

/// How the worker is to end, where it is.
#[derive(Default)]
struct End {
    stopping: Option<Stopping>,
    /// How long its bus leaves it.
    closing: Option<Stopping>,
}

/// What comes after a step.
enum Next {
    GoesOn,
    /// It is to end within this time.
    Stops(Duration),
    IsLate,
    IsDropped,
}

impl Course<'_> {
    async fn run(
        mut self,
        mut phases: watch::Receiver<Phase>,
        mut stages: watch::Receiver<Stage>,
    ) -> Result<(), ShutdownError> {
        let mut end = End::default();
        loop {
            self.ask();
            self.settle();
            if end.stopping.is_some() && self.is_done() {
                break;
            }
            match self.step(&mut phases, &mut stages, &mut end).await {
                Next::GoesOn => {}
                Next::Stops(deadline) => {
                    end.stopping = Some(Stopping::within(deadline).unless_sooner(end.closing));
                    self.rest();
                }
                Next::IsLate => return Err(self.late(end.stopping).await),
                Next::IsDropped => return Ok(()),
            }
            consume_budget().await;
        }
        self.places.judge(None);
        self.closed.map_or(Ok(()), |reason| Err(ShutdownError::BusClosed { reason }))
    }

    /// Waits for what is next, and does it.
    async fn step(
        &mut self,
        phases: &mut watch::Receiver<Phase>,
        stages: &mut watch::Receiver<Stage>,
        end: &mut End,
    ) -> Next {
        let (told, stalls) = (self.places.tally.due().map(Into::into), self.stalls_at());
        let (again, judges, noted) =
            (self.settle_again.map(Into::into), self.places.judges_at.map(Into::into), self.noting.due());
        tokio::select! {
            // What ends makes room for what waits, and comes before anything new.
            biased;
            () = reached(end.stopping.map(|stopping| stopping.at)) => return Next::IsLate,
            () = reached(told) => self.places.tally.tell(),
            phase = phases.changed() => match (phase, *phases.borrow()) {
                (Err(_), _) | (Ok(()), Phase::Dropped) => return Next::IsDropped,
                (Ok(()), Phase::Stopping(deadline)) => return Next::Stops(deadline),
                (Ok(()), Phase::Quiet) => self.rest(),
                (Ok(()), Phase::Serving) => {}
            },
            Ok(()) = stages.changed() => {
                let asked = sooner(&mut end.closing, *stages.borrow(), end.stopping);
                return asked.map_or(Next::GoesOn, Next::Stops);
            }
            () = self.holdings.has_news() => self.places.drop_lost(),
            Some(finished) = self.places.running.next() => {
                at_once(|context| self.places.finished(finished, context)).await;
            }
            Some(ended) = self.places.spawned.next() => self.places.spawned_ended(ended),
            settled = answer(&mut self.settling) => self.settled(settled),
            pulled = self.pull.next() => {
                self.pulled(pulled);
                if self.closed.is_some() && end.stopping.is_none() {
                    return Next::Stops(SHUTDOWN_DEADLINE);
                }
            }
            noted = self.noting.answer() => self.noting.answered(noted, self.holdings),
            () = reached(noted) => self.noting.send(),
            () = reached(judges) => self.places.judge(Some(now())),
            counts = self.watchdog.counts() => self.looked(counts),
            () = reached(stalls) => self.watchdog.look(),
            // Only so that settlements are tried again.
            () = reached(again) => self.settle_again = None,
            // What is asked for is on its way by now.
            () = std::future::ready(()), if self.takes && self.places.has_ready() => {
                let is_disturbed = || phases.has_changed().unwrap_or(true);
                let may_ask = self.asks_ahead() && self.pull.may_take();
                let enough = if may_ask { self.pull.places() + self.ahead } else { usize::MAX };
                at_once(|context| self.places.begin(context, enough, is_disturbed)).await;
            }
        }
        Next::GoesOn
    }

    /// Has the reader do what is to be done next.
    fn ask(&mut self) {
        if !self.takes || !self.pull.may_take() {
            return;
        }
        // Others are for what is under way already.
        let free = self.places.free().saturating_sub(self.pull.places());
        let is_ahead = self.places.has_ready() || !self.pull.is_idle();
        if is_ahead && !(self.asks_ahead() && free >= self.ahead) {
            return;
        }
        if free == 0 {
            self.had_no_place = true;
            return;
        }
        if std::mem::take(&mut self.had_no_place) {
            self.watchdog.begins();
        }
        if self.more || self.places.outbox.has_waiting() {
            let take = self.rotation.look(free, &[]);
            return self.take(take, free, true);
        }
        if self.is_paused {
            return self.pause_with_queue();
        }
        let now = now();
        let until_due = self.next_due.map(|due| due.saturating_duration_since(now));
        self.waits_since = now;
        // What is due by then is found by the look behind it.
        self.more = true;
        self.pull.wait(wait_for(until_due));
    }

    /// Whether more is asked for before what is here has begun, or while other things are asked for.
    fn asks_ahead(&self) -> bool {
        self.more && (self.was_full || self.pull.is_idle())
    }

    /// Waits until the queue goes on.
    fn pause_with_queue(&mut self) {
        self.waits_since = now();
        self.more = true;
        self.pull.rest(wait_for(None));
    }

    /// The server has said whether the queue is paused.
    fn is_queue_paused(&mut self, is_paused: bool) {
        if std::mem::replace(&mut self.is_paused, is_paused) != is_paused {
            let queue = self.queue.name.template;
            let what = if is_paused { "is paused: an instance takes nothing from it" } else { "goes on" };
            tracing::info!(queue, "a queue {what}");
            self.watchdog.is_well();
        }
    }

    fn take(&mut self, mut take: Take, places: usize, begins: bool) {
        take.settlements = self.places.outbox.send(Way::WithTake);
        self.pull.take(take, places, begins);
    }

    /// Sends settlements by themselves, where no take carries them.
    fn settle(&mut self) {
        let is_time = self.settle_again.is_none();
        if self.settling.is_some() || self.pull.is_taking() || !is_time || !self.places.outbox.has_waiting() {
            return;
        }
        let settlements = self.places.outbox.send(Way::Alone);
        let (bus, queue) = (self.bus.clone(), self.queue.name.clone());
        self.settling = Some(Box::pin(async move { bus.durable().settle(&queue, settlements).await }));
    }

    fn settled(&mut self, settled: Result<Vec<Settled>, QueueError>) {
        match settled {
            Ok(settled) => {
                self.failures = 0;
                self.arrived(Way::Alone, &settled);
            }
            Err(error) => {
                self.places.outbox.lost(Way::Alone);
                self.failed(&error);
                if self.closed.is_none() {
                    self.settle_again = Some(now() + self.pause(&error));
                }
            }
        }
    }

    /// The server has carried out settlements.
    fn arrived(&mut self, way: Way, settled: &[Settled]) {
        let arrived = self.places.outbox.arrived(way, settled);
        self.holdings.release(arrived.holdings);
        self.places.were_stale(arrived.stale);
    }

    fn pulled(&mut self, pulled: Pulled) {
        match pulled {
            Pulled::Taken(taken, asked) => self.taken(taken, asked),
            Pulled::Waited(waited) => self.waited(waited),
            Pulled::Rested(Ok(())) => {
                self.failures = 0;
                self.came_empty();
            }
            Pulled::NotTaken(error) => {
                self.places.outbox.lost(Way::WithTake);
                // They are the instance's all the same.
                let brought = std::mem::take(&mut self.brought);
                self.begin_with(brought, Vec::new(), now());
                self.not_pulled(error);
            }
            Pulled::NotWaited(error) => {
                self.holdings.call_ended(&[], now());
                self.not_pulled(error);
            }
            Pulled::Declared(Ok(())) => self.more = true,
            Pulled::Declared(Err(error)) | Pulled::Rested(Err(error)) => self.not_pulled(error),
            Pulled::PauseEnded => {
                self.more = true;
                if self.gone_at.is_some() && self.failures > 0 && self.takes {
                    self.pull.declare();
                }
            }
        }
    }

    fn taken(&mut self, taken: Taken, Asked { at: asked, places }: Asked) {
        let Taken { settled, entries, is_paused, next_due, now: server_now } = taken;
        self.failures = 0;
        self.arrived(Way::WithTake, &settled);
        self.places.server_time = Some(ServerTime::new(server_now, asked));
        self.next_due = next_due.map(|due| asked + due);
        let mut brought = std::mem::take(&mut self.brought);
        self.is_queue_paused(is_paused);
        if is_paused {
            (self.more, self.was_full) = (false, false);
            brought.extend(entries);
            return self.places.refuse(brought, asked + self.queue.lease);
        }
        self.was_full = !entries.is_empty() && entries.len() + brought.len() >= places;
        self.more = self.was_full;
        self.begin_with(brought, entries, asked);
    }

    fn waited(&mut self, Waited { entries, is_paused }: Waited) {
        self.failures = 0;
        let now = now();
        self.is_queue_paused(is_paused);
        if entries.is_empty() {
            self.holdings.call_ended(&[], now);
            return self.came_empty();
        }
        self.empty_waits = 0;
        if is_paused {
            return self.places.refuse(entries, now + self.queue.lease);
        }
        let free = self.places.free();
        let look = self.rotation.look(free, &entries);
        if look.further.1 > 0 && self.takes {
            // Something better may be there, and starts before it.
            self.brought = entries;
            return self.take(look, free, false);
        }
        self.begin_with(entries, Vec::new(), now);
    }

    /// A wait has brought nothing.
    fn came_empty(&mut self) {
        let is_hasty = now().saturating_duration_since(self.waits_since) < AT_ONCE;
        self.empty_waits = if is_hasty { self.empty_waits + 1 } else { 0 };
        if self.empty_waits > EMPTY_WAITS && self.takes {
            self.pull.pause(FIRST_PAUSE);
        }
    }

    /// Tasks are here: what has a place begins, and the rest goes back.
    fn begin_with(&mut self, brought: Vec<Entry>, taken: Vec<Entry>, asked: Instant) {
        if !brought.is_empty() || !taken.is_empty() {
            self.watchdog.is_well();
        }
        let choice = self.rotation.choose(self.places.free(), brought, taken);
        self.places.arrived(choice, asked + self.queue.lease);
        if !self.takes {
            self.places.hand_back_ready();
        }
    }

    fn not_pulled(&mut self, error: QueueError) {
        self.watchdog.begins();
        self.failed(&error);
        if self.closed.is_some() || !self.takes {
            return;
        }
        let is_gone = matches!(error, QueueError::Gone { .. });
        if is_gone {
            self.tell_gone(&error);
        }
        // At once for the first time.
        if is_gone && self.failures == 1 {
            return self.pull.declare();
        }
        let pause = self.pause(&error);
        self.pull.pause(pause);
    }

    fn failed(&mut self, error: &QueueError) {
        self.failures = self.failures.saturating_add(1);
        if let QueueError::Closed { reason, .. } = error {
            self.closed = Some(reason.clone());
            return;
        }
        if !matches!(error, QueueError::Gone { .. }) {
            let about = About::default().because(&error.to_string());
            self.places.tally.note(self.route, Trouble::NotReached, 1, about);
        }
    }

    /// Between two attempts.
    fn pause(&mut self, error: &QueueError) -> Duration {
        let is_away = matches!(error, QueueError::Gone { .. } | QueueError::NotConnected { .. });
        let longest = if is_away { LONGEST_AWAY } else { LONGEST_PAUSE };
        self.chance.pause(FIRST_PAUSE, longest, self.failures.saturating_sub(1))
    }

    fn tell_gone(&mut self, error: &QueueError) {
        let now = now();
        let before = self.gone_at.replace(now);
        if before.is_none_or(|before| now.saturating_duration_since(before) > WELL_AGAIN) {
            let queue = self.queue.name.template;
            tracing::error!(queue, %error, "the keys of a queue were gone, and its tasks with them; they are made again");
            self.bus.tell(BusEvent::QueueGone { queue, reason: error.to_string() });
        }
    }

    /// When it has taken nothing for too long, unless it has no place.
    fn stalls_at(&self) -> Option<tokio::time::Instant> {
        let may_stall = self.takes && !self.is_paused && self.pull.is_asking() && self.places.free() > 0;
        if may_stall { self.watchdog.stalls_at() } else { None }
    }

    fn looked(&mut self, counts: Result<QueueCounts, QueueError>) {
        if !self.watchdog.is_stalled(counts, self.takes && !self.is_paused) {
            return;
        }
        if self.pull.is_taking() {
            self.places.outbox.lost(Way::WithTake);
        }
        // What a wait has brought is the instance's still, and is found as what nobody holds.
        self.brought.clear();
        self.pull.renew();
        self.more = true;
    }

    /// Takes nothing more, and gives back what has not begun.
    fn rest(&mut self) {
        if std::mem::replace(&mut self.takes, false) {
            let outstanding = self.places.len();
            tracing::info!(
                queue = self.queue.name.template,
                outstanding,
                "an instance takes nothing more from a queue, and finishes what it has begun"
            );
        }
        self.pull.wake();
        self.pull.end_pause();
        self.places.hand_back_ready();
    }

    fn is_done(&self) -> bool {
        if self.closed.is_some() {
            // Nothing can be settled any more.
            return self.places.len() == 0;
        }
        self.pull.is_idle() && self.brought.is_empty() && self.places.is_done()
    }

    /// The time for stopping is over: what runs is given back, as far as the server hears of it.
    async fn late(mut self, stopping: Option<Stopping>) -> ShutdownError {
        let deadline = stopping.map_or(Duration::ZERO, |stopping| stopping.deadline);
        let unsettled = self.places.outbox.len();
        let given_up = self.places.give_up();
        self.settle_again = None;
        let until = deadline_after(FAREWELL);
        while self.closed.is_none() && !self.is_done() {
            self.settle();
            tokio::select! {
                biased;
                () = reached(Some(until)) => break,
                settled = answer(&mut self.settling) => match settled {
                    Ok(settled) => self.arrived(Way::Alone, &settled),
                    // There is no time for another attempt.
                    Err(_) => break,
                },
                pulled = self.pull.next() => self.pulled(pulled),
            }
        }
        let left = if self.closed.is_some() { usize::MAX } else { self.places.outbox.len() };
        let handed_back = given_up.saturating_sub(left);
        ShutdownError::DeadlineMissed { abandoned: given_up + unsettled, handed_back, deadline }
    }
}
