//! A task that is cancelled ends, wherever it is, and its handler with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Cancellation, Enqueue, Message, QueueHandle, ResultError, TaskState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, Gauge, SOON, handler};

/// Work of a number.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:steps", results = "1h")]
#[reply(u64)]
struct Step {
    n: u64,
}

/// What follows from a step.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:next")]
struct Next {
    n: u64,
}

/// Works on two steps at a time, each of which waits at the gate.
struct Worker {
    gate: Gate,
    gauge: Gauge,
    done: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "30s", concurrency = 2, retries = 0)]
    async fn step(&self, step: Step) -> (u64, Enqueue<Next>) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record(step.n);
        (step.n, Enqueue::new(Next { n: step.n }))
    }
}

fn worker(gate: &Gate) -> (Worker, Gauge, Recorder<u64>) {
    let (gauge, done) = (Gauge::default(), Recorder::new());
    (Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone() }, gauge, done)
}

async fn enqueued(bus: &Bus, count: u64) -> Vec<String> {
    let steps: Vec<Step> = (0..count).map(|n| Step { n }).collect();
    bus.enqueue_all(&steps).await.into_iter().map(|enqueued| enqueued.unwrap().id).collect()
}

async fn state(steps: &QueueHandle<Step>, id: &str) -> Option<TaskState> {
    steps.find(id).await.unwrap().map(|task| task.state)
}

on_each! {
    async fn a_task_that_has_not_begun_never_runs(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let ids = enqueued(&bus, 2).await;
        let later = Step { n: 9 }.enqueue(&bus).delay(Duration::from_secs(3600)).await.unwrap();
        assert_eq!(steps.cancel(&ids[0]).await.unwrap(), Cancellation::Cancelled(TaskState::Waiting));
        assert_eq!(steps.cancel(&later.id).await.unwrap(), Cancellation::Cancelled(TaskState::Delayed));
        // It is known for as long as results are kept.
        assert_eq!(steps.cancel(&ids[0]).await.unwrap(), Cancellation::Ended(TaskState::Cancelled));
        assert_eq!(steps.cancel("no such task").await.unwrap(), Cancellation::Unknown);
        let gate = Gate::closed();
        gate.open();
        let (worker, _, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        done.wait_for(1).await;
        eventually(SOON, async || steps.counts().await.unwrap().outstanding() == 0).await;
        assert_eq!(done.all(), [1]);
        let ended = steps.counts().await.unwrap().ended;
        assert_eq!((ended.cancelled, ended.completed), (2, 1));
        assert_eq!(steps.cancel(&ids[1]).await.unwrap(), Cancellation::Ended(TaskState::Completed));
        service.shutdown().await.unwrap();
    }

    async fn a_handler_that_runs_ends_at_its_next_await_and_does_nothing_more(world: World) {
        let (bus, other) = (world.bus().await, world.bus().await);
        let steps = other.queue::<Step>();
        let gate = Gate::closed();
        let (worker, gauge, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        let ids = enqueued(&bus, 3).await;
        eventually(SOON, async || gauge.inside() == 2).await;
        let running = if state(&steps, &ids[0]).await == Some(TaskState::Running) { 0 } else { 1 };
        assert_eq!(steps.cancel(&ids[running]).await.unwrap(), Cancellation::Cancelled(TaskState::Running));
        // Well before the next heartbeat, and its place is free for the next one.
        eventually(Duration::from_secs(5), async || handler(&service, "step").cancelled == 1).await;
        eventually(SOON, async || gauge.inside() == 2 && steps.counts().await.unwrap().waiting() == 0).await;
        gate.open();
        done.wait_for(2).await;
        eventually(SOON, async || steps.counts().await.unwrap().outstanding() == 0).await;
        assert!(!done.all().contains(&(running as u64)), "{:?}", done.all());
        let ended = steps.counts().await.unwrap().ended;
        assert_eq!((ended.cancelled, ended.completed, ended.dead, ended.failed_attempts), (1, 2, 0, 0));
        assert_eq!(other.queue::<Next>().counts().await.unwrap().waiting(), 2, "nothing follows from what was cancelled");
        let stats = handler(&service, "step");
        assert_eq!((stats.handled, stats.cancelled, stats.failed, stats.lost_leases), (2, 1, 0, 0));
        service.shutdown().await.unwrap();
    }

    async fn a_task_that_waits_for_its_next_attempt_has_none(world: World) {
        let bus = world.bus().await;
        let failing = Failing { tried: Recorder::new() };
        let tried = failing.tried.clone();
        let service = bus.serve(failing).await.unwrap();
        let flaky = bus.queue::<Flaky>();
        let enqueued = Flaky { n: 7 }.enqueue(&bus).await.unwrap();
        tried.wait_for(1).await;
        let found = async || flaky.find(&enqueued.id).await.unwrap().unwrap();
        eventually(SOON, async || found().await.state == TaskState::Delayed).await;
        let task = found().await;
        assert_eq!((task.attempt, task.failures, task.task().unwrap().n), (2, 1, 7));
        assert!(task.error.unwrap().contains("no disk") && task.due.is_some() && task.enqueued.is_some());
        assert_eq!(flaky.cancel(&enqueued.id).await.unwrap(), Cancellation::Cancelled(TaskState::Delayed));
        assert!(flaky.find(&enqueued.id).await.unwrap().is_none());
        assert_eq!((flaky.counts().await.unwrap().outstanding(), tried.len()), (0, 1));
        service.shutdown().await.unwrap();
    }

    async fn whoever_waits_for_the_result_is_told(world: World) {
        let (bus, other) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        let (worker, gauge, _) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        let enqueued = Step { n: 1 }.enqueue(&other).await.unwrap();
        eventually(SOON, async || gauge.inside() == 1).await;
        let cancel = async {
            let cancelled = bus.queue::<Step>().cancel(&enqueued.id).await.unwrap();
            assert_eq!(cancelled, Cancellation::Cancelled(TaskState::Running));
        };
        let (result, ()) = tokio::join!(enqueued.result(&other).within(SOON), cancel);
        assert!(matches!(result, Err(ResultError::Cancelled { .. })), "{result:?}");
        let later = other.queue::<Step>().result(&enqueued.id).within(SOON).await;
        assert!(matches!(later, Err(ResultError::Cancelled { .. })), "{later:?}");
        service.shutdown().await.unwrap();
    }

    async fn its_deduplication_key_is_free_again(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        for n in 0..3 {
            let step = Step { n };
            let enqueued = step.enqueue(&bus).deduplicate("the only one", SOON).await.unwrap();
            assert_eq!(enqueued.was_there, None, "{n}");
            steps.cancel(&enqueued.id).await.unwrap();
        }
        assert_eq!(steps.counts().await.unwrap().outstanding(), 0);
    }

    async fn of_cancelling_and_completing_exactly_one_counts(world: World) {
        let buses = [world.bus().await, world.bus().await, world.bus().await];
        let steps = buses[2].queue::<Step>();
        let gate = Gate::closed();
        gate.open();
        let (first, _, first_done) = worker(&gate);
        let (second, _, second_done) = worker(&gate);
        let services = [buses[0].serve(first).await.unwrap(), buses[1].serve(second).await.unwrap()];
        let (mut cancelled, mut completed) = (0, 0);
        for _ in 0..10 {
            let ids = enqueued(&buses[2], 100).await;
            // Those that are taken last first.
            let cancels = ids.iter().enumerate().rev().map(async |(n, id)| (n as u64, steps.cancel(id).await.unwrap()));
            let outcomes = futures_util::future::join_all(cancels).await;
            eventually(SOON, async || steps.counts().await.unwrap().outstanding() == 0).await;
            let done = [first_done.all(), second_done.all()].concat();
            for (n, outcome) in outcomes {
                match outcome {
                    Cancellation::Cancelled(TaskState::Waiting | TaskState::Running) => cancelled += 1,
                    Cancellation::Ended(TaskState::Completed) => {
                        assert!(done.contains(&n), "{n}");
                        completed += 1;
                    }
                    other => panic!("{n}: {other:?}"),
                }
            }
        }
        let ended = steps.counts().await.unwrap().ended;
        assert_eq!((ended.cancelled, ended.completed), (cancelled, completed));
        assert_eq!(cancelled + completed, 1_000);
        assert_eq!((ended.dead, ended.crashed_attempts, ended.failed_attempts), (0, 0, 0));
        for service in services {
            service.shutdown().await.unwrap();
        }
    }
}

/// A task that fails.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:flaky")]
struct Flaky {
    n: u64,
}

struct Failing {
    tried: Recorder<u64>,
}

#[router]
impl Failing {
    #[handler(idempotent, timeout = "30s", backoff = "1h..1h")]
    async fn flaky(&self, flaky: Flaky) -> Result<(), std::io::Error> {
        self.tried.record(flaky.n);
        Err(std::io::Error::other("no disk"))
    }
}
