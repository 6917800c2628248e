//! A task that was accepted is not lost, and runs on one instance at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};
use tidings_tests::{Recorder, World, eventually, on_both};

use crate::support::{Gate, Gauge, SOON, handler};

/// Work of a number.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:steps", lease = "1s")]
struct Step {
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
    async fn step(&self, step: Step) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record(step.n);
    }
}

fn worker(gate: &Gate) -> (Worker, Gauge, Recorder<u64>) {
    let (gauge, done) = (Gauge::default(), Recorder::new());
    (Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone() }, gauge, done)
}

async fn enqueued(bus: &Bus, count: u64) {
    let steps: Vec<Step> = (0..count).map(|n| Step { n }).collect();
    assert!(bus.enqueue_all(&steps).await.iter().all(Result::is_ok));
}

fn sorted(recorder: &Recorder<u64>) -> Vec<u64> {
    let mut all = recorder.all();
    all.sort_unstable();
    all
}

on_both! {
    async fn a_task_that_waits_is_done_once_somebody_serves_its_queue(world: World) {
        let bus = world.bus().await;
        let enqueued = Step { n: 7 }.enqueue(&bus).await.unwrap();
        assert!(!enqueued.id.is_empty() && enqueued.was_there.is_none());
        let gate = Gate::closed();
        gate.open();
        let (worker, _, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        done.wait_for(1).await;
        Step { n: 8 }.enqueue(&bus).await.unwrap();
        done.wait_for(2).await;
        assert_eq!(done.all(), [7, 8]);
        eventually(SOON, async || handler(&service, "step").handled == 2).await;
        service.shutdown().await.unwrap();
    }

    async fn an_instance_has_no_more_tasks_than_its_concurrency(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, gauge, done) = worker(&gate);
        enqueued(&bus, 20).await;
        let service = bus.serve(worker).await.unwrap();
        eventually(SOON, async || gauge.inside() == 3).await;
        for admitted in 1..=5 {
            gate.admit(1);
            done.wait_for(admitted).await;
            eventually(SOON, async || gauge.inside() == 3).await;
        }
        gate.open();
        done.wait_for(20).await;
        assert_eq!((sorted(&done), gauge.most()), ((0..20).collect(), 3));
        service.shutdown().await.unwrap();
    }

    async fn two_instances_share_a_queue(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        let (first, first_gauge, first_done) = worker(&gate);
        let (second, second_gauge, second_done) = worker(&gate);
        let services = (one.serve(first).await.unwrap(), other.serve(second).await.unwrap());
        enqueued(&one, 6).await;
        eventually(SOON, async || first_gauge.inside() == 3 && second_gauge.inside() == 3).await;
        gate.open();
        eventually(SOON, async || first_done.len() + second_done.len() == 6).await;
        let mut all = [first_done.all(), second_done.all()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..6).collect::<Vec<_>>());
        services.0.shutdown().await.unwrap();
        services.1.shutdown().await.unwrap();
    }

    async fn what_is_not_finished_in_time_runs_elsewhere_at_once(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (closed, open) = (Gate::closed(), Gate::closed());
        open.open();
        let (first, gauge, _) = worker(&closed);
        let service = one.serve(first).await.unwrap();
        enqueued(&one, 5).await;
        eventually(SOON, async || gauge.inside() == 3).await;
        let (second, _, done) = worker(&open);
        let elsewhere = other.serve(second).await.unwrap();
        done.wait_for(2).await;
        let missed = service.shutdown_within(Duration::from_millis(50)).await;
        assert!(missed.is_err(), "{missed:?}");
        done.wait_for(5).await;
        assert_eq!(sorted(&done), (0..5).collect::<Vec<_>>());
        elsewhere.shutdown().await.unwrap();
    }

    async fn a_dropped_instance_loses_its_tasks_to_others_after_the_lease(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (closed, open) = (Gate::closed(), Gate::closed());
        open.open();
        let (first, gauge, _) = worker(&closed);
        let service = one.serve(first).await.unwrap();
        enqueued(&one, 3).await;
        eventually(SOON, async || gauge.inside() == 3).await;
        drop(service);
        let (second, _, done) = worker(&open);
        let elsewhere = other.serve(second).await.unwrap();
        done.wait_for(3).await;
        assert_eq!(sorted(&done), (0..3).collect::<Vec<_>>());
        elsewhere.shutdown().await.unwrap();
    }
}
