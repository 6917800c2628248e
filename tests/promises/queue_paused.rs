//! Nothing is taken from a queue that is paused, and nothing is lost in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Cancellation, Delivery, DrainError, Message, TaskState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, Gauge, SOON};

/// Work of a number.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:steps")]
struct Step {
    n: u64,
}

/// Records each step with its attempt, once it has passed the gate.
struct Worker {
    gate: Gate,
    gauge: Gauge,
    done: Recorder<(u64, u32)>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "30s", concurrency = 4)]
    async fn step(&self, step: Step, delivery: &Delivery) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record((step.n, delivery.attempt()));
    }
}

fn worker(gate: &Gate, done: &Recorder<(u64, u32)>) -> (Worker, Gauge) {
    let gauge = Gauge::default();
    (Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone() }, gauge)
}

async fn enqueued(bus: &Bus, numbers: std::ops::Range<u64>) -> Vec<String> {
    let steps: Vec<Step> = numbers.map(|n| Step { n }).collect();
    bus.enqueue_all(&steps).await.into_iter().map(|enqueued| enqueued.unwrap().id).collect()
}

fn sorted(done: &Recorder<(u64, u32)>) -> Vec<(u64, u32)> {
    let mut all = done.all();
    all.sort_unstable();
    all
}

on_each! {
    async fn under_load_nothing_is_taken_after_the_pause_and_everything_after_it_is_over(world: World) {
        let buses = [world.bus().await, world.bus().await, world.bus().await];
        let steps = buses[2].queue::<Step>();
        let (gate, done) = (Gate::closed(), Recorder::new());
        gate.open();
        let services = [
            buses[0].serve(worker(&gate, &done).0).await.unwrap(),
            buses[1].serve(worker(&gate, &done).0).await.unwrap(),
        ];
        let mut all = 0;
        for round in 1..=5 {
            enqueued(&buses[2], all..all + 400).await;
            all += 400;
            done.wait_for(usize::try_from(all).unwrap() - 400 + 20 * round).await;
            assert!(!steps.pause().await.unwrap());
            // What instances had then they finish; what they were about to get they give back.
            eventually(SOON, async || steps.counts().await.unwrap().running() == 0).await;
            let (before, left) = (done.len(), steps.counts().await.unwrap());
            assert!(left.is_paused && before as u64 + left.waiting() == all, "{before} {left:?}");
            // Whoever waits for a task is not given what comes now.
            enqueued(&buses[2], all..all + 3).await;
            all += 3;
            for _ in 0..50 {
                let counts = steps.counts().await.unwrap();
                assert_eq!((done.len(), counts.waiting() + counts.running()), (before, left.waiting() + 3));
            }
            assert!(steps.is_paused().await.unwrap());
            assert!(steps.resume().await.unwrap());
            done.wait_for(usize::try_from(all).unwrap()).await;
        }
        // Each once, at its first attempt.
        assert_eq!(sorted(&done), (0..all).map(|n| (n, 1)).collect::<Vec<_>>());
        let counts = steps.counts().await.unwrap();
        assert_eq!((counts.ended.failed_attempts, counts.ended.crashed_attempts), (0, 0));
        for service in services {
            service.shutdown().await.unwrap();
        }
    }

    async fn instances_that_wait_for_a_task_rest(world: World) {
        let (bus, other) = (world.bus().await, world.bus().await);
        let steps = other.queue::<Step>();
        let (gate, done) = (Gate::closed(), Recorder::new());
        gate.open();
        let service = bus.serve(worker(&gate, &done).0).await.unwrap();
        // It waits.
        enqueued(&other, 0..1).await;
        done.wait_for(1).await;
        steps.pause().await.unwrap();
        enqueued(&other, 1..4).await;
        // One that starts now takes nothing either.
        let later = other.serve(worker(&gate, &done).0).await.unwrap();
        eventually(SOON, async || steps.workers().await.unwrap().len() == 2).await;
        for _ in 0..20 {
            let counts = steps.counts().await.unwrap();
            assert_eq!((done.len(), counts.waiting() + counts.running()), (1, 3));
        }
        steps.resume().await.unwrap();
        done.wait_for(4).await;
        assert_eq!(sorted(&done), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        // Whoever rests stops at once.
        steps.pause().await.unwrap();
        enqueued(&other, 4..5).await;
        service.shutdown_within(SOON).await.unwrap();
        later.shutdown_within(SOON).await.unwrap();
        assert_eq!((done.len(), steps.counts().await.unwrap().waiting()), (4, 1));
    }

    async fn what_runs_is_finished_and_what_waits_can_be_cancelled(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let (gate, done) = (Gate::closed(), Recorder::new());
        let (worker, gauge) = worker(&gate, &done);
        let service = bus.serve(worker).await.unwrap();
        let ids = enqueued(&bus, 0..6).await;
        eventually(SOON, async || gauge.inside() == 4).await;
        steps.pause().await.unwrap();
        gate.open();
        done.wait_for(4).await;
        eventually(SOON, async || steps.counts().await.unwrap().running() == 0).await;
        assert_eq!(steps.cancel(&ids[4]).await.unwrap(), Cancellation::Cancelled(TaskState::Waiting));
        let left = match steps.wait_until_idle(Duration::from_millis(100)).await {
            Err(error @ DrainError::TimedOut { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(left.contains("1 tasks wait") && left.ends_with("the queue is paused"), "{left}");
        steps.resume().await.unwrap();
        steps.wait_until_empty(SOON).await.unwrap();
        assert_eq!(sorted(&done), [(0, 1), (1, 1), (2, 1), (3, 1), (5, 1)]);
        service.shutdown().await.unwrap();
    }

    async fn it_stays_paused_over_lost_connections(world: World) {
        let bus = world.bus().await;
        let steps = bus.queue::<Step>();
        let (gate, done) = (Gate::closed(), Recorder::new());
        gate.open();
        steps.pause().await.unwrap();
        let service = bus.serve(worker(&gate, &done).0).await.unwrap();
        enqueued(&bus, 0..3).await;
        world.disconnect_everything().await;
        eventually(SOON, async || steps.is_paused().await.unwrap_or(false)).await;
        world.disconnect_everything().await;
        eventually(SOON, async || steps.counts().await.is_ok_and(|counts| counts.waiting() == 3)).await;
        assert!(done.is_empty());
        eventually(SOON, async || steps.resume().await.is_ok()).await;
        done.wait_for(3).await;
        service.shutdown().await.unwrap();
    }
}
