//! After a lost connection everything is subscribed again, the gap is reported in its place, and nothing is lost outside of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tidings::{Bus, Event, Overflow, PublishError, Reconnect, Status, SubscribeError, Subscription, router};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{News, SOON, Step, event, message};

struct Listener {
    steps: Recorder<u64>,
    news: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn step(&self, step: Step) {
        self.steps.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

/// The last number of a ledger.
const END: u64 = u64::MAX;

#[derive(Clone, Debug)]
enum Seen {
    Number(u64),
    Gap,
}

/// A publisher that numbers its messages, and consumers that write down what they see.
struct Ledger {
    publisher: JoinSet<Vec<bool>>,
    consumers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    seen: Vec<Recorder<Seen>>,
    bus: Bus,
    repeats: bool,
}

impl Ledger {
    async fn open(world: &World) -> Self {
        let bus = world.bus().await;
        let listening = world.bus().await;
        let (mut consumers, mut seen) = (JoinSet::new(), Vec::new());
        for subscription in
            [listening.subscribe(Step::channel(1_u64)).await.unwrap(), listening.subscribe(Step::any()).await.unwrap()]
        {
            let recorder = Recorder::new();
            seen.push(recorder.clone());
            consumers.spawn(write_down(subscription, recorder));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut publisher = JoinSet::new();
        publisher.spawn(publish_numbers(bus.clone(), Arc::clone(&stop)));
        Self { publisher, consumers, stop, seen, bus, repeats: world.is_cluster() }
    }

    /// Waits until every consumer has seen more numbers, and at least so many gaps.
    async fn progress(&self, gaps: usize) {
        for seen in &self.seen {
            let before = seen.len();
            let what = format!("{gaps} gaps and 20 more numbers");
            let gaps_of = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::Gap)).count();
            seen.wait_until(&what, |seen| gaps_of(seen) >= gaps && seen.len() > before + 20).await;
        }
    }

    /// Panics if a number that was published is missing in a journal where no gap says so.
    async fn close(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let certain = self.publisher.join_next().await.unwrap().unwrap();
        let end = Step { line: 1, n: END };
        eventually(SOON, async || {
            end.publish(&self.bus).await.is_ok_and(|receipt| receipt.receivers.is_none_or(|receivers| receivers >= 2))
        })
        .await;
        while let Some(result) = self.consumers.join_next().await {
            result.unwrap();
        }
        for seen in &self.seen {
            assert_complete(&seen.all(), &certain, self.repeats);
        }
    }
}

async fn publish_numbers(bus: Bus, stop: Arc<AtomicBool>) -> Vec<bool> {
    let mut certain = Vec::new();
    // Paced, so that the memory transport does not fill the buffers of its subscribers.
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let step = Step { line: 1, n: certain.len() as u64 };
        certain.push(step.publish(&bus).await.is_ok());
    }
    certain
}

async fn write_down(mut steps: Subscription<Step>, seen: Recorder<Seen>) {
    while let Some(event) = steps.next().await {
        match event {
            Event::Message(step) if step.n == END => return,
            Event::Message(step) => seen.record(Seen::Number(step.n)),
            Event::Gap(_) => seen.record(Seen::Gap),
            other => panic!("{other:?}"),
        }
    }
}

/// Whoever is connected to another node of a cluster after a gap may receive once more what was on its way there.
fn assert_complete(seen: &[Seen], certain: &[bool], repeats: bool) {
    let (mut next, mut gap) = (0, false);
    let last = Seen::Number(certain.len() as u64);
    for entry in seen.iter().chain([&last]) {
        let Seen::Number(n) = *entry else {
            gap = true;
            continue;
        };
        assert!(n >= next || repeats && gap, "{n} came twice or late, after {next}");
        let missing: Vec<_> = (next..n).filter(|&number| certain[number as usize]).collect();
        assert!(missing.is_empty() || gap, "{missing:?} are missing, and no gap says so");
        (next, gap) = (n + 1, false);
    }
}

async fn gap<M: tidings::OwnedMessage + std::fmt::Debug>(subscription: &mut Subscription<M>) {
    match event(subscription).await {
        Event::Gap(gap) => assert!(!gap.cause.to_string().is_empty()),
        other => panic!("expected a gap, not {other:?}"),
    }
}

/// Restarts the server; on a cluster, which is shared, all connections are cut.
async fn restart(world: &World) {
    if world.is_cluster() {
        return world.disconnect_everything().await;
    }
    world.stop();
    world.start().await;
}

on_each! {
    async fn nothing_is_lost_outside_of_a_gap_when_connections_are_cut(world: World) {
        let ledger = Ledger::open(&world).await;
        for cut in 1..=10 {
            ledger.progress(cut - 1).await;
            world.disconnect().await;
        }
        ledger.progress(10).await;
        ledger.close().await;
    }

    #[one_server("it is stopped")]
    async fn nothing_is_lost_outside_of_a_gap_when_the_server_restarts(world: World) {
        let ledger = Ledger::open(&world).await;
        for stop in 1..=3 {
            ledger.progress(stop - 1).await;
            world.stop();
            world.start().await;
        }
        ledger.progress(3).await;
        ledger.close().await;
    }

    async fn every_subscription_comes_back(world: World) {
        let bus = world.bus().await;
        let mut subscriptions = Vec::new();
        for line in 0..500 {
            subscriptions.push(bus.subscribe(Step::channel(line)).await.unwrap());
        }
        let mut any = bus.subscribe(Step::any()).await.unwrap();
        for n in 0..2 {
            if n == 0 { world.disconnect().await } else { restart(&world).await }
            gap(&mut any).await;
            for subscription in &mut subscriptions {
                gap(subscription).await;
            }
            for (line, subscription) in (0..).zip(&mut subscriptions) {
                // A node's connection for commands may be found to be cut only now, long after it was: then the message is with nobody.
                let published = Step { line, n }.publish(&bus).await;
                if let Err(PublishError::ConnectionLost { .. }) = published {
                    Step { line, n }.publish(&bus).await.unwrap();
                } else {
                    published.unwrap();
                }
                assert_eq!(message(subscription).await, Step { line, n });
                assert_eq!(message(&mut any).await, Step { line, n });
            }
            assert_eq!(bus.status(), Status::Connected);
        }
        assert_eq!(world.subscriber_connections().await, 1);
    }

    #[one_server("it is stopped")]
    async fn every_bus_is_back_within_a_second_after_the_server(world: World) {
        let mut waiting = JoinSet::new();
        for line in 0..24_u64 {
            let bus = world.bus_with(|builder| builder.reconnect(Reconnect::default())).await;
            let mut steps = bus.subscribe(Step::channel(line)).await.unwrap();
            waiting.spawn(async move {
                gap(&mut steps).await;
                (Instant::now(), bus)
            });
        }
        world.stop();
        // Long enough for pauses that double without a limit to be far above a second.
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.start().await;
        let start = Instant::now();
        for (back, _bus) in waiting.join_all().await {
            let late = back.saturating_duration_since(start);
            assert!(late < Duration::from_secs(1), "{late:?}");
        }
    }

    async fn services_come_back_and_count_the_gap(world: World) {
        let bus = world.bus().await;
        let (steps, news) = (Recorder::new(), Recorder::new());
        let service = bus.serve(Listener { steps: steps.clone(), news: news.clone() }).await.unwrap();
        Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
        steps.wait_for(1).await;
        assert_eq!(service.stats().gaps, 0);
        world.disconnect().await;
        eventually(SOON, async || world.patterns().await == 1 && world.subscriptions("news").await == 1).await;
        eventually(SOON, async || service.stats().gaps > 0 && bus.status() == Status::Connected).await;
        Step { line: 1, n: 2 }.publish(&bus).await.unwrap();
        News { n: 3 }.publish(&bus).await.unwrap();
        assert_eq!(steps.wait_for(2).await, [1, 2]);
        assert_eq!(news.wait_for(1).await, [3]);
        let gaps = service.stats().gaps;
        restart(&world).await;
        eventually(SOON, async || service.stats().gaps > gaps && bus.status() == Status::Connected).await;
        Step { line: 1, n: 4 }.publish(&bus).await.unwrap();
        assert_eq!(steps.wait_for(3).await, [1, 2, 4]);
        service.shutdown().await.unwrap();
    }

    async fn a_subscription_made_after_a_loss_has_no_gap(world: World) {
        let bus = world.bus().await;
        let mut old = bus.subscribe(News::channel()).await.unwrap();
        world.disconnect().await;
        gap(&mut old).await;
        let mut new = bus.subscribe(News::channel()).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut new).await.n, 1);
        assert_eq!(message(&mut old).await.n, 1);
        assert_eq!((old.stats().gaps, new.stats().gaps), (1, 0));
    }

    #[one_server("it is stopped")]
    async fn the_status_tells_of_a_server_that_is_away(world: World) {
        let bus = world.bus().await;
        let _news = bus.subscribe(News::channel()).await.unwrap();
        assert_eq!(bus.status(), Status::Connected);
        world.stop();
        eventually(SOON, async || matches!(bus.status(), Status::Reconnecting { .. })).await;
        world.start().await;
        eventually(SOON, async || bus.status() == Status::Connected).await;
    }

    #[one_server("it is stopped")]
    async fn publishing_to_a_server_that_is_away_fails_in_time_and_may_be_tried_again_where_nothing_was_sent(world: World) {
        let timeout = Duration::from_millis(500);
        let bus = world.bus_with(|builder| builder.command_timeout(timeout)).await;
        world.stop();
        for n in 0..3 {
            let start = Instant::now();
            let error = News { n }.publish(&bus).await.unwrap_err();
            assert!(start.elapsed() < timeout + Duration::from_secs(3), "{:?}", start.elapsed());
            assert_eq!(error.is_retryable(), matches!(error, PublishError::NotConnected { .. }), "{error}");
            assert!(
                matches!(
                    error,
                    PublishError::NotConnected { .. } | PublishError::ConnectionLost { .. } | PublishError::TimedOut { .. }
                ),
                "{error}"
            );
            assert!(error.to_string().contains("news"), "{error}");
        }
        world.start().await;
        eventually(SOON, async || News { n: 9 }.publish(&bus).await.is_ok()).await;
    }

    #[one_server("it is stopped")]
    async fn subscribing_while_the_server_is_away_succeeds_when_it_is_back_in_time(world: World) {
        let bus = world.bus().await;
        world.stop();
        let mut pending = JoinSet::new();
        for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::BackPressure] {
            for _ in 0..2 {
                let bus = bus.clone();
                pending.spawn(async move { bus.subscribe(News::channel()).overflow(overflow).await });
            }
        }
        let serving = bus.clone();
        let (steps, news) = (Recorder::new(), Recorder::new());
        let listener = Listener { steps, news: news.clone() };
        let mut served = JoinSet::new();
        served.spawn(async move { serving.serve(listener).await });
        world.start().await;
        let mut subscriptions = Vec::new();
        while let Some(result) = pending.join_next().await {
            subscriptions.push(result.unwrap().unwrap());
        }
        let _service = served.join_next().await.unwrap().unwrap().unwrap();
        News { n: 4 }.publish(&bus).await.unwrap();
        for subscription in &mut subscriptions {
            assert_eq!(message(subscription).await.n, 4);
        }
        assert_eq!(news.wait_for(1).await, [4]);
    }

    #[one_server("it is stopped")]
    async fn subscribing_while_the_server_stays_away_fails_in_time_and_leaves_nothing(world: World) {
        let timeout = Duration::from_millis(300);
        let bus = world.bus_with(|builder| builder.command_timeout(timeout)).await;
        world.stop();
        let start = Instant::now();
        for overflow in [Overflow::DropOldest, Overflow::BackPressure] {
            let error = bus.subscribe(News::channel()).overflow(overflow).await.unwrap_err();
            assert!(matches!(&error, SubscribeError::TimedOut { channel, .. } if channel == "news"), "{error}");
        }
        assert!(start.elapsed() < 2 * timeout + Duration::from_secs(3), "{:?}", start.elapsed());
        world.start().await;
        let mut steps = bus.subscribe(Step::any()).await;
        if steps.is_err() {
            // The reconnection may have taken longer than this bus waits.
            eventually(SOON, async || bus.status() == Status::Connected).await;
            steps = bus.subscribe(Step::any()).await;
        }
        drop(steps.unwrap());
        assert_eq!(world.subscriptions("news").await, 0);
    }
}
