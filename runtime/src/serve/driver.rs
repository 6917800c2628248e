//! The one tokio task of a service: takes frames, has handlers called, and what they ask for carried out.
//!
//! Everything that waits is in one of four places: the inbox, the handlers' lanes, the calls that run, and what calls have asked to be sent.
//! The first three have bounds of their own; the last is bounded with what waits in line for the connection.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinSet, coop::consume_budget},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    bus::{
        closing::{Member, Stage},
        handle::Bus,
        served::Served,
    },
    config::{Bounds, Overflow},
    error::ShutdownError,
    handler::layer::HandlerLayer,
    message::facts::Kind,
    route::{routes::Routes, sole::SoleRoutes, table::RouteTable},
    serve::{
        call::Calls,
        ending::Ending,
        engine::Engine,
        intake::Intake,
        lanes::Lanes,
        presence::Presence,
        queues::{Bound, Works, both},
        service::SHUTDOWN_DEADLINE,
        sources::Sources,
        stats::Counters,
        tally::Tally,
    },
    time::deadline_after,
    transport::{contract::Attachment, inbox::Inbox},
};

/// What the service's owner wants of the driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Serving,
    /// Take no more tasks from queues; the rest goes on.
    Quiet,
    /// Finish what has arrived, within this time.
    Stopping(Duration),
    /// The handle was dropped, and the driver's tokio task is about to be aborted.
    Dropped,
}

/// Where a service's frames come from.
pub(crate) struct Source {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) attachment: Attachment,
    /// For each route, the token of the name that it is subscribed to.
    pub(crate) tokens: Vec<u32>,
    /// Its names, where it shares a connection.
    pub(crate) served: Option<Served>,
    pub(crate) presence: Presence,
}

pub(crate) struct Driver {
    routes: Routes,
    calls: Arc<dyn Calls>,
    bus: Bus,
    inbox: Arc<Inbox>,
    attachment: Attachment,
    presence: Presence,
    intake: Intake,
}

impl Driver {
    pub(crate) fn new(
        (routes, calls): (Routes, Arc<dyn Calls>),
        (overflow, bounds): (Overflow, Bounds),
        bus: Bus,
        source: Source,
        counters: Arc<Counters>,
    ) -> Self {
        let Source { inbox, attachment, tokens, served, presence } = source;
        let lanes = routes.iter().map(|route| {
            let overflow = match (overflow, route.facts().kind()) {
                // Nobody else's requests are to wait for it: what is too much is given to another instance.
                (Overflow::BackPressure, Kind::Request) => Overflow::DropNewest,
                (overflow, _) => overflow,
            };
            Lanes::new(route.options().concurrency, bounds, overflow)
        });
        let lanes = lanes.collect();
        let (payload_limit, format) = (bus.config().payload_limit, bus.config().format);
        let table = RouteTable::build(routes);
        let intake = Intake {
            sole_routes: SoleRoutes::new(routes, &tokens, &table),
            table,
            routes,
            tokens,
            order_keys: routes.iter().map(|route| route.order_key()).collect(),
            lanes,
            idle: vec![true; routes.len()],
            tally: Tally::new(bus.clone(), routes, counters),
            payload_limit,
            format,
            bus: bus.clone(),
            full: None,
            served,
            closed: None,
        };
        Self { routes, calls, bus, inbox, attachment, presence, intake }
    }

    /// Starts the driver's tokio task, which ends when it and those of the queues have. Dropping the set aborts all of them.
    pub(super) fn start(
        self,
        phases: watch::Receiver<Phase>,
        member: Member,
        works: Option<Works>,
    ) -> JoinSet<Result<(), ShutdownError>> {
        let mut tokio_task = JoinSet::new();
        let ending = Ending::new(self.bus.clone(), self.routes, phases.clone());
        tokio_task.spawn(async move {
            let run = async {
                let drives = self.run(phases, member.stages());
                match works {
                    None => drives.await,
                    Some(works) => {
                        let (driven, worked) = tokio::join!(drives, works.ended());
                        both(driven, worked)
                    }
                }
            };
            let result = ending.observed(run).await;
            if let Err(ShutdownError::DeadlineMissed { abandoned, handed_back, .. }) = result {
                member.abandoned(abandoned, handed_back);
            }
            result
        });
        tokio_task
    }

    async fn run(
        self,
        mut phases: watch::Receiver<Phase>,
        mut stages: watch::Receiver<Stage>,
    ) -> Result<(), ShutdownError> {
        let Self { calls, bus, inbox, attachment, presence, intake, .. } = self;
        let mut engine = Engine::new(intake, &bus, &calls);
        let mut sources = Sources::new(inbox, attachment, &presence);
        let mut stopping: Option<Stopping> = None;
        let mut closing: Option<Stopping> = None;
        loop {
            let is_done = stopping.is_some() && !sources.is_open() && engine.is_idle();
            if is_done && sources.leave() {
                break;
            }
            // What the owner says comes before anything new. It is awaited last, since to begin and end that wait takes longer than most of what comes.
            let is_told = phases.has_changed().unwrap_or(true) || stages.has_changed().unwrap_or(false);
            let asked = tokio::select! {
                // What ends makes room for what waits, and comes before anything new.
                biased;
                () = reached(stopping.map(|stopping| stopping.at)) => match is_done {
                    true => break,
                    false => return Err(engine.late(stopping, sources.waiting())),
                },
                () = reached(engine.intake.tally.due().map(Instant::from_std)) => {
                    engine.intake.tally.tell();
                    None
                }
                Some(departed) = engine.departures.next() => {
                    at_once(|context| engine.departed(departed, context)).await;
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
                () = sources.next(engine.intake.is_full()), if !is_told => {
                    at_once(|context| engine.take(&mut sources, context)).await;
                    // A full inbox must not keep the other tokio tasks of this thread from running.
                    consume_budget().await;
                    (!sources.is_open() && stopping.is_none()).then_some(SHUTDOWN_DEADLINE)
                }
                phase = phases.changed() => match (phase, *phases.borrow()) {
                    (Err(_), _) | (Ok(()), Phase::Dropped) => return Ok(()),
                    (Ok(()), Phase::Stopping(deadline)) => Some(deadline),
                    (Ok(()), Phase::Serving | Phase::Quiet) => None,
                },
                Ok(()) = stages.changed() => sooner(&mut closing, *stages.borrow(), stopping),
            };
            if let Some(deadline) = asked {
                stopping = Some(Stopping::within(deadline).unless_sooner(closing));
                at_once(|context| engine.stop(&mut sources, deadline, context)).await;
            }
        }
        engine.intake.closed.map_or(Ok(()), |reason| Err(ShutdownError::BusClosed { reason }))
    }
}

/// The service works off what has arrived, and ends. Where the bus has given up before it is asked to stop, the time that its owner grants
/// replaces its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    pub(super) deadline: Duration,
    pub(super) at: Instant,
}

impl Stopping {
    pub(super) fn within(deadline: Duration) -> Self {
        Self { deadline, at: deadline_after(deadline) }
    }

    /// Whatever its owner grants, a service has no more time than its bus.
    pub(super) fn unless_sooner(self, closing: Option<Self>) -> Self {
        closing.filter(|closing| closing.at < self.at).unwrap_or(self)
    }
}

/// Notes how long the service has when its bus closes, and tells it if that is sooner than what it was asked for.
pub(super) fn sooner(closing: &mut Option<Stopping>, stage: Stage, stopping: Option<Stopping>) -> Option<Duration> {
    *closing = closing_within(stage).map(Stopping::within);
    let sooner = closing.filter(|closing| stopping.is_none_or(|stopping| closing.at < stopping.at));
    sooner.map(|closing| closing.deadline)
}

/// How long a service may take when its bus closes.
fn closing_within(stage: Stage) -> Option<Duration> {
    match stage {
        Stage::Open => None,
        Stage::Draining { within, .. } => Some(within),
        Stage::Closed => Some(Duration::ZERO),
    }
}

/// Completes at a point in time, or never.
pub(super) async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// What is to be there at once, unless a handler keeps the driver from doing anything.
pub(super) async fn promptly<T>(there: impl Future<Output = T>) -> Option<T> {
    timeout(Duration::from_millis(100), there).await.ok()
}

/// Does something with the tokio task's context, without waiting: one future for a whole batch, where otherwise each message would make
/// several.
pub(super) async fn at_once<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|context| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(context)))).await
}

/// What a service is started with.
#[derive(Debug)]
pub(crate) struct ServeOptions {
    pub(crate) overflow: Overflow,
    /// Of what waits for each handler.
    pub(crate) bounds: Bounds,
    /// Around the whole router, the innermost first.
    pub(crate) layers: Vec<HandlerLayer>,
    /// The group of the instance, if it was named.
    pub(crate) group: Option<String>,
    /// Which parts of queues are served, where it was said.
    pub(crate) bound: Bound,
    /// After so long a task that nobody knows waits aside.
    pub(crate) park_after: Duration,
}
