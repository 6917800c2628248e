//! A router that is being served.

use std::{fmt, future::pending, io, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::OptionFuture};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    bus::{closing::Member, handle::Bus, instances::State},
    config::{Bounds, Overflow},
    error::{ShutdownError, SubscribeError},
    handler::{contract::Router, layer::HandlerLayer},
    message::facts::Kind,
    route::routes::Routes,
    serve::{
        call::{Callee, Calls},
        driver::{Driver, Phase, ServeOptions, Source, promptly},
        presence::Presence,
        queues::{Queues, WithQueues, check_bound},
        stats::{Counters, ServiceStats},
    },
    time::now,
    transport::{
        contract::Name,
        inbox::{Inbox, WhenFull},
        status::NameKind,
    },
};

/// A router that is being served on a bus. [`Bus::serve`] makes it.
///
/// Broadcasts of one channel are handled in the order in which one publisher sent them, different channels and all requests concurrently, up to
/// each handler's limit; a handler may choose another [`Order`](crate::Order). Every instance of a service gets every broadcast; a request is executed
/// by one instance. A request's handler is cancelled when its requester has stopped waiting. A handler's error, panic or timeout is logged and counted,
/// and ends nothing.
/// Delivery is at most once: what is published while the connection is down is gone, and counted as a gap. Only tasks of queues are delivered until
/// they are done: each to one instance at a time, which keeps it for as long as it lives and its handler runs.
///
/// Dropping the handle stops the service at once: it unsubscribes, and handlers that are waiting are dropped; their tasks run elsewhere when
/// their leases are over. So does
/// `let _ = bus.serve(…).await?`, which keeps nothing.
///
/// With a subscriber of `tracing` the program sees at INFO what is served, and how it ends; what goes wrong in handlers is a warning, and what
/// goes wrong again and again is one line a second. [`BusEvent`](crate::BusEvent) tells a program of it.
///
/// # Examples
///
/// ```
/// # use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, router};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// struct Mailer {
///     sent: Arc<AtomicU64>,
/// }
///
/// #[router]
/// impl Mailer {
///     #[handler]
///     async fn placed(&self, _order: OrderPlaced) {
///         self.sent.fetch_add(1, Relaxed);
///     }
/// }
///
/// let sent = Arc::new(AtomicU64::new(0));
/// let service = bus.serve(Mailer { sent: Arc::clone(&sent) }).await?;
/// OrderPlaced { id: 7 }.publish(&bus).await?;
/// service.shutdown().await?; // or `run_until_stopped`, which waits for SIGTERM or Ctrl-C first
/// assert_eq!(sent.load(Relaxed), 1); // what had arrived was handled
/// # Ok(()) }
/// ```
#[must_use = "the service stops when it is dropped: write `let service = …` and keep it, since `let _ = …` drops it at once"]
pub struct Service {
    /// Holds the driver, and aborts it when the service is dropped.
    driver: JoinSet<Result<(), ShutdownError>>,
    phase: watch::Sender<Phase>,
    counters: Arc<Counters>,
    /// Whether it was joined, so that dropping it ends nothing.
    ended: bool,
}

/// How long [`Service::shutdown`] waits: what orchestrators grant a process by default before they kill it.
pub(super) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);

/// The buffer between the connection and a service. It only evens out the hand-over: the driver takes messages at once, and
/// while it is busy the connection reads no further.
pub(super) const HAND_OVER: Bounds = Bounds { messages: 8_192, bytes: 1024 * 1024 };

impl Service {
    pub(crate) async fn start(bus: Bus, duties: Duties, options: ServeOptions) -> Result<Self, SubscribeError> {
        let Duties { routes, calls, with_queues } = duties;
        let Prepared { source, queues, group, counters, member, limits, layers } =
            Prepared::of(&bus, routes, options, with_queues.as_ref()).await?;
        let (phase, phases) = watch::channel(Phase::Serving);
        let calls = calls(layers, bus.clone());
        let works = match (with_queues, queues) {
            (Some(with_queues), Some(queues)) => {
                let (endings, asked) = ((with_queues.endings)(), (&phases, &member.stages()));
                (with_queues.start)(queues, (routes, &calls, &endings), &bus, &group, &counters, asked)?
            }
            _ => None,
        };
        let driver = Driver::new((routes, calls), limits, bus, source, Arc::clone(&counters));
        tracing::info!(handlers = %Serves(routes), "a service is live");
        Ok(Self { driver: driver.start(phases, member, works), phase, counters, ended: false })
    }

    /// Stops taking messages, finishes those that have arrived, and ends. Waits for 30 seconds at most. Tasks of queues that are not begun, or not
    /// finished by then, are given back, and run elsewhere at once.
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`] when some messages were not finished in time; they are dropped.
    /// [`ShutdownError::BusClosed`] when the service had ended before, because the bus gave up reconnecting.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the service at once, as dropping the service does.
    pub async fn shutdown(self) -> Result<(), ShutdownError> {
        self.shutdown_within(SHUTDOWN_DEADLINE).await
    }

    /// Like [`shutdown`](Self::shutdown), with a deadline of its own. [`Duration::MAX`] means for ever; zero gives up what is not finished.
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`] when some messages were not finished in time; they are dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the service at once, as dropping the service does.
    pub async fn shutdown_within(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.phase.send_replace(Phase::Stopping(deadline));
        self.join().await
    }

    /// Serves until the program is told to stop, then shuts down as [`shutdown`](Self::shutdown) does. Also ends when the bus gives up
    /// reconnecting.
    ///
    /// On Unix that is SIGTERM, which orchestrators send, or Ctrl-C (SIGINT); elsewhere it is Ctrl-C. Signals are taken from the first poll
    /// on, and for the rest of the program's life. A second one ends the shutdown at once.
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`] when some messages were not finished in time; they are dropped.
    /// [`ShutdownError::Interrupted`] after a second signal, when something was not finished by then.
    /// [`ShutdownError::BusClosed`] when the bus gave up reconnecting.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the service at once, as dropping the service does.
    pub async fn run_until_stopped(self) -> Result<(), ShutdownError> {
        self.run_until(Signals::stop(), SHUTDOWN_DEADLINE).await
    }

    /// Like [`run_until_stopped`](Self::run_until_stopped), with a deadline of its own for the shutdown: somewhat less than what the
    /// orchestrator grants before it kills the program, so that a missed deadline is still reported.
    ///
    /// # Errors
    ///
    /// Those of [`run_until_stopped`](Self::run_until_stopped).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the service at once, as dropping the service does.
    pub async fn run_until_stopped_within(self, deadline: Duration) -> Result<(), ShutdownError> {
        self.run_until(Signals::stop(), deadline).await
    }

    /// Serves until Ctrl-C (SIGINT) arrives, then shuts down as [`shutdown`](Self::shutdown) does; a second Ctrl-C ends that at once. Also
    /// ends when the bus gives up reconnecting. A program that an orchestrator runs wants [`run_until_stopped`](Self::run_until_stopped).
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`] when some messages were not finished in time; they are dropped.
    /// [`ShutdownError::Interrupted`] after a second Ctrl-C, when something was not finished by then.
    /// [`ShutdownError::BusClosed`] when the bus gave up reconnecting.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the service at once, as dropping the service does.
    pub async fn run_until_ctrl_c(self) -> Result<(), ShutdownError> {
        self.run_until(Signals::ctrl_c(), SHUTDOWN_DEADLINE).await
    }

    /// Takes nothing more from queues, and goes on with everything else: tasks that it has are finished, tasks that it has not begun are given
    /// back, and others are left to other instances. Before a deployment, an instance that works long on its tasks is told so some time before it
    /// is stopped.
    pub fn quiet(&self) {
        self.phase.send_if_modified(|phase| {
            let serves = matches!(phase, Phase::Serving);
            if serves {
                *phase = Phase::Quiet;
            }
            serves
        });
    }

    /// What the service has done so far.
    #[must_use]
    pub fn stats(&self) -> ServiceStats {
        self.counters.snapshot(now())
    }

    async fn run_until(mut self, signals: io::Result<Signals>, deadline: Duration) -> Result<(), ShutdownError> {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "cannot listen for the signal to stop; the service stops");
                return self.shutdown_within(deadline).await;
            }
        };
        tokio::select! {
            result = self.join() => return result,
            () = signals.next() => {}
        }
        tracing::info!("asked to stop; a second signal stops at once");
        self.phase.send_replace(Phase::Stopping(deadline));
        tokio::select! {
            // What has ended needs no interruption.
            biased;
            result = self.join() => return result,
            () = signals.next() => {}
        }
        self.phase.send_replace(Phase::Stopping(Duration::ZERO));
        let abandoned = match promptly(self.join()).await {
            Some(Err(ShutdownError::DeadlineMissed { abandoned, .. })) => abandoned,
            Some(result) => return result,
            // A handler keeps the thread busy, and nothing can be asked of the driver.
            None => self.stats().outstanding(),
        };
        Err(ShutdownError::Interrupted { abandoned })
    }

    async fn join(&mut self) -> Result<(), ShutdownError> {
        let result = joined(self.driver.join_next().await);
        self.ended = true;
        result
    }
}

/// What a service does: a router, whichever it is.
pub(crate) struct Duties {
    routes: Routes,
    /// Makes what calls its handlers, once it is known which layers are around them.
    calls: Box<dyn FnOnce(Vec<HandlerLayer>, Bus) -> Arc<dyn Calls> + Send>,
    with_queues: Option<WithQueues>,
}

impl Duties {
    pub(crate) fn of<R: Router>(router: R) -> Self {
        Self {
            routes: R::ROUTES,
            calls: Box::new(|around, bus| Arc::new(Callee::new(router, around, bus))),
            with_queues: WithQueues::of::<R>(),
        }
    }
}

/// A service that has its subscriptions and queues, and nothing that calls its handlers yet.
struct Prepared {
    source: Source,
    queues: Option<Queues>,
    group: String,
    counters: Arc<Counters>,
    member: Member,
    limits: (Overflow, Bounds),
    layers: Vec<HandlerLayer>,
}

impl Prepared {
    async fn of(
        bus: &Bus,
        routes: Routes,
        options: ServeOptions,
        with_queues: Option<&WithQueues>,
    ) -> Result<Self, SubscribeError> {
        bus.check_open()?;
        check_bound(&routes, &options.bound)?;
        let Subscriptions { names, templates, tokens } = Subscriptions::of(routes);
        let when_full = if options.overflow == Overflow::BackPressure { WhenFull::Block } else { WhenFull::Wait };
        let inbox = Arc::new(Inbox::new(HAND_OVER, when_full).with_templates(templates));
        let served_names = names.iter().map(|(text, kind)| Name { text: text.clone(), kind: *kind }).collect();
        let group = options.group.unwrap_or_else(|| group_of(&routes, bus));
        let (attachment, presence, queues) = tokio::try_join!(
            bus.attach(Arc::clone(&inbox), names),
            Presence::start(bus, &routes, group.clone()),
            OptionFuture::from(with_queues.map(|queues| (queues.declare)(
                &routes,
                &options.bound,
                options.park_after,
                bus
            )))
            .map(Option::transpose),
        )?;
        // One with back-pressure has a connection of its own, and is a receiver of its own.
        let served = (when_full != WhenFull::Block).then(|| bus.served(served_names));
        let counters = Arc::new(Counters::new(routes));
        let counted = Arc::clone(&counters);
        let member = bus.join(move || counted.snapshot(now()).outstanding())?;
        if let Some(announcement) = presence.announcement(State::Serving, bus)
            && let Err(error) = bus.send(announcement).await
        {
            tracing::warn!(%error, "others could not be told of a new instance; those who know others may not find it");
        }
        let source = Source { inbox, attachment, tokens, served, presence };
        let limits = (options.overflow, options.bounds);
        Ok(Self { source, queues, group, counters, member, limits, layers: options.layers })
    }
}

/// What a service subscribes to.
struct Subscriptions {
    names: Vec<(String, NameKind)>,
    /// Of each name, the template of the first route that wants it.
    templates: Vec<&'static str>,
    /// Of each route, the place of its name.
    tokens: Vec<u32>,
}

impl Subscriptions {
    fn of(routes: Routes) -> Self {
        let mut names: Vec<(String, NameKind)> = Vec::new();
        let mut templates = Vec::new();
        let mut tokens = Vec::with_capacity(routes.len());
        for route in routes {
            if route.facts().kind() == Kind::Queue {
                // Its tasks do not come by a channel.
                tokens.push(u32::MAX);
                continue;
            }
            let (text, pattern) = route.subscription();
            let name = (text, if pattern { NameKind::Pattern } else { NameKind::Channel });
            let token = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                templates.push(route.template().text());
                names.len() - 1
            });
            tokens.push(u32::try_from(token).unwrap_or(u32::MAX));
        }
        Self { names, templates, tokens }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.ended || self.driver.try_join_next().is_some() {
            return;
        }
        let outstanding = self.stats().outstanding();
        if matches!(self.phase.send_replace(Phase::Dropped), Phase::Serving | Phase::Quiet) {
            tracing::info!(
                outstanding,
                "a service was dropped, and stops at once; to keep it, bind what `serve` returned to a name other than `_`, and end it with `run_until_stopped` or `shutdown`"
            );
        } else {
            tracing::info!(outstanding, "a service was dropped while it stopped");
        }
    }
}

/// The group of a service that names none: the type of its router, else the program, else its first handler.
fn group_of(routes: &Routes, bus: &Bus) -> String {
    let Some(first) = routes.get(0) else { return String::new() };
    let program = bus.config().program.as_ref().map(|(name, _)| name.as_str());
    first.router().or(program).unwrap_or(first.handler()).to_owned()
}

/// What a service serves, for the log.
struct Serves(Routes);

impl fmt::Display for Serves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, route) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (router, colons) = route.router().map_or(("", ""), |router| (router, "::"));
            write!(formatter, "{comma}{router}{colons}{} ({})", route.handler(), route.template())?;
        }
        Ok(())
    }
}

/// The signals that ask a program to stop. One that arrives while nobody waits is kept.
struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Option<Signal>,
}

#[cfg(unix)]
impl Signals {
    fn ctrl_c() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: None })
    }

    fn stop() -> io::Result<Self> {
        Ok(Self { terminate: Some(signal(SignalKind::terminate())?), ..Self::ctrl_c()? })
    }

    /// # Cancel safety
    ///
    /// Dropping the future loses no signal.
    async fn next(&mut self) {
        let Self { interrupt, terminate } = self;
        let terminated = async {
            match terminate {
                Some(terminate) => terminate.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminated => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn ctrl_c() -> io::Result<Self> {
        Ok(Self {})
    }

    fn stop() -> io::Result<Self> {
        Self::ctrl_c()
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C; the service stops");
        }
    }
}

fn joined(result: Option<Result<Result<(), ShutdownError>, tokio::task::JoinError>>) -> Result<(), ShutdownError> {
    match result {
        Some(Ok(result)) => result,
        Some(Err(_)) | None => Err(ShutdownError::TaskEnded),
    }
}

crate::future::never_polled!([] Service => Result<(), ShutdownError>, (): NotStoppedYet);

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
