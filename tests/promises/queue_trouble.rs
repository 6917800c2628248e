//! Whatever happens to instances, connections and servers: tasks are not lost, and what is going on is told.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, BusEvents, ChannelParam, Delivery, Message, Service, TaskState, router};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};

use crate::support::{Gate, Gauge, SOON, handler};

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:jobs", lease = "1s")]
struct Job {
    n: u64,
}

struct Worker {
    gate: Gate,
    gauge: Gauge,
    /// Number, failures and crashes of what was done.
    done: Recorder<(u64, u32, u32)>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "60s", concurrency = 3)]
    async fn job(&self, job: Job, delivery: &Delivery) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record((job.n, delivery.failures(), delivery.crashes()));
    }
}

async fn served(bus: &Bus, gate: &Gate) -> (Service, Gauge, Recorder<(u64, u32, u32)>) {
    let (gauge, done) = (Gauge::default(), Recorder::new());
    let worker = Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone() };
    (bus.serve(worker).await.unwrap(), gauge, done)
}

/// The next event of a kind, which must come soon.
async fn told<T>(events: &mut BusEvents, which: impl Fn(BusEvent) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = which(events.next().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(SOON, search).await.unwrap()
}

/// A newer version of [`Job`], on the same queue.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:jobs", lease = "1s")]
#[message(name = "Job", version = 2)]
struct JobV2 {
    n: u64,
    why: String,
}

struct Newer {
    done: Recorder<(u64, u32)>,
}

#[router]
impl Newer {
    #[handler(idempotent, timeout = "60s")]
    async fn job(&self, job: JobV2, delivery: &Delivery) {
        assert_eq!(job.why, "because");
        self.done.record((job.n, delivery.attempt()));
    }
}

async fn newer(bus: &Bus, count: u64) {
    for n in 0..count {
        JobV2 { n, why: "because".into() }.enqueue(bus).await.unwrap();
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:pings", at_most_once)]
struct Ping {
    n: u64,
}

struct Pings {
    seen: Recorder<u64>,
}

#[router]
impl Pings {
    #[handler(timeout = "60s")]
    async fn ping(&self, ping: Ping) {
        self.seen.record(ping.n);
        assert!(ping.n > 0, "as it should");
    }
}

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum Rank {
    High,
    Low,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:ranked:<rank>:jobs", strict = rank)]
struct Ranked {
    rank: Rank,
}

struct Ranks {
    seen: Recorder<Rank>,
}

#[router]
impl Ranks {
    #[handler(idempotent, timeout = "60s", concurrency = 1)]
    async fn ranked(&self, ranked: Ranked) {
        self.seen.record(ranked.rank);
    }
}

on_each! {
    async fn a_task_that_runs_survives_lost_connections(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (service, gauge, done) = served(&bus, &gate).await;
        Job { n: 1 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || gauge.inside() == 1).await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2_500) {
            world.disconnect_everything().await;
            let lost = Instant::now();
            eventually(SOON, async || lost.elapsed() > Duration::from_millis(150)).await;
        }
        gate.open();
        done.wait_for(1).await;
        // Enqueueing may be cut off itself; what is known to be there is done.
        eventually(SOON, async || Job { n: 2 }.enqueue(&bus).await.is_ok()).await;
        eventually(SOON, async || done.all().iter().any(|&(n, ..)| n == 2)).await;
        assert_eq!(done.all()[0], (1, 0, 0));
        assert_eq!((done.all().iter().filter(|&&(n, ..)| n == 1).count(), gauge.most() <= 3), (1, true));
        service.shutdown().await.unwrap();
    }

    #[one_server("it is frozen")]
    async fn an_instance_that_is_cut_off_for_longer_than_its_lease_stops_and_its_task_runs_again(world: World) {
        let settings = |builder: tidings::BusBuilder| {
            let (interval, deadline) = (Duration::from_millis(300), Duration::from_millis(300));
            builder.ping_interval(interval).ping_deadline(deadline).command_timeout(Duration::from_secs(1))
        };
        let bus = world.bus_with(settings).await;
        let gate = Gate::closed();
        let (service, gauge, done) = served(&bus, &gate).await;
        Job { n: 1 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || gauge.inside() == 1).await;
        world.freeze();
        eventually(SOON, async || gauge.inside() == 0).await;
        assert_eq!(handler(&service, "job").lost_leases, 1);
        world.thaw();
        eventually(SOON, async || gauge.inside() == 1).await;
        gate.open();
        done.wait_for(1).await;
        assert_eq!(done.all(), [(1, 0, 0)], "nobody has died, and the handler has not failed");
        service.shutdown().await.unwrap();
    }

    #[one_server("it is frozen")]
    async fn a_server_that_hangs_for_longer_than_a_lease_costs_no_attempt(world: World) {
        let gate = Gate::closed();
        let (one, gauge, done) = served(&world.bus().await, &gate).await;
        let bus = world.bus().await;
        for n in 1..=3 {
            Job { n }.enqueue(&bus).await.unwrap();
        }
        eventually(SOON, async || gauge.inside() == 3).await;
        // Another one, that takes from the first what it does not keep.
        let (other, others, done_by_other) = served(&world.bus().await, &gate).await;
        Job { n: 4 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || others.inside() == 1).await;
        world.freeze();
        eventually(SOON, async || gauge.inside() + others.inside() == 0).await;
        world.thaw();
        eventually(SOON, async || gauge.inside() + others.inside() == 4).await;
        gate.open();
        eventually(SOON, async || done.len() + done_by_other.len() == 4).await;
        let mut all = [done.all(), done_by_other.all()].concat();
        all.sort_unstable();
        assert_eq!(all, [(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)]);
        let ended = bus.queue::<Job>().counts().await.unwrap().ended;
        assert_eq!((ended.failed_attempts, ended.crashed_attempts), (0, 0), "{ended:?}");
        one.shutdown().await.unwrap();
        other.shutdown().await.unwrap();
    }

    #[one_server("it is stopped")]
    async fn a_server_that_comes_back_has_its_tasks_worked_on(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        gate.open();
        let (service, _, done) = served(&bus, &gate).await;
        Job { n: 1 }.enqueue(&bus).await.unwrap();
        done.wait_for(1).await;
        world.stop();
        eventually(SOON, async || Job { n: 2 }.enqueue(&bus).await.is_err()).await;
        world.start().await;
        eventually(SOON, async || Job { n: 3 }.enqueue(&bus).await.is_ok()).await;
        eventually(SOON, async || done.all().iter().any(|&(n, ..)| n == 3)).await;
        service.shutdown().await.unwrap();
    }

    async fn a_task_of_a_newer_version_waits_for_an_instance_that_knows_it(world: World) {
        let (old, new) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        gate.open();
        newer(&old, 5).await;
        let (service, _, done) = served(&old, &gate).await;
        let queue = old.queue::<Job>();
        eventually(SOON, async || queue.counts().await.unwrap().ended.unknown >= 5).await;
        let delayed = queue.tasks(TaskState::Delayed).await.unwrap().tasks;
        let why = delayed[0].error.as_deref().unwrap();
        assert!(why.starts_with("no instance has known `Job` in version 2"), "{why}");
        // What is known is worked on meanwhile.
        Job { n: 7 }.enqueue(&old).await.unwrap();
        done.wait_for(1).await;
        let seen = Recorder::new();
        let elsewhere = new.serve(Newer { done: seen.clone() }).await.unwrap();
        service.shutdown().await.unwrap();
        seen.wait_for(5).await;
        let mut all = seen.all();
        all.sort_unstable();
        assert_eq!(all, (0..5).map(|n| (n, 1)).collect::<Vec<_>>(), "without an attempt");
        assert_eq!(queue.counts().await.unwrap().dead, 0);
        elsewhere.shutdown().await.unwrap();
    }

    async fn what_nobody_knows_for_long_waits_aside(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        newer(&bus, 1).await;
        let worker = Worker { gate: Gate::closed(), gauge: Gauge::default(), done: Recorder::new() };
        let service = bus.serve(worker).park_after(Duration::ZERO).await.unwrap();
        let queue = bus.queue::<Job>();
        eventually(SOON, async || queue.counts().await.unwrap().parked == 1).await;
        let parked = told(&mut events, |event| match event {
            BusEvent::Parked { queue, count, .. } => Some((queue, count)),
            _ => None,
        });
        assert_eq!(parked.await, ("tasks:jobs", 1));
        let task = queue.tasks(TaskState::Parked).await.unwrap().tasks.remove(0);
        assert!(task.error.unwrap().contains("`Job` in version 2"));
        service.shutdown().await.unwrap();
        let seen = Recorder::new();
        let knows = bus.serve(Newer { done: seen.clone() }).await.unwrap();
        seen.wait_for(1).await;
        assert_eq!((seen.all(), queue.counts().await.unwrap().parked), (vec![(0, 1)], 0));
        knows.shutdown().await.unwrap();
    }

    async fn what_is_delivered_at_most_once_is_never_tried_again(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Pings { seen: seen.clone() }).await.unwrap();
        for n in 0..3 {
            Ping { n }.enqueue(&bus).await.unwrap();
        }
        eventually(SOON, async || handler(&service, "ping").handled == 2).await;
        let mut all = seen.all();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        let counts = bus.queue::<Ping>().counts().await.unwrap();
        assert_eq!((counts.parts["tasks:pings"].running, counts.parts["tasks:pings"].waiting, counts.dead), (0, 0, 0));
        assert_eq!(handler(&service, "ping").panicked, 1);
        service.shutdown().await.unwrap();
    }

    async fn what_a_waiting_instance_is_brought_starts_behind_what_is_better(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Ranks { seen: seen.clone() }).await.unwrap();
        let (high, low) = (Ranked { rank: Rank::High }, Ranked { rank: Rank::Low });
        for round in 1..=20 {
            let both = bus.enqueue_all([&low]).push(&high).atomic().await.unwrap();
            assert_eq!(both.len(), 2);
            seen.wait_for(2 * round).await;
        }
        let expected: Vec<Rank> = (0..20).flat_map(|_| [Rank::High, Rank::Low]).collect();
        assert_eq!(seen.all(), expected);
        service.shutdown().await.unwrap();
    }

    async fn an_idle_instance_stops_at_once(world: World) {
        let bus = world.bus().await;
        let (service, _, _) = served(&bus, &Gate::closed()).await;
        let start = Instant::now();
        service.shutdown().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(bus.queue::<Job>().workers().await.unwrap().is_empty());
    }
}

/// Work of a lease of the usual length.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:idle")]
struct Idle {
    n: u64,
}

struct Idles {
    seen: Recorder<u64>,
}

#[router]
impl Idles {
    #[handler(idempotent, timeout = "60s")]
    async fn idle(&self, idle: Idle) {
        self.seen.record(idle.n);
    }
}

async fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_has_nothing_to_do_asks_next_to_nothing() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let seen = Recorder::new();
    let service = bus.serve(Idles { seen: seen.clone() }).await.unwrap();
    Idle { n: 1 }.enqueue(&bus).await.unwrap();
    seen.wait_for(1).await;
    // Those of scripts are counted too: a take that finds nothing has four, and a wait is one.
    let asked = async || calls(&server, "evalsha").await + calls(&server, "xreadgroup").await;
    let (start, before) = (Instant::now(), asked().await);
    eventually(SOON, async || start.elapsed() > Duration::from_secs(11)).await;
    let asked = asked().await - before;
    assert!(asked <= 22, "{asked} in {:?}", start.elapsed());
    let start = Instant::now();
    Idle { n: 2 }.enqueue(&bus).await.unwrap();
    seen.wait_for(2).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    service.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_whose_keys_are_gone_is_made_again() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut events = bus.events();
    let gate = Gate::closed();
    gate.open();
    let (service, _, done) = served(&bus, &gate).await;
    for n in 0..3 {
        let _: String = server.command(&["FLUSHALL"]).await;
        let queue = told(&mut events, |event| match event {
            BusEvent::QueueGone { queue, .. } => Some(queue),
            _ => None,
        });
        if n == 0 {
            assert_eq!(queue.await, "tasks:jobs");
        }
        // Enqueued before or after the group is there again: it is not lost.
        Job { n }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || done.all().iter().any(|&(seen, ..)| seen == n)).await;
    }
    // One of them is enough within ten seconds.
    assert!(
        !std::iter::from_fn(|| futures_util::FutureExt::now_or_never(events.next()).flatten())
            .any(|event| matches!(event, BusEvent::QueueGone { .. }))
    );
    service.shutdown().await.unwrap();
}
