//! A handler that waits stalls nobody, limits hold and are reached, and what does not fit is dropped oldest first and counted.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use tidings::{Bounds, Event, router};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, Gauge, News, SOON, Step, event, handler, messages};

struct Slow {
    gate: Gate,
    gauge: Gauge,
    steps: Recorder<u64>,
    news: Recorder<u64>,
}

impl Slow {
    fn new(gate: &Gate) -> Self {
        Self { gate: gate.clone(), gauge: Gauge::default(), steps: Recorder::new(), news: Recorder::new() }
    }
}

#[router]
impl Slow {
    #[handler(concurrency = 4)]
    async fn step(&self, step: Step) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.steps.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

struct OneAtATime {
    gate: Gate,
    started: Recorder<u64>,
    done: Recorder<u64>,
}

#[router]
impl OneAtATime {
    #[handler(concurrency = 1)]
    async fn step(&self, step: Step) {
        self.started.record(step.n);
        self.gate.pass().await;
        self.done.record(step.n);
    }
}

/// Keeps a thread busy until it is let go, as a long computation does. Clones are the same computation.
#[derive(Clone, Default)]
struct Computing(Arc<(Mutex<Phase>, Condvar)>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Idle,
    Running,
    Done,
}

/// Ends the computation, also when the test fails: its runtime could not end otherwise.
struct Finish(Computing);

impl Computing {
    fn compute(&self) {
        let (phase, changed) = &*self.0;
        let mut phase = phase.lock().unwrap();
        if *phase == Phase::Idle {
            *phase = Phase::Running;
            changed.notify_all();
        }
        drop(changed.wait_while(phase, |phase| *phase != Phase::Done).unwrap());
    }

    /// The computation ends when this is dropped.
    fn until_dropped(&self) -> Finish {
        Finish(self.clone())
    }

    /// Returns once a thread computes.
    fn wait_for_start(&self) {
        let (phase, changed) = &*self.0;
        let (phase, _) =
            changed.wait_timeout_while(phase.lock().unwrap(), SOON, |phase| *phase == Phase::Idle).unwrap();
        assert_eq!(*phase, Phase::Running);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let (phase, changed) = &*self.0.0;
        *phase.lock().unwrap() = Phase::Done;
        changed.notify_all();
    }
}

struct Busy {
    computing: Computing,
    done: Recorder<u64>,
    news: Recorder<u64>,
}

#[router]
impl Busy {
    #[handler(spawn)]
    async fn step(&self, step: Step) {
        self.computing.compute();
        self.done.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

/// Computes in its first call without saying `spawn`, which it should.
struct Stuck {
    start: Gate,
    started: Recorder<()>,
    computing: Computing,
    handled: Recorder<u64>,
}

#[router]
impl Stuck {
    #[handler]
    async fn step(&self, step: Step) {
        if step.n == 0 {
            self.started.record(());
            self.start.pass().await;
            self.computing.compute();
        }
        self.handled.record(step.n);
    }
}

on_each! {
    async fn a_handler_that_waits_does_not_stall_the_others(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let slow = Slow::new(&gate);
        let (steps, news, gauge) = (slow.steps.clone(), slow.news.clone(), slow.gauge.clone());
        let _service = bus.serve(slow).await.unwrap();
        // More than the slow handler works on at once, so that some wait for it.
        for line in 0..20 {
            Step { line, n: line }.publish(&bus).await.unwrap();
        }
        eventually(SOON, async || gauge.inside() == 4).await;
        for n in 0..100 {
            News { n }.publish(&bus).await.unwrap();
        }
        assert_eq!(news.wait_for(100).await, (0..100).collect::<Vec<_>>());
        assert!(steps.is_empty());
        gate.open();
        steps.wait_for(20).await;
    }

    async fn a_service_that_waits_does_not_stall_the_others_on_its_bus(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let _stuck = bus.serve(Slow::new(&gate)).await.unwrap();
        let open = Gate::closed();
        open.open();
        let quick = Slow::new(&open);
        let steps = quick.steps.clone();
        let _quick = bus.serve(quick).await.unwrap();
        let _unread = bus.subscribe(Step::any()).await.unwrap();
        for n in 0..2_000 {
            Step { line: n % 10, n }.publish(&bus).await.unwrap();
        }
        steps.wait_for(2_000).await;
    }

    async fn a_handler_reaches_its_concurrency_and_never_exceeds_it(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let slow = Slow::new(&gate);
        let (steps, gauge) = (slow.steps.clone(), slow.gauge.clone());
        let _service = bus.serve(slow).await.unwrap();
        for line in 0..60 {
            Step { line, n: line }.publish(&bus).await.unwrap();
        }
        for done in 0..60 {
            let expected = (60 - done).min(4);
            eventually(SOON, async || gauge.inside() == expected).await;
            gate.admit(1);
            steps.wait_for(done + 1).await;
        }
        assert_eq!(gauge.most(), 4);
    }

    async fn a_full_handler_buffer_drops_the_oldest_and_counts_them(world: World) {
        let bus = world.bus_with(|builder| builder.handler_buffer(Bounds::messages(10).bytes(1024 * 1024))).await;
        let gate = Gate::closed();
        let (started, done) = (Recorder::new(), Recorder::new());
        let router = OneAtATime { gate: gate.clone(), started: started.clone(), done: done.clone() };
        let service = bus.serve(router).await.unwrap();
        for n in 0..100 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        // One runs, ten wait, the others have made room.
        started.wait_for(1).await;
        eventually(SOON, async || handler(&service, "step").dropped == 89).await;
        gate.open();
        assert_eq!(done.wait_for(11).await, [0, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
        eventually(SOON, async || handler(&service, "step").handled == 11).await;
        assert_eq!(handler(&service, "step").dropped, 89);
    }

    async fn a_handler_buffer_is_bounded_in_bytes_too(world: World) {
        // The payload of a message with its envelope and channel has between 100 and 200 bytes.
        let bus = world.bus_with(|builder| builder.handler_buffer(Bounds::messages(1_000).bytes(2_000))).await;
        let gate = Gate::closed();
        let (started, done) = (Recorder::new(), Recorder::new());
        let router = OneAtATime { gate: gate.clone(), started: started.clone(), done: done.clone() };
        let service = bus.serve(router).await.unwrap();
        for n in 0..100 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        started.wait_for(1).await;
        eventually(SOON, async || handler(&service, "step").dropped >= 79).await;
        gate.open();
        let done = done.wait_until("the last step", |done| done.last() == Some(&99)).await;
        eventually(SOON, async || handler(&service, "step").handled == done.len() as u64).await;
        assert!((11..=21).contains(&done.len()), "{done:?}");
        assert_eq!(handler(&service, "step").dropped + done.len() as u64, 100);
    }

    async fn a_slow_subscription_is_told_what_it_missed_where_it_missed_it(world: World) {
        let bus = world.bus_with(|builder| builder.subscription_buffer(Bounds::messages(100).bytes(1024 * 1024))).await;
        let mut steps = bus.subscribe(Step::channel(1)).await.unwrap();
        let (mut expected, mut lagged) = (0, 0);
        for round in 1..=5 {
            for n in (round - 1) * 1_000..round * 1_000 {
                Step { line: 1, n }.publish(&bus).await.unwrap();
            }
            // Reads a part and falls behind again.
            while expected < round * 1_000 - 50 {
                match event(&mut steps).await {
                    Event::Message(step) => {
                        assert_eq!(step.n, expected, "a message is missing without a word");
                        expected += 1;
                    }
                    Event::Lagged(count) => {
                        lagged += count;
                        expected += count;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(lagged > 0);
        assert_eq!(steps.stats().lagged, lagged);
        assert_eq!(steps.stats().messages + lagged, expected);
    }

    async fn a_spawned_handler_that_computes_does_not_stall_the_others(world: World) {
        let bus = world.bus().await;
        let computing = Computing::default();
        let finish = computing.until_dropped();
        let (done, news) = (Recorder::new(), Recorder::new());
        let router = Busy { computing: computing.clone(), done: done.clone(), news: news.clone() };
        let _service = bus.serve(router).await.unwrap();
        // From another program, so that nothing but the message wakes this runtime's two threads: the one that reads it is the one that
        // computes, and the other must take over the reading.
        by_another_program(async || world.publish_raw("line:1", r#"{"line":1,"n":1}"#).await);
        computing.wait_for_start();
        for n in 0..50 {
            News { n }.publish(&bus).await.unwrap();
        }
        assert_eq!(news.wait_for(50).await, (0..50).collect::<Vec<_>>());
        assert!(done.is_empty());
        drop(finish);
        done.wait_for(1).await;
    }

    async fn a_service_that_is_stuck_loses_nothing_silently_and_stalls_the_others_for_a_moment_only(world: World) {
        let bus = world.bus_with(|builder| builder.subscription_buffer(Bounds::messages(100_000).bytes(100_000_000))).await;
        let (start, computing) = (Gate::closed(), Computing::default());
        let finish = computing.until_dropped();
        let (started, handled) = (Recorder::new(), Recorder::new());
        let stuck = Stuck {
            start: start.clone(),
            started: started.clone(),
            computing: computing.clone(),
            handled: handled.clone(),
        };
        let service = bus.serve(stuck).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let publisher = world.bus().await;
        Step { line: 1, n: 0 }.publish(&publisher).await.unwrap();
        started.wait_for(1).await;
        // By a task, so that both threads are awake: tokio wakes no other for a single task, and if the thread that has read the message
        // computed at once, nobody might read on.
        JoinSet::from_iter([async move { start.open() }]).join_all().await;
        // More than the service's hand-over buffer holds, while its one task computes without `spawn`.
        computing.wait_for_start();
        let total = 12_000;
        for n in 1..total {
            Step { line: 1, n }.publish(&publisher).await.unwrap();
        }
        assert_eq!(messages(&mut steps, total as usize).await.len() as u64, total);
        drop(finish);
        handled.wait_until("the last step", |handled| handled.last() == Some(&(total - 1))).await;
        eventually(SOON, async || service.stats().lagged + handler(&service, "step").handled == total).await;
        assert!(service.stats().lagged > 0);
        assert!(handled.all().is_sorted());
    }
}

/// Runs on a runtime and a thread of its own, to the end.
fn by_another_program<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}
