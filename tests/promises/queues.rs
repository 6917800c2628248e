//! A task that was accepted is not lost, and runs on one instance at a time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, ChannelParam, Delivery, EnqueueError, Lease, Message, QueueError, ShutdownError, SubscribeError, TaskState,
    router,
};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

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

on_each! {
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
        assert!(
            matches!(missed, Err(ShutdownError::DeadlineMissed { abandoned: 3, handed_back: 3, .. })),
            "{missed:?}"
        );
        // Well before their leases are over.
        let start = Instant::now();
        done.wait_for(5).await;
        assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
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

    async fn a_handler_that_blocks_its_thread_keeps_its_lease(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (first, second) = (Recorder::new(), Recorder::new());
        let service = one.serve(Blocker { ran: first.clone() }).await.unwrap();
        Block { millis: 2_500 }.enqueue(&one).await.unwrap();
        first.wait_for(1).await;
        let elsewhere = other.serve(Blocker { ran: second.clone() }).await.unwrap();
        eventually(SOON, async || other.queue::<Block>().counts().await.unwrap().ended.completed == 1).await;
        assert_eq!((first.len(), second.len()), (1, 0));
        service.shutdown().await.unwrap();
        elsewhere.shutdown().await.unwrap();
    }

    async fn a_handler_that_runs_longer_than_its_lease_runs_once(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        let (first, gauge, first_done) = worker(&gate);
        let (second, other_gauge, _) = worker(&gate);
        let service = one.serve(first).await.unwrap();
        enqueued(&one, 1).await;
        eventually(SOON, async || gauge.inside() == 1).await;
        let elsewhere = other.serve(second).await.unwrap();
        let start = Instant::now();
        eventually(SOON, async || start.elapsed() > Duration::from_secs(3)).await;
        assert_eq!((gauge.inside(), other_gauge.most()), (1, 0));
        gate.open();
        first_done.wait_for(1).await;
        service.shutdown().await.unwrap();
        elsewhere.shutdown().await.unwrap();
    }

    async fn a_task_waits_for_its_time(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        gate.open();
        let (worker, _, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        let start = Instant::now();
        Step { n: 2 }.enqueue(&bus).delay(Duration::from_millis(600)).await.unwrap();
        Step { n: 1 }.enqueue(&bus).delay(Duration::from_millis(300)).await.unwrap();
        Step { n: 0 }.enqueue(&bus).await.unwrap();
        let counts = bus.queue::<Step>().counts().await.unwrap();
        assert_eq!(counts.parts["tasks:steps"].delayed, 2);
        done.wait_for(2).await;
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
        done.wait_for(3).await;
        assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
        assert_eq!(done.all(), [0, 1, 2]);
        service.shutdown().await.unwrap();
    }

    async fn one_that_has_waited_for_too_long_is_not_run(world: World) {
        let bus = world.bus().await;
        Step { n: 1 }.enqueue(&bus).expires_in(Duration::from_millis(1)).await.unwrap();
        let start = Instant::now();
        eventually(SOON, async || start.elapsed() > Duration::from_millis(20)).await;
        Step { n: 2 }.enqueue(&bus).expires_in(SOON).await.unwrap();
        let gate = Gate::closed();
        gate.open();
        let (worker, _, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        done.wait_for(1).await;
        eventually(SOON, async || bus.queue::<Step>().counts().await.unwrap().ended.expired == 1).await;
        assert_eq!((done.all(), handler(&service, "step").expired), (vec![2], 1));
        service.shutdown().await.unwrap();
    }

    async fn better_tasks_come_first(world: World) {
        let bus = world.bus().await;
        let mut expected = Vec::new();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            for n in 0..5 {
                Ranked { priority, n }.enqueue(&bus).await.unwrap();
            }
        }
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            expected.extend((0..5).map(|n| (priority, n)));
        }
        let done = Recorder::new();
        let service = bus.serve(Ranks { done: done.clone() }).await.unwrap();
        done.wait_for(15).await;
        assert_eq!(done.all(), expected);
        service.shutdown().await.unwrap();
    }

    async fn an_instance_that_is_quiet_takes_nothing_and_finishes_what_it_has(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        let (first, gauge, done) = worker(&gate);
        let service = one.serve(first).await.unwrap();
        enqueued(&one, 1).await;
        eventually(SOON, async || gauge.inside() == 1).await;
        service.quiet();
        let (second, _, elsewhere_done) = worker(&gate);
        let elsewhere = other.serve(second).await.unwrap();
        gate.open();
        done.wait_for(1).await;
        let steps: Vec<Step> = (10..30).map(|n| Step { n }).collect();
        assert!(one.enqueue_all(&steps).await.iter().all(Result::is_ok));
        elsewhere_done.wait_for(20).await;
        assert_eq!((done.len(), sorted(&elsewhere_done)), (1, (10..30).collect()));
        service.shutdown().await.unwrap();
        elsewhere.shutdown().await.unwrap();
    }

    async fn what_is_given_back_has_used_no_attempt(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (first, second) = (Recorder::new(), Recorder::new());
        let service = one.serve(Attempts { hangs: true, seen: first.clone() }).await.unwrap();
        Attempt { n: 1 }.enqueue(&one).await.unwrap();
        first.wait_for(1).await;
        let missed = service.shutdown_within(Duration::ZERO).await;
        assert!(matches!(missed, Err(ShutdownError::DeadlineMissed { handed_back: 1, .. })), "{missed:?}");
        let elsewhere = other.serve(Attempts { hangs: false, seen: second.clone() }).await.unwrap();
        second.wait_for(1).await;
        let [first, second] = [first.all()[0], second.all()[0]];
        assert_eq!((first.0, first.1), (1, 0));
        assert_eq!((second.0, second.1), (1, 1));
        assert!(second.2 > first.2, "the token of a later owner is larger: {first:?}, {second:?}");
        elsewhere.shutdown().await.unwrap();
    }

    async fn a_crash_is_counted_and_three_of_them_are_enough(world: World) {
        let bus = world.bus().await;
        Attempt { n: 1 }.enqueue(&bus).await.unwrap();
        for crashes in 0..3_u32 {
            let seen = Recorder::new();
            let service = bus.serve(Attempts { hangs: true, seen: seen.clone() }).await.unwrap();
            seen.wait_for(1).await;
            assert_eq!(seen.all()[0].0, crashes + 1);
            drop(service);
        }
        let seen = Recorder::new();
        let last = bus.serve(Attempts { hangs: false, seen: seen.clone() }).await.unwrap();
        let queue = bus.queue::<Attempt>();
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        let letters = queue.dead_letters().await.unwrap();
        assert_eq!((letters[0].reason, letters[0].crashes, letters[0].died.len()), (tidings::DeadReason::Crashed, 3, 3));
        assert!(seen.is_empty());
        last.shutdown().await.unwrap();
    }

    async fn a_part_that_can_have_any_value_is_served_where_it_is_named(world: World) {
        let bus = world.bus().await;
        let unbound = bus.serve(Regions { done: Recorder::new() }).await;
        assert!(
            matches!(unbound, Err(SubscribeError::Queue(QueueError::Unbound { queue: "tasks:regions:<region>", .. }))),
            "{unbound:?}"
        );
        // A part of a queue that no handler works on would wait for ever.
        let elsewhere = bus.serve(Regions { done: Recorder::new() }).on(Region::channel("eu")).on(Step::channel()).await;
        assert!(
            matches!(elsewhere, Err(SubscribeError::Queue(QueueError::NoHandler { queue: "tasks:steps", .. }))),
            "{elsewhere:?}"
        );
        for region in ["eu", "us", "a:b{c}*"] {
            Region { region: region.to_owned() }.enqueue(&bus).await.unwrap();
        }
        let done = Recorder::new();
        let regions = Regions { done: done.clone() };
        let serving = bus.serve(regions).on(Region::channel("eu")).on(Region::channel("a:b{c}*"));
        let service = serving.await.unwrap();
        done.wait_for(2).await;
        let mut seen = done.all();
        seen.sort_unstable();
        assert_eq!(seen, ["a:b{c}*", "eu"]);
        let others = bus.queue::<Region>().on(Region::channel("us")).counts().await.unwrap();
        assert_eq!(others.parts["tasks:regions:us"].waiting, 1);
        assert!(matches!(bus.queue::<Region>().counts().await, Err(QueueError::Unbound { .. })));
        service.shutdown().await.unwrap();
    }

    async fn a_key_keeps_a_task_from_being_there_twice(world: World) {
        let bus = world.bus().await;
        let hour = Duration::from_secs(3_600);
        let step = Step { n: 1 };
        let first = step.enqueue(&bus).deduplicate("one", hour).await.unwrap();
        let again = step.enqueue(&bus).deduplicate("one", hour).await.unwrap();
        let other = step.enqueue(&bus).deduplicate("other", hour).await.unwrap();
        assert_eq!((first.was_there, again.was_there, other.was_there), (None, Some(TaskState::Waiting), None));
        assert_eq!(first.id, again.id);
        let batch = bus.enqueue_all::<Step>([]).push_enqueueing(step.enqueue(&bus).deduplicate("one", hour)).push(&step);
        let results = batch.atomic().await.unwrap();
        assert_eq!(results[0].was_there, Some(TaskState::Waiting));
        assert_eq!(bus.queue::<Step>().counts().await.unwrap().parts["tasks:steps"].waiting, 3);
    }

    async fn what_cannot_be_enqueued_says_why(world: World) {
        let bus = world.bus().await;
        let large = Note { text: "x".repeat(2_000) }.enqueue(&bus).await;
        assert!(matches!(large, Err(EnqueueError::PayloadTooLarge { limit: 1_000, .. })), "{large:?}");
        let small = Note { text: "x".into() };
        let results = bus.enqueue_all([&small, &small, &small]).await;
        assert!(matches!(
            &results[..],
            [Ok(_), Ok(_), Err(EnqueueError::QueueFull { max_length: 2, .. })]
        ), "{results:?}");
        // All or none.
        let other = Step { n: 1 };
        let refused = bus.enqueue_all([&other]).push(&small).atomic().await.unwrap_err();
        match refused {
            EnqueueError::QueueFull { .. } => assert!(!world.is_cluster()),
            EnqueueError::SeveralSlots { .. } => assert!(world.is_cluster()),
            other => panic!("{other}"),
        }
        assert_eq!(bus.queue::<Step>().counts().await.unwrap().parts["tasks:steps"].waiting, 0);
        bus.close().await.unwrap();
        let closed = small.enqueue(&bus).await;
        assert!(matches!(closed, Err(EnqueueError::Closed { .. })), "{closed:?}");
    }

    async fn closing_the_bus_finishes_what_runs(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, gauge, done) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        enqueued(&bus, 5).await;
        eventually(SOON, async || gauge.inside() == 3).await;
        let mut closing = JoinSet::new();
        let closes = bus.clone();
        closing.spawn(async move { closes.close().await });
        eventually(SOON, async || bus.subscribe(crate::support::News::channel()).await.is_err()).await;
        gate.open();
        closing.join_next().await.unwrap().unwrap().unwrap();
        drop(service);
        // What ran was finished and settled, and what was not taken is there.
        let counts = world.bus().await.queue::<Step>().counts().await.unwrap();
        let (completed, waiting) = (counts.ended.completed, counts.parts["tasks:steps"].waiting);
        assert_eq!((completed, completed + waiting), (done.len() as u64, 5));
        assert!(completed >= 3, "{counts:?}");
    }

    async fn an_instance_is_seen_by_whoever_looks(world: World) {
        let bus = world.bus_with(|builder| builder.program("worker", "1.2.3")).await;
        let gate = Gate::closed();
        let (worker, gauge, _) = worker(&gate);
        let service = bus.serve(worker).group("steps").await.unwrap();
        let queue = bus.queue::<Step>();
        eventually(SOON, async || queue.workers().await.unwrap().len() == 1).await;
        let seen = queue.workers().await.unwrap().remove(0);
        assert_eq!((seen.group.as_str(), seen.program.as_deref(), seen.version.as_deref()), ("steps", Some("worker"), Some("1.2.3")));
        assert_eq!(seen.knows, [("Step".to_owned(), 1)]);
        enqueued(&bus, 1).await;
        eventually(SOON, async || gauge.inside() == 1).await;
        let running = queue.running(10).await.unwrap();
        assert_eq!((running.len(), running[0].instance.as_str()), (1, seen.instance.as_str()));
        assert_eq!(running[0].channel, "tasks:steps");
        assert!(running[0].running_for >= running[0].since_renewal);
        gate.open();
        service.shutdown().await.unwrap();
        assert!(queue.workers().await.unwrap().is_empty(), "it has said that it goes");
    }
}

/// Work of which some comes first.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:ranked:<priority>", strict = priority)]
struct Ranked {
    priority: Priority,
    n: u64,
}

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum Priority {
    High,
    Normal,
    Low,
}

struct Ranks {
    done: Recorder<(Priority, u64)>,
}

#[router]
impl Ranks {
    #[handler(idempotent, timeout = "10s", concurrency = 1)]
    async fn ranked(&self, ranked: Ranked) {
        tokio::task::yield_now().await;
        self.done.record((ranked.priority, ranked.n));
    }
}

/// Work that keeps its thread.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:blocks", lease = "1s")]
struct Block {
    millis: u64,
}

struct Blocker {
    ran: Recorder<u64>,
}

#[router]
impl Blocker {
    #[handler(idempotent, timeout = "30s")]
    async fn block(&self, block: Block) {
        self.ran.record(block.millis);
        std::thread::sleep(Duration::from_millis(block.millis));
    }
}

/// Work that tells how often it came.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:attempts", lease = "1s")]
struct Attempt {
    n: u64,
}

struct Attempts {
    hangs: bool,
    /// Attempt, hand-backs and token.
    seen: Recorder<(u32, u32, u64)>,
}

#[router]
impl Attempts {
    #[handler(idempotent, timeout = "none")]
    async fn attempt(&self, _attempt: Attempt, delivery: &Delivery, lease: &Lease) {
        assert!(!lease.remaining().is_zero());
        self.seen.record((delivery.attempt(), delivery.hand_backs(), lease.token()));
        if self.hangs {
            std::future::pending::<()>().await;
        }
    }
}

/// Work of one of any number of regions.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:regions:<region>", bound)]
struct Region {
    region: String,
}

struct Regions {
    done: Recorder<String>,
}

#[router]
impl Regions {
    #[handler(idempotent, timeout = "10s")]
    async fn region(&self, region: Region) {
        self.done.record(region.region);
    }
}

/// Little, and of little size.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:notes", max_length = 2, payload_limit = 1000)]
struct Note {
    text: String,
}
