//! The one task of a service: takes frames, calls handlers, settles outcomes.
//!
//! Everything that waits is in one of three places, all bounded: the inbox, the handlers' lanes, the set of running calls.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    bus::handle::Bus,
    config::{Bounds, Overflow},
    error::ShutdownError,
    handler::{
        contract::Router,
        layer::{HandlerLayer, Layers},
        outcome::Ended,
    },
    message::delivery::Delivery,
    serve::{
        call::{Finished, Running, Slots, call},
        intake::Intake,
        lanes::{LaneId, Lanes},
        service::SHUTDOWN_DEADLINE,
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

/// What a service is started with.
#[derive(Debug)]
pub(crate) struct ServeOptions {
    pub(crate) overflow: Overflow,
    /// Of what waits for each handler.
    pub(crate) bounds: Bounds,
    /// Around the whole router, the innermost first.
    pub(crate) layers: Vec<HandlerLayer>,
}
