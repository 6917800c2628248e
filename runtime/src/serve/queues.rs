//! The queues of a service: what they are, before anything is taken, and what works on them.

use std::{fs, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    bus::{closing::Stage, handle::Bus},
    error::{QueueError, ShutdownError, SubscribeError},
    handler::{contract::Router, ending::Endings},
    message::facts::{Facts, Kind, QueueFacts},
    route::{entry::Route, routes::Routes},
    serve::{
        call::Calls,
        control::listen,
        driver::Phase,
        ends::Ends,
        holdings::Holdings,
        keeper::{Keeper, Kept},
        policy::{
            parts::{best_first, parts_of},
            turns::Rotation,
            verdict::Policy,
        },
        stats::Counters,
        tally::Tally,
        work::{Worker, chance::Chance},
    },
    time::unix_millis,
    transport::{contract::Attachment, durable::contract::QueueSpec},
};

/// The channels of queues that are bound, each with the template of its queue.
pub(crate) type Bound = Vec<(&'static str, Arc<str>)>;

/// A queue as it is served or looked at. `bound` are the channels that are chosen, where a parameter can have any value.
pub(crate) fn queue_of(facts: &Facts, bound: &Bound, bus: &Bus) -> Result<QueueSpec, QueueError> {
    let (template, promised) = (facts.template(), facts.queue().unwrap_or(QueueFacts::DEFAULT));
    let chosen = bound.iter().filter(|(queue, _)| *queue == template.text()).map(|(_, channel)| Arc::clone(channel));
    let chosen: Vec<Arc<str>> = chosen.collect();
    let parts = match parts_of(&template, promised.turns) {
        _ if !chosen.is_empty() => best_first(chosen, &template, promised.turns),
        Some(parts) => parts,
        None => return Err(QueueError::Unbound { queue: template.text() }),
    };
    Ok(QueueSpec {
        name: bus.queue_name(template.text()),
        parts,
        lease: promised.lease,
        at_most_once: promised.at_most_once,
        dead: promised.dead_letters,
        results: promised.results,
    })
}

/// The queues of a service, which the server has proven to serve.
pub(super) struct Queues {
    instance: Arc<str>,
    park_after: Duration,
    /// Tells the keeper that one of the holdings has something for it.
    wakes: Arc<Notify>,
    queues: Vec<Declared>,
}

/// A queue that the server has proven to serve.
struct Declared {
    /// Of its route.
    number: usize,
    queue: QueueSpec,
    holdings: Arc<Holdings>,
    /// How many dead letters have left it by their bounds so far.
    trimmed: u64,
    /// Where the instance hears of tasks that are cancelled.
    control: Option<Attachment>,
}

/// What works on the queues of a service. Dropping it stops everything.
pub(super) struct Works {
    workers: JoinSet<Result<(), ShutdownError>>,
    keeper: Keeper,
}

/// What is done with the queues of a router that has any. Behind pointers, so that a program without queues has nothing of it.
pub(super) struct WithQueues {
    /// [`Queues::declare`].
    pub(super) declare: Declare,
    /// [`Queues::start`].
    pub(super) start: Start,
    pub(super) endings: fn() -> Vec<Endings>,
}

type Declare = for<'a> fn(&'a Routes, &'a Bound, Duration, &'a Bus) -> BoxFuture<'a, Result<Queues, SubscribeError>>;
type Start = fn(
    Queues,
    (Routes, &Arc<dyn Calls>, &[Endings]),
    &Bus,
    &str,
    &Arc<Counters>,
    (&watch::Receiver<Phase>, &watch::Receiver<Stage>),
) -> Result<Option<Works>, SubscribeError>;

impl WithQueues {
    pub(super) fn of<R: Router>() -> Option<Self> {
        // Constant, so that it is compiled only where there are any.
        if const { R::ROUTES.has_queues() } {
            Some(Self { declare: Queues::declare, start: Queues::start, endings: R::endings })
        } else {
            None
        }
    }
}

/// Refuses parts of a queue that these routes do not serve.
pub(super) fn check_bound(routes: &Routes, bound: &Bound) -> Result<(), SubscribeError> {
    let is_served = |queue| routes.iter().any(|route| route.facts().template().text() == queue);
    match bound.iter().find(|(queue, _)| !is_served(*queue)) {
        Some((queue, _)) => Err(QueueError::NoHandler { queue }.into()),
        None => Ok(()),
    }
}

impl Queues {
    /// Makes what the queues of these routes need, and has parked tasks wait again that are known here.
    fn declare<'a>(
        routes: &'a Routes,
        bound: &'a Bound,
        park_after: Duration,
        bus: &'a Bus,
    ) -> BoxFuture<'a, Result<Self, SubscribeError>> {
        async move {
            let (wakes, mut queues) = (Arc::new(Notify::new()), Vec::new());
            for (number, route) in routes.iter().enumerate() {
                if route.facts().kind() == Kind::Queue {
                    let queue = queue_of(route.facts(), bound, bus)?;
                    let holdings = Arc::new(Holdings::new(queue.lease, route.options().timeout, Arc::clone(&wakes)));
                    queues.push(Declared { number, queue, holdings, trimmed: 0, control: None });
                }
            }
            for Declared { number, queue, holdings, trimmed, control } in &mut queues {
                bus.durable().declare(queue).await?;
                *trimmed = bus.durable().counts(queue).await?.ended.dead_trimmed;
                if !queue.at_most_once {
                    *control = listen(bus, queue, holdings).await?;
                }
                let facts = routes.at(*number).facts();
                let unparked = bus.durable().unpark(&queue.name, facts.name(), facts.version()).await?;
                if unparked > 0 {
                    tracing::info!(queue = queue.name.template, count = unparked, "tasks that were parked wait again");
                }
            }
            Ok(Self { instance: instance_name(), park_after, wakes, queues })
        }
        .boxed()
    }

    /// Starts a worker for each queue, and what keeps their leases; `None` where there are none.
    fn start(
        self,
        (routes, calls, endings): (Routes, &Arc<dyn Calls>, &[Endings]),
        bus: &Bus,
        group: &str,
        counters: &Arc<Counters>,
        (phases, stages): (&watch::Receiver<Phase>, &watch::Receiver<Stage>),
    ) -> Result<Option<Works>, SubscribeError> {
        let Self { instance, park_after, wakes, queues } = self;
        let Some(first) = queues.first() else { return Ok(None) };
        let template = first.queue.name.template;
        let (mut kept, mut workers) = (Vec::new(), JoinSet::new());
        for declared in queues {
            let route = routes.at(declared.number);
            let policy = Policy::new(route.options(), park_after, Arc::clone(&instance));
            let ends = Ends::new(bus, &declared.queue, endings.get(declared.number), counters, declared.number);
            let about = about(&routes, bus, group, &declared.queue);
            kept.push(keeps(route, &declared, &policy, &ends, about));
            let Declared { number, queue, holdings, control, .. } = declared;
            let turns = route.facts().queue().unwrap_or(QueueFacts::DEFAULT).turns;
            let worker = Worker {
                calls: Arc::clone(calls),
                bus: bus.clone(),
                route: (number, route),
                rotation: Rotation::new(&queue, &route.template(), turns),
                queue,
                policy,
                ends,
                control,
                instance: Arc::clone(&instance),
                holdings,
                tally: Tally::new(bus.clone(), routes, Arc::clone(counters)),
            };
            workers.spawn(worker.run(phases.clone(), stages.clone()));
        }
        let keeper = Keeper::start(bus.clone(), kept, instance, wakes).map_err(|error| {
            let reason = format!("no thread can be started to keep leases: {error}");
            QueueError::Server { queue: template, reason }
        })?;
        Ok(Some(Works { workers, keeper }))
    }
}

fn keeps(route: &Route, declared: &Declared, policy: &Policy, ends: &Ends, about: String) -> Kept {
    Kept {
        queue: declared.queue.clone(),
        about,
        policy: policy.clone(),
        ends: ends.clone(),
        holdings: Arc::clone(&declared.holdings),
        trimmed: declared.trimmed,
        handler: route.handler(),
        knows: (route.facts().name(), route.facts().version()),
    }
}

impl Works {
    /// Completes when every worker has ended, and the instance has said that it goes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops everything at once.
    pub(super) fn ended(mut self) -> BoxFuture<'static, Result<(), ShutdownError>> {
        async move {
            let mut result = Ok(());
            while let Some(ended) = self.workers.join_next().await {
                match ended {
                    Ok(ended) => result = both(result, ended),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => result = both(result, Err(ShutdownError::TaskEnded)),
                }
            }
            self.keeper.leave().await;
            result
        }
        .boxed()
    }
}

/// How two parts of a service have ended together.
pub(super) fn both(one: Result<(), ShutdownError>, other: Result<(), ShutdownError>) -> Result<(), ShutdownError> {
    match (one, other) {
        (
            Err(ShutdownError::DeadlineMissed { abandoned, handed_back, deadline }),
            Err(ShutdownError::DeadlineMissed { abandoned: more, handed_back: back, deadline: other }),
        ) => Err(ShutdownError::DeadlineMissed {
            abandoned: abandoned + more,
            handed_back: handed_back + back,
            deadline: deadline.max(other),
        }),
        (Ok(()), other) => other,
        // That messages are left says more than that the bus is closed.
        (Err(_), Err(missed @ ShutdownError::DeadlineMissed { .. })) => Err(missed),
        (Err(error), _) => Err(error),
    }
}

/// What no other instance is called: the host and the number of the process repeat in containers, the rest does not.
fn instance_name() -> Arc<str> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.unwrap_or_default();
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_');
    let host: String = host.trim().chars().filter(is_plain).take(64).collect();
    let (mut random, process) = (Chance::new(), std::process::id());
    let host = if host.is_empty() { "host" } else { &host };
    format!("{host}-{process}-{:016x}", random.next()).into()
}

/// What an instance says of itself, in JSON, to those who serve a queue too. How long it holds its tasks they would not know otherwise, where they are of
/// another version.
fn about(routes: &Routes, bus: &Bus, group: &str, queue: &QueueSpec) -> String {
    let (program, version) = bus.config().program.clone().unzip();
    let queues = routes.iter().filter(|route| route.facts().kind() == Kind::Queue);
    let knows: Vec<_> = queues
        .map(|route| serde_json::json!({ "name": route.facts().name(), "version": route.facts().version() }))
        .collect();
    serde_json::json!({
        "group": group,
        "program": program,
        "version": version,
        "started_millis": unix_millis(),
        "lease_millis": u64::try_from(queue.lease.as_millis()).unwrap_or(u64::MAX),
        "knows": knows,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_have_one_name() {
        let (one, other) = (instance_name(), instance_name());
        assert_ne!(one, other);
        assert!(one.len() < 120 && one.chars().all(|character| !character.is_whitespace()), "{one}");
    }

    #[test]
    fn what_two_parts_have_left_is_added() {
        let missed = |abandoned, handed_back, seconds| {
            Err(ShutdownError::DeadlineMissed { abandoned, handed_back, deadline: Duration::from_secs(seconds) })
        };
        let closed = || Err(ShutdownError::BusClosed { reason: "gone".to_owned() });
        assert_eq!(both(Ok(()), Ok(())), Ok(()));
        assert_eq!(both(Ok(()), closed()), closed());
        assert_eq!(both(closed(), Ok(())), closed());
        assert_eq!(both(closed(), missed(2, 1, 3)), missed(2, 1, 3));
        assert_eq!(both(missed(2, 1, 3), missed(4, 4, 5)), missed(6, 5, 5));
    }
}
