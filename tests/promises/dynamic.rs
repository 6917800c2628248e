//! Subscriptions and services come and go on a live bus, and the others miss nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tidings::{Bounds, Bus, Event, Overflow, Router, Service, routes};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{News, SOON, Step, message};

#[tidings::handler]
async fn step(step: Step, tidings::State(seen): tidings::State<Recorder<u64>>) {
    seen.record(step.n);
}

#[tidings::handler]
async fn news(news: News, tidings::State(seen): tidings::State<Recorder<u64>>) {
    seen.record(news.n);
}

async fn serve(bus: &Bus, router: impl Router) -> Service {
    bus.serve(router).await.unwrap()
}

/// Publishes both messages with growing numbers until it is stopped, and returns how many.
async fn publish(bus: Bus, stop: Arc<AtomicBool>) -> u64 {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        Step { line: n % 3, n }.publish(&bus).await.unwrap();
        News { n }.publish(&bus).await.unwrap();
        n += 1;
    }
    n
}

on_each! {
    async fn those_who_stay_miss_nothing_while_others_come_and_go(world: World) {
        let bus = world.bus().await;
        let (steps_seen, news_seen) = (Recorder::new(), Recorder::new());
        let staying = serve(&bus, routes![news].with_state(news_seen.clone())).await;
        let mut steps = bus.subscribe(Step::any()).buffer(Bounds::messages(1_000_000).bytes(1 << 30)).await.unwrap();
        let recorder = steps_seen.clone();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(event) = steps.next().await {
                match event {
                    Event::Message(step) => recorder.record(step.n),
                    other => panic!("{other:?}"),
                }
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let mut publisher = JoinSet::new();
        publisher.spawn(publish(world.bus().await, Arc::clone(&stop)));
        for round in 0..30 {
            let overflow = if round % 10 == 0 { Overflow::BackPressure } else { Overflow::DropOldest };
            // The very names that the others have, and one that nobody else has.
            let mut same = bus.subscribe(Step::any()).overflow(overflow).await.unwrap();
            let mut one = bus.subscribe(Step::channel(1_u64)).await.unwrap();
            let seen = Recorder::new();
            let passing = serve(&bus, routes![step, news].with_state(seen.clone())).await;
            let first = message(&mut same).await.n;
            assert_eq!(message(&mut same).await.n, first + 1);
            assert_eq!(message(&mut one).await.n % 3, 1);
            seen.wait_for(4).await;
            drop((same, one));
            passing.shutdown().await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let published = publisher.join_next().await.unwrap().unwrap();
        for seen in [&steps_seen, &news_seen] {
            eventually(SOON, async || seen.len() as u64 >= published).await;
            assert!(seen.all().into_iter().eq(0..published), "all of them, once, in order");
        }
        assert_eq!((staying.stats().gaps, staying.stats().lagged), (0, 0));
        eventually(SOON, async || world.subscriptions("line:1").await == 0 && world.patterns().await == 1).await;
        eventually(SOON, async || bus.stats().subscriptions.len() == 2).await;
        reader.shutdown().await;
        staying.shutdown().await.unwrap();
    }
}
