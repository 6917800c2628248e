//! The one task of a service: takes frames, calls handlers, settles outcomes.
//!
//! Everything that waits is in one of three places, all bounded: the inbox, the handlers' lanes, the set of running calls.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::watch,
    task::{Id, JoinError, JoinSet, block_in_place},
    time::{Instant, sleep_until},
};

use crate::{
    bus::Bus,
    codec::contract::Format,
    dispatch::{LaneId, Lanes, Waiting},
    error::{Rejection, ShutdownError},
    handler::Router,
    layer::Layers,
    message::delivery::Delivery,
    outcome::Outcome,
    route::{entry::Route, table::RouteTable},
    service::{
        SHUTDOWN_DEADLINE,
        call::{Ended, Finished, Running, Slots, call},
        stats::Counters,
    },
    serving::Options,
    transport::{
        contract::Attachment,
        events::BusEvent,
        frame::Frame,
        inbox::{Inbox, Item},
    },
};

/// What the service's owner wants of the driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Serving,
    /// Finish what has arrived, within this time.
    Stopping(Duration),
}

/// Items taken out of the inbox with one lock.
const BATCH: usize = 256;

pub(crate) struct Driver<R> {
    router: Arc<R>,
    layers: Arc<Layers>,
    bus: Bus,
    inbox: Arc<Inbox>,
    attachment: Attachment,
    intake: Intake,
}

/// Decides what happens to an item, without calling anything.
struct Intake {
    table: RouteTable,
    routes: &'static [Route],
    /// For each route, the token of the name that it is subscribed to.
    tokens: Vec<u32>,
    lanes: Vec<Lanes<Frame>>,
    counters: Arc<Counters>,
    payload_limit: usize,
    format: Format,
    /// Where it is told that a handler falls behind.
    bus: Bus,
    /// The handler that was last found full, where nothing is dropped: no item is taken as long as it is. Nothing else comes
    /// meanwhile, so there is one at most.
    full: Option<usize>,
    /// Why the bus has given up, once it has.
    closed: Option<String>,
}

impl Waiting for Frame {
    fn size(&self) -> usize {
        Self::size(self)
    }
}

impl<R: Router> Driver<R> {
    pub(crate) fn new(
        router: R,
        options: Options,
        bus: Bus,
        inbox: Arc<Inbox>,
        attachment: Attachment,
        tokens: Vec<u32>,
        counters: Arc<Counters>,
    ) -> Self {
        let Options { overflow, bounds, layers } = options;
        let lanes = R::ROUTES.iter().map(|route| Lanes::new(route.options().concurrency, bounds, overflow)).collect();
        let (payload_limit, format) = (bus.config().payload_limit, bus.config().format);
        let intake = Intake {
            table: R::table(),
            routes: R::ROUTES,
            tokens,
            lanes,
            counters,
            payload_limit,
            format,
            bus: bus.clone(),
            full: None,
            closed: None,
        };
        let router = Arc::new(router);
        let layers = Arc::new(Layers::new(&router, layers));
        Self { router, layers, bus, inbox, attachment, intake }
    }

    pub(crate) async fn run(self, mut phases: watch::Receiver<Phase>) -> Result<(), ShutdownError> {
        let Self { router, layers, bus, inbox, attachment, intake } = self;
        let mut engine = Engine {
            intake,
            make: |route, delivery| call(&*router, &layers, &bus, route, delivery),
            slots: Slots::new(),
            running: FuturesUnordered::new(),
            spawned: Spawned::new(Arc::clone(&router), Arc::clone(&layers), bus.clone()),
            channel: Vec::new(),
        };
        let mut items = VecDeque::new();
        let (deadline, instant) = loop {
            tokio::select! {
                // Running calls first: what ends makes room for what waits.
                biased;
                Some(finished) = engine.running.next() => at_once(|context| engine.finished(finished, context)).await,
                Some(result) = engine.spawned.next() => at_once(|context| engine.spawned_ended(result, context)).await,
                phase = phases.changed() => {
                    if phase.is_err() {
                        // The handle is gone, and this task is about to be aborted.
                        return Ok(());
                    }
                    if let Phase::Stopping(deadline) = *phases.borrow() {
                        break (deadline, Instant::now() + deadline);
                    }
                }
                open = take(&inbox, &mut items), if !engine.intake.is_full() => {
                    if !open {
                        break (SHUTDOWN_DEADLINE, Instant::now() + SHUTDOWN_DEADLINE);
                    }
                    at_once(|context| engine.items(&mut items, context)).await;
                    // A full inbox must not keep the other tasks of this thread from running.
                    tokio::task::consume_budget().await;
                }
            }
        };
        drop(attachment);
        inbox.close();
        engine.drain(&inbox, items, deadline, instant).await?;
        engine.intake.closed.map_or(Ok(()), |reason| Err(ShutdownError::BusClosed { reason }))
    }
}

/// Moves items out of the inbox, unless there are some left; `false` when it is closed and everything empty.
async fn take(inbox: &Inbox, items: &mut VecDeque<Item>) -> bool {
    poll_fn(|context| if items.is_empty() { inbox.poll_take(context, items, BATCH) } else { Poll::Ready(true) }).await
}

/// Does something with the task's context. It never waits: one future a batch, where each message would otherwise make several.
async fn at_once<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|context| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(context)))).await
}

/// Calls handlers, and keeps those that wait.
struct Engine<R, C, F> {
    intake: Intake,
    make: C,
    slots: Slots<F>,
    running: FuturesUnordered<Running<F>>,
    spawned: Spawned<R>,
    /// The channel of the frame that is being started, since the call owns the frame.
    channel: Vec<u8>,
}

impl<R: Router, C: Fn(usize, Delivery) -> F, F: Future<Output = Ended>> Engine<R, C, F> {
    /// Works on items until a handler is full whose messages must not be dropped.
    fn items(&mut self, items: &mut VecDeque<Item>, context: &mut Context<'_>) {
        while !self.intake.is_full()
            && let Some(item) = items.pop_front()
        {
            self.item(item, context);
        }
    }

    fn item(&mut self, item: Item, context: &mut Context<'_>) {
        match item {
            Item::Frame(frame) => {
                if let Some((route, frame)) = self.intake.admit(frame) {
                    self.start(route, None, frame, context);
                }
            }
            Item::Ended(reason) => self.intake.closed = Some(reason),
            other => self.intake.note(&other),
        }
    }

    /// Starts a frame, and whatever may run in its place when it completes at once.
    fn start(&mut self, route: usize, mut lane: Option<LaneId>, mut frame: Frame, context: &mut Context<'_>) {
        let options = self.intake.routes[route].options();
        loop {
            self.channel.clear();
            self.channel.extend_from_slice(frame.channel());
            let delivery = Delivery::new(frame, self.intake.format);
            if options.spawn {
                let lane = lane.unwrap_or_else(|| self.intake.lanes[route].started(&self.channel));
                return self.spawned.start(route, lane, delivery);
            }
            let mut slot = self.slots.fill((self.make)(route, delivery));
            let Poll::Ready(ended) = slot.as_mut().poll(context) else {
                let lane = lane.unwrap_or_else(|| self.intake.lanes[route].started(&self.channel));
                return self.running.push(Running::new(slot, route, lane));
            };
            self.slots.give_back(slot);
            self.intake.settle(route, ended);
            let Some((next_lane, next)) = lane.and_then(|lane| self.intake.lanes[route].finished(lane)) else { return };
            (lane, frame) = (Some(next_lane), next);
        }
    }

    fn finished(&mut self, finished: Finished<F>, context: &mut Context<'_>) {
        let Finished { slot, route, lane, ended } = finished;
        self.slots.give_back(slot);
        self.intake.settle(route, ended);
        self.next(route, lane, context);
    }

    fn spawned_ended(&mut self, (route, lane, ended): (usize, LaneId, Ended), context: &mut Context<'_>) {
        self.intake.settle(route, ended);
        self.next(route, lane, context);
    }

    fn next(&mut self, route: usize, lane: LaneId, context: &mut Context<'_>) {
        if let Some((lane, frame)) = self.intake.lanes[route].finished(lane) {
            self.start(route, Some(lane), frame, context);
        }
    }

    /// Works off what has arrived, until the deadline.
    async fn drain(
        &mut self,
        inbox: &Inbox,
        mut items: VecDeque<Item>,
        deadline: Duration,
        instant: Instant,
    ) -> Result<(), ShutdownError> {
        let mut arriving = true;
        while arriving || !self.running.is_empty() || !self.spawned.is_empty() {
            tokio::select! {
                biased;
                () = sleep_until(instant) => {
                    let handed_over = items.len() + inbox.traffic().map_or(0, |traffic| traffic.waiting);
                    let abandoned = self.running.len() + self.spawned.len() + self.intake.waiting() + handed_over;
                    tracing::warn!(abandoned, ?deadline, "a service did not finish in time");
                    return Err(ShutdownError::DeadlineMissed { abandoned, deadline });
                }
                Some(finished) = self.running.next() => at_once(|context| self.finished(finished, context)).await,
                Some(result) = self.spawned.next() => at_once(|context| self.spawned_ended(result, context)).await,
                open = take(inbox, &mut items), if arriving && !self.intake.is_full() => {
                    arriving = open;
                    at_once(|context| self.items(&mut items, context)).await;
                }
            }
        }
        Ok(())
    }
}

impl Intake {
    /// The frame's route, if it may start now. Otherwise it waits, or is not for this service.
    fn admit(&mut self, mut frame: Frame) -> Option<(usize, Frame)> {
        let Some(route) = self.table.find(frame.channel()) else {
            self.counters.unmatched.add(1);
            tracing::debug!("a channel matches a subscribed pattern but no template");
            return None;
        };
        // Overlapping patterns deliver a message once each; only the delivery by the route's own pattern counts.
        if self.tokens[route] != frame.token() {
            return None;
        }
        if self.lanes[route].has_room(frame.channel()) {
            return Some((route, frame));
        }
        frame.compact();
        let channel = frame.channel().to_owned();
        let lanes = &mut self.lanes[route];
        let dropped = lanes.wait(&channel, frame);
        if lanes.is_full() {
            self.full = Some(route);
        }
        if dropped > 0 {
            self.counters.handler(route).dropped.add(dropped);
            if lanes.falls_behind() {
                self.lags(route);
            }
        }
        None
    }

    /// Told once until the handler has caught up: what is too much already must not become more.
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
    fn is_full(&self) -> bool {
        self.full.is_some_and(|route| self.lanes[route].is_full())
    }

    /// Counts and logs what is no frame.
    fn note(&self, item: &Item) {
        match item {
            Item::Frame(_) | Item::Ended(_) => {}
            Item::Oversized { token, channel, size } => {
                let Some(route) = self.table.find(channel).filter(|&route| self.tokens[route] == *token) else {
                    return;
                };
                let rejection = Rejection::TooLarge { size: *size, limit: self.payload_limit };
                self.settle(route, Ended::Returned(Outcome::Rejected(Box::new(rejection))));
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

    fn settle(&self, route: usize, ended: Ended) {
        let counters = self.counters.handler(route);
        let handler = self.routes[route].handler();
        let template = self.routes[route].template().text();
        match ended {
            Ended::Returned(Outcome::Done | Outcome::Publish(_)) => counters.handled.add(1),
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
        }
    }

    fn waiting(&self) -> usize {
        self.lanes.iter().map(Lanes::waiting).sum()
    }
}

/// Calls that are tasks of their own, because their handlers compute for long.
struct Spawned<R> {
    router: Arc<R>,
    layers: Arc<Layers>,
    bus: Bus,
    /// Aborts the tasks when the driver is dropped.
    tasks: JoinSet<Ended>,
    calls: HashMap<Id, (usize, LaneId)>,
}

impl<R: Router> Spawned<R> {
    fn new(router: Arc<R>, layers: Arc<Layers>, bus: Bus) -> Self {
        Self { router, layers, bus, tasks: JoinSet::new(), calls: HashMap::new() }
    }

    fn start(&mut self, route: usize, lane: LaneId, delivery: Delivery) {
        let (router, layers, bus) = (Arc::clone(&self.router), Arc::clone(&self.layers), self.bus.clone());
        let task = self.tasks.spawn(may_block(async move { call(&*router, &layers, &bus, route, delivery).await }));
        self.calls.insert(task.id(), (route, lane));
    }

    async fn next(&mut self) -> Option<(usize, LaneId, Ended)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            Err(error) => (JoinError::id(&error), Ended::Panicked),
        };
        let (route, lane) = self.calls.remove(&id)?;
        Some((route, lane, ended))
    }

    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

/// A future that may keep its thread for as long as it likes: the other tasks of the thread, and the polling of the network that may be its
/// turn, go on elsewhere meanwhile. Being a task of its own is not enough for that: tokio wakes no other thread for a single task, and
/// what a task has woken last, or what has yielded, runs on no other thread. A runtime of one thread has nowhere else to go on.
async fn may_block<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let has_threads = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    poll_fn(|context| {
        let mut poll = || future.as_mut().poll(context);
        if has_threads { block_in_place(poll) } else { poll() }
    })
    .await
}
