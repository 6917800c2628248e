//! One run: a broker, a router, and the instances that serve it one after the other.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::sleep};

use crate::{
    bus::{handle::Bus, tasks::EnqueueOptions},
    channel::text::ChannelWriter,
    codec::headers::Headers,
    error::QueueError,
    handler::contract::Router,
    message::{contract::AddressedByFields, facts::Kind, kind::Queue},
    route::{
        entry::{Redelivery, Route},
        routes::Routes,
    },
    serve::{
        policy::verdict::{Moment, PARK_AFTER, Policy},
        queues::{Bound, queue_of},
        service::Service,
    },
    testing::{
        broker::Broker,
        redelivery::{
            mortal::{Fate, Life, Mortal},
            report::{Disturbance, RedeliveryError},
        },
    },
    time::{deadline_after, now},
    transport::{
        durable::{
            contract::{Overdue, QueueSpec},
            task::{DeadReason, NewTask, Settlement},
        },
        memory::queues::store::CrashPoint,
    },
};

/// What each run has to do with.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    routes: Routes,
    /// Of the handler that is tested.
    route: &'static Route,
}

impl Cast {
    pub(super) fn of<M: Queue, R: Router>() -> Result<Self, RedeliveryError> {
        let queue = M::TEMPLATE.text();
        let takes = |route: &&Route| route.template().text() == queue && route.facts().name() == M::NAME;
        let route = R::ROUTES.iter().find(takes).ok_or(RedeliveryError::NotServed { queue })?;
        if M::QUEUE.is_some_and(|facts| facts.at_most_once) {
            return Err(RedeliveryError::AtMostOnce { queue });
        }
        Ok(Self { routes: R::ROUTES, route })
    }

    pub(super) fn runs_once(&self) -> bool {
        matches!(self.route.options().work.redelivery, Some(Redelivery::Once { .. }))
    }
}

/// One run.
pub(super) struct Scene<'a, M, R> {
    cast: Cast,
    broker: Arc<Broker>,
    /// Of the test.
    bus: Bus,
    router: Arc<R>,
    message: &'a M,
    task: NewTask,
    /// Each with its handler; that of the task is among them.
    queues: Vec<(&'static Route, QueueSpec)>,
}

/// So long a run may take: no handler that a test runs takes as long, and one that waits for ever does.
const PATIENCE: Duration = Duration::from_secs(30);
/// Looks so often without a pause, since most of what is waited for is there at once.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

impl<'a, M: Queue + AddressedByFields, R: Router> Scene<'a, M, R> {
    /// Everything is there, and the task is enqueued.
    pub(super) async fn set(
        make_router: &impl AsyncFn(&Bus) -> R,
        message: &'a M,
        cast: Cast,
    ) -> Result<Self, RedeliveryError> {
        let broker = Arc::new(Broker::new());
        let bus = Bus::connect(&broker.url()).await?;
        let router = Arc::new(make_router(&bus).await);
        let mut channel = String::new();
        message.write_channel(&mut ChannelWriter::new(&mut channel));
        let bound: Bound = vec![(M::TEMPLATE.text(), channel.as_str().into())];
        let mut queues = Vec::new();
        for route in cast.routes.iter().filter(|route| route.facts().kind() == Kind::Queue) {
            // Only of a queue that needs it.
            let is_bound = route.facts().queue().is_some_and(|queue| queue.bound);
            let bound = if is_bound { &bound } else { &Bound::new() };
            queues.push((route, queue_of(route.facts(), bound, &bus)?));
        }
        let task = bus.task(channel, message, &Headers::default(), EnqueueOptions::default())?;
        let scene = Self { cast, broker, bus, router, message, task, queues };
        scene.enqueue().await?;
        Ok(scene)
    }

    pub(super) async fn observed<T>(&self, observe: &impl AsyncFn(&R, &Bus) -> T) -> T {
        observe(&*self.router, &self.bus).await
    }

    /// The task is worked on by an instance that lives; whether it is completed.
    pub(super) async fn undisturbed(&self) -> Result<bool, RedeliveryError> {
        let before = self.completed().await?;
        let instance = self.instance(Fate::Lives).await?;
        self.ends(instance, "no crash").await?;
        Ok(self.completed().await? > before)
    }

    /// The task comes once more when it is done.
    pub(super) async fn delivered_twice(&self) -> Result<(), RedeliveryError> {
        self.undisturbed().await?;
        self.enqueue().await?;
        self.undisturbed().await?;
        Ok(())
    }

    /// The task is worked on by an instance that dies at a point. `false` where it did not get there: then the task has ended.
    pub(super) async fn dies(&self, disturbance: Disturbance) -> Result<bool, RedeliveryError> {
        let fate = match disturbance {
            Disturbance::BeforeHandler => Fate::BeforeHandler,
            Disturbance::AtAwait(number) => Fate::AtAwait(number),
            Disturbance::BeforeAcknowledgement | Disturbance::Duplicate => {
                self.broker.crash_at(CrashPoint::BeforeAcknowledgement);
                Fate::Lives
            }
        };
        let instance = self.instance(fate).await?;
        let during = disturbance.to_string();
        self.until(&during, async || Ok(self.broker.has_crashed() || self.is_idle(&instance).await?)).await?;
        if self.broker.has_crashed() {
            instance.life.end();
            return Ok(true);
        }
        self.ends(instance, &during).await?;
        Ok(false)
    }

    /// The leases of the instance that has died are over, and another one has the task.
    pub(super) async fn goes_on(&self, disturbance: Disturbance) -> Result<(), RedeliveryError> {
        for (route, queue) in &self.queues {
            self.take_back(route, queue).await?;
        }
        let instance = self.instance(Fate::Lives).await?;
        self.ends(instance, &disturbance.to_string()).await
    }

    /// Whether the task may not be run again after a crash.
    pub(super) fn may_stay_dead(&self) -> bool {
        self.cast.runs_once() || self.cast.route.options().work.crashes <= 1
    }

    /// Whether the task was not run again, and is a dead letter for that.
    pub(super) async fn has_buried(&self) -> Result<bool, RedeliveryError> {
        let dead = self.bus.durable().dead(&self.task.queue, None, 100).await?;
        let is_it = |reason| matches!(reason, DeadReason::Unfinished | DeadReason::Crashed);
        Ok(dead.iter().any(|dead| dead.id == self.task.id && is_it(dead.reason)))
    }

    async fn enqueue(&self) -> Result<(), RedeliveryError> {
        let results = self.bus.durable().enqueue(vec![self.task.clone()], false).await;
        for result in results {
            result?;
        }
        Ok(())
    }

    async fn completed(&self) -> Result<u64, QueueError> {
        let mut completed = 0;
        for (route, queue) in &self.queues {
            if std::ptr::eq(*route, self.cast.route) {
                completed += self.bus.durable().counts(queue).await?.ended.completed;
            }
        }
        Ok(completed)
    }

    async fn instance(&self, fate: Fate) -> Result<Instance, RedeliveryError> {
        let bus = Bus::connect(&self.broker.url()).await?;
        let life = Life::new(&self.broker, &self.task.queue, &self.task.id, fate);
        let mut serving = bus.serve(Mortal { router: Arc::clone(&self.router), life: Arc::clone(&life) });
        if self.cast.route.facts().queue().is_some_and(|queue| queue.bound) {
            serving = serving.on(self.message.address());
        }
        Ok(Instance { service: serving.await?, life })
    }

    /// The instance has done everything, and goes.
    async fn ends(&self, instance: Instance, during: &str) -> Result<(), RedeliveryError> {
        self.until(during, async || self.is_idle(&instance).await).await?;
        instance.service.shutdown_within(PATIENCE).await.map_err(|_| unfinished(during))
    }

    /// Whether nothing is to be done. What is delayed is due where nothing else is left.
    async fn is_idle(&self, instance: &Instance) -> Result<bool, RedeliveryError> {
        let (mut busy, mut delayed) = (0, 0);
        for (_, queue) in &self.queues {
            for part in self.bus.durable().counts(queue).await?.parts.values() {
                busy += part.waiting + part.running;
                delayed += part.delayed;
            }
        }
        let stats = instance.service.stats();
        let called: usize = stats.handlers.iter().map(|handler| handler.running + handler.waiting).sum();
        if busy == 0 && called == 0 && delayed > 0 {
            self.broker.run_due();
        }
        Ok(busy == 0 && called == 0 && delayed == 0)
    }

    /// Waits until something is so twice in a row: what is on its way from one handler to the next is nowhere for a moment.
    async fn until(
        &self,
        during: &str,
        is_so: impl AsyncFn() -> Result<bool, RedeliveryError>,
    ) -> Result<(), RedeliveryError> {
        let deadline = deadline_after(PATIENCE).into_std();
        let (mut looks, mut in_a_row) = (0, 0);
        while in_a_row < 2 {
            in_a_row = if is_so().await? { in_a_row + 1 } else { 0 };
            if now() > deadline {
                return Err(unfinished(during));
            }
            looks += 1;
            if looks < LOOKS { yield_now().await } else { sleep(BETWEEN_LOOKS).await }
        }
        Ok(())
    }

    /// As the keeper of another instance does when a lease is over.
    async fn take_back(&self, route: &Route, queue: &QueueSpec) -> Result<(), QueueError> {
        self.broker.advance(queue.lease + Duration::from_secs(1));
        let policy = Policy::new(route.options(), PARK_AFTER, "testing".into());
        let mut keeper = self.bus.durable().keeper();
        let Overdue { entries, now, .. } = keeper.overdue(queue, Duration::MAX, 1_000).await?;
        let decide = |overdue| policy.reclaim(overdue, Moment { now, random: 0 });
        let settlements: Vec<Settlement> = entries.iter().map(decide).collect();
        keeper.reclaim(queue, settlements).await?;
        Ok(())
    }
}

/// A service on a bus of its own, which goes with it.
struct Instance {
    service: Service,
    life: Arc<Life>,
}

fn unfinished(during: &str) -> RedeliveryError {
    RedeliveryError::Unfinished { during: during.to_owned(), patience: PATIENCE }
}
