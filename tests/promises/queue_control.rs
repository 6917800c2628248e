//! An instance obeys at once: it stops what is cancelled, and takes nothing from a queue that is paused.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Cancellation, Delivery, Message, Service, TaskState, router};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};

use crate::support::{Gate, SOON, handler};

/// The leases are long: nothing here waits for a heartbeat.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("control:jobs", lease = "5m")]
struct Job {
    n: u64,
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("control:spawned", lease = "5m")]
struct Spawned {
    n: u64,
}

#[derive(Clone)]
struct Worker {
    gate: Gate,
    begun: Recorder<(u64, u32)>,
    done: Recorder<u64>,
}

impl Worker {
    fn new() -> Self {
        Self { gate: Gate::closed(), begun: Recorder::new(), done: Recorder::new() }
    }

    async fn work(&self, n: u64, delivery: &Delivery) {
        self.begun.record((n, delivery.attempt()));
        self.gate.pass().await;
        self.done.record(n);
    }
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "60s", concurrency = 4)]
    async fn job(&self, job: Job, delivery: &Delivery) {
        self.work(job.n, delivery).await;
    }

    #[handler(idempotent, timeout = "60s", concurrency = 4, spawn)]
    async fn spawned(&self, job: Spawned, delivery: &Delivery) {
        self.work(job.n, delivery).await;
    }
}

async fn serve(bus: &Bus, worker: &Worker) -> Service {
    bus.serve(worker.clone()).await.unwrap()
}

on_each! {
    async fn a_handler_whose_task_is_cancelled_is_stopped_at_its_next_await(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let (one, two) = (serve(&bus, &worker).await, serve(&bus, &worker).await);
        let start = Instant::now();
        let id = Job { n: 1 }.enqueue(&bus).await.unwrap().id;
        let spawned = Spawned { n: 2 }.enqueue(&bus).await.unwrap().id;
        worker.begun.wait_for(2).await;
        let cancelled = Cancellation::Cancelled(TaskState::Running);
        assert_eq!(bus.queue::<Job>().cancel(&id).await.unwrap(), cancelled);
        assert_eq!(bus.queue::<Spawned>().cancel(&spawned).await.unwrap(), cancelled);
        for name in ["job", "spawned"] {
            let stats = || [handler(&one, name), handler(&two, name)];
            // It is counted a moment before its place is free.
            let is_stopped = || {
                let [one, two] = stats();
                (one.cancelled + two.cancelled, one.running + two.running) == (1, 0)
            };
            eventually(SOON, async || is_stopped()).await;
            assert!(stats().iter().all(|stats| stats.lost_leases == 0));
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it is the news that stops it, and no heartbeat");
        worker.gate.open();
        // What is not cancelled is done.
        Job { n: 3 }.enqueue(&bus).await.unwrap();
        worker.done.wait_for(1).await;
        assert_eq!(worker.done.all(), [3]);
        one.shutdown().await.unwrap();
        two.shutdown().await.unwrap();
    }

    async fn whoever_ends_when_it_is_cancelled_has_lost_no_lease(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        worker.gate.open();
        let service = serve(&bus, &worker).await;
        let mut cancelled = 0;
        for n in 0..300 {
            let id = Job { n }.enqueue(&bus).await.unwrap().id;
            if let Cancellation::Cancelled(TaskState::Running) = bus.queue::<Job>().cancel(&id).await.unwrap() {
                cancelled += 1;
            }
        }
        eventually(SOON, async || handler(&service, "job").cancelled == cancelled).await;
        let counts = bus.queue::<Job>().counts().await.unwrap();
        assert_eq!(counts.ended.cancelled + counts.ended.completed, 300);
        assert_eq!(handler(&service, "job").lost_leases, 0);
        service.shutdown().await.unwrap();
    }

    async fn nothing_is_taken_from_a_queue_that_is_paused_and_all_of_it_when_it_goes_on(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        worker.gate.open();
        let (one, two) = (serve(&bus, &worker).await, serve(&bus, &worker).await);
        let jobs = bus.queue::<Job>();
        Job { n: 0 }.enqueue(&bus).await.unwrap();
        worker.done.wait_for(1).await;
        // Whoever is to be woken has said that it is there; its first heartbeat may come a moment later.
        eventually(SOON, async || jobs.workers().await.unwrap().len() == 2).await;
        for round in 1..=5 {
            jobs.pause().await.unwrap();
            let before = worker.begun.len();
            for n in 0..10 {
                Job { n }.enqueue(&bus).await.unwrap();
            }
            // What was given out before anybody could know it goes back, as it was.
            eventually(SOON, async || {
                let counts = jobs.counts().await.unwrap();
                counts.waiting() == 10 && counts.is_paused
            })
            .await;
            assert_eq!(worker.begun.len(), before, "nothing begins");
            let resumed = Instant::now();
            jobs.resume().await.unwrap();
            worker.done.wait_for((1 + round * 10) as usize).await;
            assert!(resumed.elapsed() < Duration::from_secs(4), "it goes on at once");
        }
        assert!(worker.begun.all().iter().all(|&(_, attempt)| attempt == 1), "none of it costs an attempt");
        // One who starts meanwhile takes nothing either, and ends at once.
        jobs.pause().await.unwrap();
        let three = serve(&bus, &worker).await;
        Job { n: 99 }.enqueue(&bus).await.unwrap();
        for service in [one, two, three] {
            service.shutdown().await.unwrap();
        }
        assert_eq!(jobs.counts().await.unwrap().waiting(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_may_not_hear_of_it_finds_out_with_its_heartbeat() {
    #[derive(Clone, Debug, Message, Serialize, Deserialize)]
    #[queue("control:deaf", lease = "1s")]
    struct Deaf {
        n: u64,
    }

    struct Waits(Recorder<u64>, Gate);

    #[router]
    impl Waits {
        #[handler(idempotent, timeout = "60s")]
        async fn deaf(&self, job: Deaf) {
            self.0.record(job.n);
            self.1.pass().await;
        }
    }

    let server = RedisServer::with_settings(&["user anna on >secret ~* resetchannels +@all"]).await;
    let bus = Bus::connect(&format!("redis://anna:secret@127.0.0.1:{}", server.port())).await.unwrap();
    let (begun, gate) = (Recorder::new(), Gate::closed());
    let service = bus.serve(Waits(begun.clone(), gate.clone())).await.unwrap();
    let admin = Bus::connect(&server.url()).await.unwrap();
    let id = Deaf { n: 1 }.enqueue(&admin).await.unwrap().id;
    begun.wait_for(1).await;
    admin.queue::<Deaf>().cancel(&id).await.unwrap();
    eventually(SOON, async || handler(&service, "deaf").running == 0).await;
    service.shutdown().await.unwrap();
}
