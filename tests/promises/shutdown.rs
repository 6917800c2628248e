//! A service that is shut down finishes what has arrived, or says how much it abandoned; one that is dropped stops at once.

use std::{
    env,
    future::Future,
    pin::pin,
    process::{Command, Stdio},
    task::Poll,
    time::{Duration, Instant},
};

use tidings::{Bus, Publish, Service, ShutdownError, router};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};

use crate::support::{Gate, Gauge, News, SOON, Step, message};

/// Handles two steps at a time, each of which waits at the gate.
struct Worker {
    gate: Gate,
    gauge: Gauge,
    done: Recorder<u64>,
    news: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(concurrency = 2)]
    async fn step(&self, step: Step) -> Publish<Done> {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record(step.n);
        Publish::new(Done { n: step.n })
    }

    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

#[derive(Debug, tidings::Message, serde::Serialize, serde::Deserialize)]
#[channel("done:<n>")]
struct Done {
    n: u64,
}

struct Spawned {
    worker: Worker,
}

#[router]
impl Spawned {
    #[handler(spawn, concurrency = 2)]
    async fn step(&self, step: Step) {
        let _inside = self.worker.gauge.enter();
        self.worker.gate.pass().await;
        self.worker.done.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.worker.news.record(news.n);
    }
}

fn worker(gate: &Gate) -> (Worker, Gauge, Recorder<u64>, Recorder<u64>) {
    let (gauge, done, news) = (Gauge::default(), Recorder::new(), Recorder::new());
    let worker = Worker { gate: gate.clone(), gauge: gauge.clone(), done: done.clone(), news: news.clone() };
    (worker, gauge, done, news)
}

/// Publishes so many steps and waits until they have arrived: what is published after them has.
async fn arrived(bus: &Bus, count: u64, news: &Recorder<u64>) {
    for n in 0..count {
        Step { line: n % 3, n }.publish(bus).await.unwrap();
    }
    News { n: 0 }.publish(bus).await.unwrap();
    news.wait_for(1).await;
}

async fn is_gone(world: &World) {
    assert_eq!((world.patterns().await, world.subscriptions("news").await), (0, 0));
}

async fn eventually_gone(world: &World) {
    eventually(SOON, async || world.patterns().await == 0 && world.subscriptions("news").await == 0).await;
}

fn missed(result: Result<(), ShutdownError>) -> usize {
    match result {
        Err(ShutdownError::DeadlineMissed { abandoned, .. }) => abandoned,
        other => panic!("expected a missed deadline, not {other:?}"),
    }
}

/// Shuts down while the handlers wait, sees that the server hears of it at once, and lets them go on.
async fn drains(world: &World, service: Service, bus: &Bus, gate: &Gate, done: &Recorder<u64>) {
    let mut stopping = JoinSet::new();
    stopping.spawn(service.shutdown());
    eventually_gone(world).await;
    assert!(done.is_empty());
    Step { line: 0, n: 1_000 }.publish(bus).await.unwrap();
    gate.open();
    stopping.join_next().await.unwrap().unwrap().unwrap();
    let mut done = done.all();
    done.sort_unstable();
    assert_eq!(done, (0..20).collect::<Vec<_>>());
    is_gone(world).await;
}

on_each! {
    async fn shutdown_finishes_what_has_arrived_and_takes_nothing_new(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, _, done, news) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        arrived(&bus, 20, &news).await;
        drains(&world, service, &bus, &gate, &done).await;
    }

    async fn shutdown_finishes_spawned_handlers_too(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, _, done, news) = worker(&gate);
        let service = bus.serve(Spawned { worker }).await.unwrap();
        arrived(&bus, 20, &news).await;
        drains(&world, service, &bus, &gate, &done).await;
    }

    async fn what_handlers_return_while_draining_is_published(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, _, _, news) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        let mut dones = world.bus().await.subscribe(Done::any()).await.unwrap();
        arrived(&bus, 3, &news).await;
        let mut stopping = JoinSet::new();
        stopping.spawn(service.shutdown());
        eventually(SOON, async || world.subscriptions("news").await == 0).await;
        gate.open();
        stopping.join_next().await.unwrap().unwrap().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(message(&mut dones).await.n);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }

    async fn an_idle_service_shuts_down_at_once(world: World) {
        let bus = world.bus().await;
        let (worker, _, _, _) = worker(&Gate::closed());
        let service = bus.serve(worker).await.unwrap();
        let start = Instant::now();
        service.shutdown().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(3));
        eventually_gone(&world).await;
    }

    async fn a_missed_deadline_says_how_many_were_abandoned(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, gauge, done, news) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        arrived(&bus, 20, &news).await;
        assert_eq!(gauge.inside(), 2);
        let deadline = Duration::from_millis(100);
        let start = Instant::now();
        assert_eq!(missed(service.shutdown_within(deadline).await), 20);
        assert!((deadline..deadline + Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(gauge.inside(), 0);
        assert!(done.is_empty());
        eventually_gone(&world).await;
    }

    async fn a_missed_deadline_counts_spawned_handlers_too(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, gauge, _, news) = worker(&gate);
        let service = bus.serve(Spawned { worker }).await.unwrap();
        arrived(&bus, 5, &news).await;
        eventually(SOON, async || gauge.inside() == 2).await;
        assert_eq!(missed(service.shutdown_within(Duration::from_millis(100)).await), 5);
        eventually(SOON, async || gauge.inside() == 0).await;
        eventually_gone(&world).await;
    }

    async fn a_dropped_service_stops_at_once(world: World) {
        let bus = world.bus().await;
        for spawned in [false, true] {
            let gate = Gate::closed();
            let (worker, gauge, done, news) = worker(&gate);
            let service = match spawned {
                false => bus.serve(worker).await.unwrap(),
                true => bus.serve(Spawned { worker }).await.unwrap(),
            };
            arrived(&bus, 20, &news).await;
            eventually(SOON, async || gauge.inside() == 2).await;
            drop(service);
            eventually(SOON, async || gauge.inside() == 0).await;
            eventually_gone(&world).await;
            assert!(done.is_empty());
        }
    }

    async fn a_shutdown_that_is_given_up_stops_the_service(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, gauge, done, news) = worker(&gate);
        let service = bus.serve(worker).await.unwrap();
        arrived(&bus, 4, &news).await;
        let short = tokio::time::timeout(Duration::from_millis(50), service.shutdown()).await;
        assert!(short.is_err());
        eventually(SOON, async || gauge.inside() == 0).await;
        eventually_gone(&world).await;
        assert!(done.is_empty());
    }

    #[one_server("it is stopped")]
    async fn shutdown_does_not_wait_for_a_server_that_is_away(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        let (worker, _, done, news) = worker(&gate);
        let service = bus.serve(Spawned { worker }).await.unwrap();
        arrived(&bus, 4, &news).await;
        world.stop();
        gate.open();
        let start = Instant::now();
        service.shutdown().await.unwrap();
        assert!(start.elapsed() < SOON);
        assert_eq!(done.len(), 4);
        world.start().await;
        is_gone(&world).await;
    }
}

/// The name of the test below as the test program knows it, and the variable that tells it that it is the child.
const CHILD: &str = "shutdown::a_signal_drains_and_ends_the_program";
const WAITS_FOR: &str = "TIDINGS_SIGNAL_CHILD";

/// A signal is for a whole process, so the service runs in one of its own: this test program, once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_drains_and_ends_the_program() {
    if let Ok(waits_for) = env::var(WAITS_FOR) {
        return serve_until(&waits_for).await;
    }
    for (waits_for, signal) in [("ctrl-c", "-INT"), ("stop", "-INT"), ("stop", "-TERM")] {
        let mut child = tokio::process::Command::from(Command::new(env::current_exe().unwrap()))
            .args([CHILD, "--exact", "--nocapture"])
            .env(WAITS_FOR, waits_for)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = async || tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
        while !line().await.ends_with("serving") {}
        let sent = Command::new("kill").args([signal, &child.id().unwrap().to_string()]).status().unwrap();
        assert!(sent.success());
        while line().await != "drained 4" {}
        assert!(tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap().success());
    }
}

/// The same for handlers that hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_program_at_once() {
    for (waits_for, first, second) in [
        ("ctrl-c twice", "-INT", "-INT"),
        ("stop twice", "-TERM", "-INT"),
        ("stop twice", "-INT", "-TERM"),
        ("stop twice", "-TERM", "-TERM"),
    ] {
        let mut child = tokio::process::Command::from(Command::new(env::current_exe().unwrap()))
            .args([CHILD, "--exact", "--nocapture"])
            .env(WAITS_FOR, waits_for)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let id = child.id().unwrap().to_string();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = async || tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
        for (waits_for, signal) in [("serving", first), ("stopping", second)] {
            while !line().await.ends_with(waits_for) {}
            assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        }
        while line().await != "interrupted 4" {}
        assert!(tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap().success());
    }
}

async fn serve_until(waits_for: &str) {
    let world = World::memory();
    let bus = world.bus().await;
    let gate = Gate::closed();
    let (worker, _, done, news) = worker(&gate);
    let service = bus.serve(worker).await.unwrap();
    arrived(&bus, 4, &news).await;
    let running = async {
        match waits_for {
            "ctrl-c" | "ctrl-c twice" => service.run_until_ctrl_c().await,
            "stop twice" => service.run_until_stopped_within(Duration::MAX).await,
            _ => service.run_until_stopped().await,
        }
    };
    let mut running = pin!(running);
    // The first poll listens for the signal.
    let polled = std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    println!("serving");
    let let_go = async {
        // It unsubscribes when the signal arrives, and only then may the handlers end.
        eventually_gone(&world).await;
        if waits_for.ends_with("twice") {
            println!("stopping");
        } else {
            gate.open();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = running => match result {
            Err(ShutdownError::Interrupted { abandoned, .. }) => return println!("interrupted {abandoned}"),
            result => result.unwrap(),
        },
        () = let_go => {}
    }
    println!("drained {}", done.len());
}
