//! The one tokio task of a service: takes frames, calls handlers, and carries out what they ask for.
//!
//! Everything that waits is in one of four places, all bounded: the inbox, the handlers' lanes, the calls that run, and what is being carried
//! out after a call, which holds its lane.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::watch,
    task::{JoinSet, coop::consume_budget},
    time::{Instant, sleep_until},
};

use crate::{
    bus::handle::Bus,
    config::{Bounds, Overflow},
    error::ShutdownError,
    handler::{
        contract::Router,
        layer::{HandlerLayer, Layers},
    },
    message::delivery::Delivery,
    serve::{
        call::{Finished, Running, Settling, Slots, call},
        intake::{Intake, order_key},
        lanes::{LaneId, Lanes},
        service::SHUTDOWN_DEADLINE,
        settlement::{Called, Settled, carry_out},
        spawned::Spawned,
        stats::Counters,
    },
    transport::{
        contract::Attachment,
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

impl<R: Router> Driver<R> {
    pub(crate) fn new(
        router: R,
        options: ServeOptions,
        bus: Bus,
        inbox: Arc<Inbox>,
        attachment: Attachment,
        tokens: Vec<u32>,
        counters: Arc<Counters>,
    ) -> Self {
        let ServeOptions { overflow, bounds, layers } = options;
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

    /// Starts the driver's tokio task. Dropping the set aborts it.
    pub(crate) fn start(self, phases: watch::Receiver<Phase>) -> JoinSet<Result<(), ShutdownError>> {
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(self.run(phases));
        tokio_task
    }

    async fn run(self, mut phases: watch::Receiver<Phase>) -> Result<(), ShutdownError> {
        let Self { router, layers, bus, inbox, attachment, intake } = self;
        let mut engine = Engine {
            intake,
            bus: &bus,
            make: |route, delivery| call(&*router, &layers, &bus, route, delivery),
            slots: Slots::new(),
            running: FuturesUnordered::new(),
            settling: FuturesUnordered::new(),
            spawned: Spawned::new(Arc::clone(&router), Arc::clone(&layers), bus.clone()),
            key: Vec::new(),
        };
        let mut attachment = Some(attachment);
        let mut items = VecDeque::new();
        let mut arriving = true;
        let mut stopping: Option<Stopping> = None;
        while stopping.is_none() || arriving || !engine.is_idle() {
            let asked = tokio::select! {
                // What ends makes room for what waits, and comes before anything new.
                biased;
                () = reached(stopping) => return Err(engine.late(stopping, items.len(), &inbox)),
                Some(settled) = engine.settling.next() => {
                    at_once(|context| engine.settled(settled, context)).await;
                    None
                }
                Some(finished) = engine.running.next() => {
                    at_once(|context| engine.finished(finished, context)).await;
                    None
                }
                Some(called) = engine.spawned.next() => {
                    at_once(|context| engine.spawned_ended(called, context)).await;
                    None
                }
                phase = phases.changed(), if stopping.is_none() => match (phase, *phases.borrow()) {
                    // The handle is gone, and this tokio task is about to be aborted.
                    (Err(_), _) => return Ok(()),
                    (Ok(()), Phase::Stopping(deadline)) => Some(deadline),
                    (Ok(()), Phase::Serving) => None,
                },
                open = take(&inbox, &mut items), if arriving && !engine.intake.is_full() => {
                    arriving = open;
                    at_once(|context| engine.items(&mut items, context)).await;
                    // A full inbox must not keep the other tokio tasks of this thread from running.
                    consume_budget().await;
                    (!open && stopping.is_none()).then_some(SHUTDOWN_DEADLINE)
                }
            };
            if let Some(deadline) = asked {
                stopping = Some(Stopping { deadline, at: Instant::now() + deadline });
                attachment = None;
                inbox.close();
            }
        }
        drop(attachment);
        engine.intake.closed.map_or(Ok(()), |reason| Err(ShutdownError::BusClosed { reason }))
    }
}

/// The service works off what has arrived, and ends.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    deadline: Duration,
    at: Instant,
}

/// Completes at the end of the time for stopping; never before that has begun.
async fn reached(stopping: Option<Stopping>) {
    match stopping {
        Some(Stopping { at, .. }) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Moves items out of the inbox, unless there are some left; `false` when it is closed and everything empty.
async fn take(inbox: &Inbox, items: &mut VecDeque<Item>) -> bool {
    poll_fn(|context| if items.is_empty() { inbox.poll_take(context, items, BATCH) } else { Poll::Ready(true) }).await
}

/// Does something with the tokio task's context, without waiting: one future for a whole batch, where otherwise each message would make
/// several.
async fn at_once<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|context| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(context)))).await
}

/// Calls handlers, and keeps those that wait.
struct Engine<'a, R, C, F> {
    intake: Intake,
    bus: &'a Bus,
    make: C,
    slots: Slots<F>,
    running: FuturesUnordered<Running<F>>,
    settling: FuturesUnordered<Settling<'a>>,
    spawned: Spawned<R>,
    /// The order key of the frame that is being started, since the call owns the frame.
    key: Vec<u8>,
}

impl<R: Router, C: Fn(usize, Delivery) -> F, F: Future<Output = Called>> Engine<'_, R, C, F> {
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
            self.key.clear();
            self.key.extend_from_slice(order_key(&frame));
            let delivery = Delivery::new(frame, self.intake.format);
            if options.spawn {
                let lane = lane.unwrap_or_else(|| self.intake.lanes[route].started(&self.key));
                return self.spawned.start(route, lane, delivery);
            }
            let mut slot = self.slots.fill((self.make)(route, delivery));
            let Poll::Ready(called) = slot.as_mut().poll(context) else {
                let lane = lane.unwrap_or_else(|| self.intake.lanes[route].started(&self.key));
                return self.running.push(Running::new(slot, route, lane));
            };
            self.slots.give_back(slot);
            if !self.ended(route, lane, called, context) {
                return;
            }
            let Some((next_lane, next)) = lane.and_then(|lane| self.intake.lanes[route].finished(lane)) else { return };
            (lane, frame) = (Some(next_lane), next);
        }
    }

    /// Begins to carry out what a call asks for. `false` when that takes time: its lane, or that of the order key, is held until then.
    fn ended(&mut self, route: usize, lane: Option<LaneId>, called: Called, context: &mut Context<'_>) -> bool {
        let Called { ended, open } = called;
        let Some(open) = open else {
            self.intake.count(route, ended);
            return true;
        };
        let mut carried_out = Box::pin(carry_out(self.bus, ended, *open));
        match carried_out.as_mut().poll(context) {
            Poll::Ready(settled) => {
                self.intake.settled(route, settled);
                true
            }
            Poll::Pending => {
                let lane = lane.unwrap_or_else(|| self.intake.lanes[route].started(&self.key));
                self.settling.push(Settling::new(carried_out, route, lane));
                false
            }
        }
    }

    fn finished(&mut self, finished: Finished<F>, context: &mut Context<'_>) {
        let Finished { slot, route, lane, called } = finished;
        self.slots.give_back(slot);
        self.spawned_ended((route, lane, called), context);
    }

    fn spawned_ended(&mut self, (route, lane, called): (usize, LaneId, Called), context: &mut Context<'_>) {
        if self.ended(route, Some(lane), called, context) {
            self.next(route, lane, context);
        }
    }

    fn settled(&mut self, (route, lane, settled): (usize, LaneId, Settled), context: &mut Context<'_>) {
        self.intake.settled(route, settled);
        self.next(route, lane, context);
    }

    fn next(&mut self, route: usize, lane: LaneId, context: &mut Context<'_>) {
        if let Some((lane, frame)) = self.intake.lanes[route].finished(lane) {
            self.start(route, Some(lane), frame, context);
        }
    }

    /// Whether nothing runs. What waits in a lane waits for something that does.
    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.settling.is_empty() && self.spawned.is_empty()
    }

    /// The time for stopping is over.
    fn late(&self, stopping: Option<Stopping>, taken: usize, inbox: &Inbox) -> ShutdownError {
        let deadline = stopping.map_or(Duration::ZERO, |stopping| stopping.deadline);
        let handed_over = taken + inbox.traffic().map_or(0, |traffic| traffic.waiting);
        let running = self.running.len() + self.settling.len() + self.spawned.len();
        let abandoned = running + self.intake.waiting() + handed_over;
        tracing::warn!(abandoned, ?deadline, "a service did not finish in time");
        ShutdownError::DeadlineMissed { abandoned, deadline }
    }
}

/// What a service is started with.
#[derive(Debug)]
pub(crate) struct ServeOptions {
    pub(crate) overflow: Overflow,
    /// Of what waits for each handler.
    pub(crate) bounds: Bounds,
    /// Around the whole router, the innermost first.
    pub(crate) layers: Vec<HandlerLayer>,
}
