//! What nobody listens to any more is unsubscribed on the server, whatever was dropped and when.

use std::time::Duration;

use tidings::{Bus, Status, router};
use tidings_tests::{LogLines, Recorder, RedisServer, World, eventually, on_each};
use tokio::task::JoinSet;
use tracing::Level;

use crate::support::{Gate, News, SOON, Step, message};

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }

    #[handler]
    async fn step(&self, step: Step) {
        self.seen.record(step.n);
    }
}

struct Waiting {
    gate: Gate,
    started: Recorder<u64>,
}

#[router]
impl Waiting {
    #[handler]
    async fn step(&self, step: Step) {
        self.started.record(step.n);
        self.gate.pass().await;
    }
}

fn listener() -> Listener {
    Listener { seen: Recorder::new() }
}

async fn nothing_is_subscribed(world: &World) {
    eventually(SOON, async || world.patterns().await == 0 && world.subscriptions("news").await == 0).await;
    eventually(SOON, async || world.subscriptions("line:1").await == 0).await;
    eventually(SOON, async || world.subscriber_connections().await == 0).await;
}

/// Subscribes and unsubscribes the same two names over and over, and checks each time that they are live.
async fn churn(bus: Bus, line: u64) {
    for n in 0..40 {
        let mut exact = bus.subscribe(Step::channel(1_u64)).await.unwrap();
        let mut any = (n % 2 == 0).then_some(bus.subscribe(Step::any()).await.unwrap());
        let own = Step { line: 1, n: line * 1_000 + n };
        own.publish(&bus).await.unwrap();
        while message(&mut exact).await != own {}
        if let Some(any) = &mut any {
            while message(any).await != own {}
        }
    }
}

on_each! {
    async fn a_dropped_subscription_ends_on_the_server(world: World) {
        let bus = world.bus().await;
        let channel = bus.subscribe(Step::channel(1_u64)).await.unwrap();
        let pattern = bus.subscribe(Step::any()).await.unwrap();
        assert_eq!((world.subscriptions("line:1").await, world.patterns().await), (1, 1));
        drop(channel);
        eventually(SOON, async || world.subscriptions("line:1").await == 0).await;
        assert_eq!(world.patterns().await, 1);
        drop(pattern);
        nothing_is_subscribed(&world).await;
        assert_eq!(Step { line: 1, n: 0 }.publish(&bus).await.unwrap().receivers, world.receivers(0));
    }

    async fn a_name_stays_as_long_as_anybody_wants_it(world: World) {
        let bus = world.bus().await;
        let first = bus.subscribe(News::channel()).await.unwrap();
        let mut second = bus.subscribe(News::channel()).await.unwrap();
        let service = bus.serve(listener()).await.unwrap();
        drop(first);
        drop(service);
        // The pattern was the service's alone; that it has gone shows that what was dropped has been dealt with.
        eventually(SOON, async || world.patterns().await == 0).await;
        assert_eq!(world.subscriptions("news").await, 1);
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut second).await.n, 1);
        drop(second);
        nothing_is_subscribed(&world).await;
    }

    async fn a_name_that_is_dropped_and_wanted_again_is_live(world: World) {
        let bus = world.bus().await;
        let mut previous = None;
        for n in 0..300 {
            // Sometimes the old one goes first, sometimes the new one comes first.
            if n % 3 == 0 {
                previous = None;
            }
            let mut steps = bus.subscribe(Step::channel(1_u64)).await.unwrap();
            drop(previous.take());
            Step { line: 1, n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut steps).await.n, n);
            previous = Some(steps);
        }
        drop(previous);
        nothing_is_subscribed(&world).await;
    }

    async fn concurrent_churn_of_one_name_loses_nothing_and_leaks_nothing(world: World) {
        let bus = world.bus().await;
        let mut tasks = JoinSet::new();
        for line in 0..6 {
            tasks.spawn(churn(bus.clone(), line));
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        nothing_is_subscribed(&world).await;
    }

    async fn a_subscribe_or_serve_that_is_given_up_midway_leaks_nothing(world: World) {
        let bus = world.bus().await;
        let mut given_up = 0;
        for micros in 0..300 {
            let limit = Duration::from_micros(3 * micros);
            // The timer has a resolution of a millisecond, so a task that runs out of turns cuts it off instead.
            let gone = tokio::select! {
                biased;
                result = bus.subscribe(Step::channel(1_u64)) => result.is_err(),
                () = turns(micros / 10) => true,
            };
            let also = tokio::time::timeout(limit, bus.serve(listener())).await.is_err();
            given_up += u64::from(gone) + u64::from(also);
        }
        nothing_is_subscribed(&world).await;
        let mut steps = bus.subscribe(Step::channel(1_u64)).await.unwrap();
        Step { line: 1, n: given_up }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut steps).await.n, given_up);
        drop(steps);
        nothing_is_subscribed(&world).await;
    }

    async fn a_service_that_is_dropped_while_it_works_leaves_nothing(world: World) {
        let bus = world.bus().await;
        let started = Recorder::new();
        let service = bus.serve(Waiting { gate: Gate::closed(), started: started.clone() }).await.unwrap();
        for line in 0..10 {
            Step { line, n: line }.publish(&bus).await.unwrap();
        }
        started.wait_for(10).await;
        drop(service);
        nothing_is_subscribed(&world).await;
    }

    #[one_server("it is stopped")]
    async fn what_is_dropped_while_the_server_is_away_does_not_come_back(world: World) {
        let bus = world.bus().await;
        let (kept, steps) = (bus.subscribe(News::channel()).await.unwrap(), bus.subscribe(Step::any()).await.unwrap());
        let service = bus.serve(listener()).await.unwrap();
        world.stop();
        drop((steps, service));
        world.start().await;
        eventually(SOON, async || world.subscriptions("news").await == 1).await;
        eventually(SOON, async || bus.status() == Status::Connected).await;
        // The service's task may end a moment after its handle.
        eventually(SOON, async || world.patterns().await == 0).await;
        drop(kept);
        nothing_is_subscribed(&world).await;
    }

    async fn dropping_everything_closes_the_connections(world: World) {
        let bus = world.bus().await;
        let steps = bus.subscribe(Step::any()).await.unwrap();
        let service = bus.serve(listener()).await.unwrap();
        drop((bus, steps, service));
        nothing_is_subscribed(&world).await;
    }
}

/// Memory has no access rules.
#[tokio::test]
async fn a_server_that_refuses_to_unsubscribe_costs_nobody_a_connection() {
    let rules = "user anna on >secret +@all &* ~* -unsubscribe -punsubscribe";
    let server = RedisServer::with_settings(&[rules]).await;
    let (warnings, _guard) = LogLines::of_this_thread(Level::WARN);
    let bus = Bus::connect(&format!("redis://anna:secret@127.0.0.1:{}", server.port())).await.unwrap();
    let mut kept = bus.subscribe(News::channel()).await.unwrap();
    for n in 0..5 {
        drop(bus.subscribe(Step::channel(1_u64)).await.unwrap());
        drop(bus.subscribe(Step::any()).await.unwrap());
        server.publish("line:1", b"what nobody wants").await;
        News { n }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut kept).await.n, n);
        // Wanted again it is there, once.
        let mut again = bus.subscribe(Step::channel(1_u64)).await.unwrap();
        Step { line: 1, n }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut again).await.n, n);
    }
    assert_eq!((kept.stats().gaps, bus.stats().reconnects), (0, 0));
    let lines = warnings.all();
    let about = |rule: &str| lines.iter().filter(|line| line.contains(rule)).count();
    assert_eq!(
        (about("ACL SETUSER anna +subscribe +unsubscribe"), about("ACL SETUSER anna +psubscribe +punsubscribe")),
        (1, 1),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
}

async fn turns(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}
