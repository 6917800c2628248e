//! A program finds each task of a queue, and waits until none is left.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{DrainError, Message, Progress, QueueError, TaskState, TaskView, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, Gauge, SOON};

/// Work of a number.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:steps")]
struct Step {
    n: u64,
}

/// Work for somebody.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:<tenant: String>:work", bound)]
struct Work {
    n: u64,
}

/// Works on three steps at a time, each of which waits at the gate.
struct Worker {
    gate: Gate,
    gauge: Gauge,
    done: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "30s", concurrency = 3)]
    async fn step(&self, step: Step, progress: Progress) {
        let _inside = self.gauge.enter();
        progress.report(0.25, "a quarter");
        self.gate.pass().await;
        self.done.record(step.n);
    }
}

fn worker(gate: &Gate) -> (Worker, Gauge, Recorder<u64>) {
    let (gauge, done) = (Gauge::default(), Recorder::new());
    (Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone() }, gauge, done)
}

on_each! {
    async fn a_task_is_found_by_its_id_with_all_that_is_known_of_it(world: World) {
        let bus = world.bus_in("shop", |builder| builder).await;
        let steps = bus.queue::<Step>();
        assert!(steps.find("no such task").await.unwrap().is_none());
        let gate = Gate::closed();
        let (worker, _, done) = worker(&gate);
        let step = Step { n: 7 };
        let enqueued = step.enqueue(&bus).header("tenant", "acme").await.unwrap();
        let found = async || steps.find(&enqueued.id).await.unwrap().unwrap();
        let task = found().await;
        assert_eq!((task.id.as_str(), task.channel.as_str(), task.state), (&*enqueued.id, "tasks:steps", TaskState::Waiting));
        assert_eq!((task.attempt, task.failures, task.crashes, &task.error, &task.instance), (1, 0, 0, &None, &None));
        assert_eq!((task.name.as_deref(), task.version, task.task().unwrap().n), (Some("Step"), Some(1), 7));
        assert_eq!(task.headers().get("tenant"), Some("acme"));
        assert!(task.enqueued.is_some() && task.due.is_none() && task.progress.is_none());
        assert!(!format!("{task:?}").contains("acme"), "not the payload");
        let service = bus.serve(worker).await.unwrap();
        eventually(SOON, async || found().await.progress.is_some()).await;
        let task = found().await;
        let progress = task.progress.unwrap();
        assert_eq!((task.state, progress.fraction, progress.text.as_str()), (TaskState::Running, Some(0.25), "a quarter"));
        // Its first heartbeat may come a moment later.
        eventually(SOON, async || !steps.workers().await.unwrap().is_empty()).await;
        assert_eq!(task.instance, Some(steps.workers().await.unwrap()[0].instance.clone()));
        gate.open();
        done.wait_for(1).await;
        eventually(SOON, async || steps.find(&enqueued.id).await.unwrap().is_none()).await;
        service.shutdown().await.unwrap();
    }

    async fn a_queue_that_nobody_has_served_can_be_looked_at(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        for waiting in 0..2 {
            assert_eq!(steps.running(10).await.unwrap(), []);
            assert!(steps.workers().await.unwrap().is_empty() && steps.dead_letters().await.unwrap().is_empty());
            assert_eq!(steps.tasks(TaskState::Waiting).await.unwrap().tasks.len(), waiting);
            assert_eq!(steps.counts().await.unwrap().parts["tasks:steps"].waiting, waiting as u64);
            Step { n: 7 }.enqueue(&bus).await.unwrap();
        }
    }

    async fn tasks_are_listed_page_by_page(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let many: Vec<Step> = (0..250).map(|n| Step { n }).collect();
        assert!(bus.enqueue_all(&many).await.iter().all(Result::is_ok));
        for n in 0..5 {
            Step { n: 1_000 + n }.enqueue(&bus).delay(Duration::from_secs(3600 + n)).await.unwrap();
        }
        let all = async |state, limit| {
            let (mut found, mut from) = (Vec::new(), None);
            loop {
                let page = steps.tasks(state).limit(limit);
                let page = match from.take() {
                    Some(next) => page.from(next).await.unwrap(),
                    None => page.await.unwrap(),
                };
                found.extend(page.tasks.iter().map(|task: &TaskView<Step>| task.task().unwrap().n));
                from = page.next;
                if from.is_none() {
                    return found;
                }
            }
        };
        for limit in [1, 40, 250, 1_000] {
            assert_eq!(all(TaskState::Waiting, limit).await, (0..250).collect::<Vec<_>>(), "in pages of {limit}");
        }
        assert_eq!(all(TaskState::Delayed, 2).await, (1_000..1_005).collect::<Vec<_>>());
        let gate = Gate::closed();
        let (worker, gauge, _) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        eventually(SOON, async || gauge.inside() == 3).await;
        let running: BTreeSet<u64> = all(TaskState::Running, 2).await.into_iter().collect();
        assert!(running.len() >= 3 && running.contains(&0), "{running:?}");
        for (state, word) in [
            (TaskState::Completed, "completed"),
            (TaskState::Discarded, "discarded"),
            (TaskState::Expired, "expired"),
            (TaskState::Cancelled, "cancelled"),
        ] {
            let nothing = steps.tasks(state).await;
            assert!(
                matches!(&nothing, Err(QueueError::NothingLeft { state, .. }) if *state == word),
                "{nothing:?}"
            );
        }
        gate.open();
        service.shutdown().await.unwrap();
    }

    async fn of_a_queue_that_is_bound_it_is_said_which_parts_are_looked_at(world: World) {
        let bus = world.bus().await;
        let acme = Work { n: 1 }.enqueue_to(Work::channel("acme"), &bus).await.unwrap();
        Work { n: 2 }.enqueue_to(Work::channel("bolt"), &bus).await.unwrap();
        let all = bus.queue::<Work>();
        assert!(matches!(all.find(&acme.id).await, Err(QueueError::Unbound { .. })));
        let work = bus.queue::<Work>().on(Work::channel("acme"));
        assert_eq!(work.find(&acme.id).await.unwrap().unwrap().task().unwrap().n, 1);
        let page = work.tasks(TaskState::Waiting).await.unwrap();
        assert_eq!((page.tasks.len(), page.tasks[0].id.as_str()), (1, acme.id.as_str()));
        work.cancel(&acme.id).await.unwrap();
        work.wait_until_empty(SOON).await.unwrap();
    }

    async fn whoever_waits_until_a_queue_is_empty_goes_on_when_the_last_task_has_ended(world: World) {
        let (bus, other) = (world.bus().await, world.bus().await);
        let steps = other.queue::<Step>();
        steps.wait_until_empty(Duration::ZERO).await.unwrap();
        let gate = Gate::closed();
        let (worker, gauge, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        let many: Vec<Step> = (0..30).map(|n| Step { n }).collect();
        assert!(bus.enqueue_all(&many).await.iter().all(Result::is_ok));
        eventually(SOON, async || gauge.inside() == 3).await;
        let left = steps.wait_until_empty(Duration::from_millis(100)).await;
        let Err(DrainError::TimedOut { left, within, .. }) = left else { panic!("{left:?}") };
        assert_eq!((left.outstanding(), within), (30, Duration::from_millis(100)));
        let finish = async {
            for _ in 0..30 {
                gate.admit(1);
                tokio::task::yield_now().await;
            }
        };
        let (empty, idle, ()) = tokio::join!(steps.wait_until_empty(SOON), steps.wait_until_idle(SOON), finish);
        empty.unwrap();
        idle.unwrap();
        assert_eq!((done.len(), steps.counts().await.unwrap().outstanding()), (30, 0));
        service.shutdown().await.unwrap();
    }

    async fn what_is_delayed_is_left_of_an_idle_queue(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let later = Step { n: 1 }.enqueue(&bus).delay(Duration::from_secs(3600)).await.unwrap();
        steps.wait_until_idle(Duration::ZERO).await.unwrap();
        let left = steps.wait_until_empty(Duration::from_millis(50)).await;
        let Err(error @ DrainError::TimedOut { .. }) = left else { panic!("{left:?}") };
        assert_eq!(error.to_string(), "on tasks:steps: after 50ms 0 tasks wait, 1 are delayed, 0 run, and 0 are parked");
        let cancel = async {
            assert!(steps.cancel(&later.id).await.is_ok());
        };
        let (empty, ()) = tokio::join!(steps.wait_until_empty(SOON), cancel);
        empty.unwrap();
    }

    async fn whoever_waits_survives_a_lost_connection(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let gate = Gate::closed();
        let (worker, gauge, _) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        Step { n: 1 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || gauge.inside() == 1).await;
        let trouble = async {
            tokio::task::yield_now().await;
            world.disconnect_everything().await;
            gate.open();
        };
        let (empty, ()) = tokio::join!(steps.wait_until_empty(SOON), trouble);
        empty.unwrap();
        service.shutdown().await.unwrap();
    }
}
