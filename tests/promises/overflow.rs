//! A full buffer does what was chosen for it, and every loss is counted at its place.

use std::time::{Duration, Instant};

use tidings::{Bounds, Bus, BusEvent, Event, Overflow, PublishError, Subscription};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{News, SOON, Step, event, message};

/// How many messages, with which numbers, and how many were dropped before which number.
async fn read_to(subscription: &mut Subscription<News>, last: u64) -> (Vec<u64>, u64) {
    let (mut numbers, mut dropped) = (Vec::new(), 0);
    loop {
        match event(subscription).await {
            Event::Message(received) => {
                numbers.push(received.n);
                if received.n == last {
                    return (numbers, dropped);
                }
            }
            Event::Lagged(count) => {
                dropped += count;
                numbers.push(u64::MAX);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Publishes, and waits until a witness on the same connection has seen everything.
async fn publish_all(bus: &Bus, witness: &mut Subscription<News>, numbers: std::ops::Range<u64>) {
    for n in numbers {
        News { n }.publish(bus).await.unwrap();
        assert_eq!(message(witness).await.n, n);
    }
}

on_each! {
    async fn drop_oldest_keeps_what_is_new(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).buffer(Bounds::messages(10).bytes(1 << 20)).await.unwrap();
        let mut witness = bus.subscribe(News::channel()).await.unwrap();
        publish_all(&bus, &mut witness, 0..25).await;
        let (numbers, dropped) = read_to(&mut news, 24).await;
        assert_eq!(numbers, [&[u64::MAX][..], &(15..25).collect::<Vec<_>>()].concat());
        assert_eq!((dropped, news.stats().lagged), (15, 15));
    }

    async fn drop_newest_keeps_what_is_old_and_tells_of_the_loss_behind_it(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).overflow(Overflow::DropNewest).buffer(Bounds::messages(10).bytes(1 << 20)).await.unwrap();
        let mut witness = bus.subscribe(News::channel()).await.unwrap();
        publish_all(&bus, &mut witness, 0..25).await;
        for n in 0..10 {
            assert_eq!(message(&mut news).await.n, n);
        }
        assert!(matches!(event(&mut news).await, Event::Lagged(15)));
        publish_all(&bus, &mut witness, 25..26).await;
        assert_eq!(message(&mut news).await.n, 25);
        assert_eq!(news.stats().lagged, 15);
    }

    async fn back_pressure_drops_nothing_and_stalls_nobody_else(world: World) {
        const COUNT: u64 = 3_000;
        let bus = world.bus().await;
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let mut news =
            bus.subscribe(News::channel()).overflow(Overflow::BackPressure).buffer(Bounds::messages(10).bytes(1 << 20)).await.unwrap();
        let publishing = world.bus().await;
        let mut publisher = JoinSet::new();
        publisher.spawn(async move {
            for n in 0..COUNT {
                News { n }.publish(&publishing).await.unwrap();
            }
        });
        for n in 0..100 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut steps).await.n, n);
        }
        let (numbers, dropped) = read_to(&mut news, COUNT - 1).await;
        assert_eq!(dropped, 0);
        assert!(numbers.into_iter().eq(0..COUNT));
        publisher.join_all().await;
    }

    async fn who_waits_for_a_subscription_that_is_dropped_waits_no_longer(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(SOON)).await;
        let news =
            bus.subscribe(News::channel()).overflow(Overflow::BackPressure).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        let publishing = bus.clone();
        let published = Recorder::new();
        let (mut publisher, recorder) = (JoinSet::new(), published.clone());
        publisher.spawn(async move {
            for n in 0..20 {
                News { n }.publish(&publishing).await.unwrap();
                recorder.record(n);
            }
        });
        published.wait_for(3).await;
        let start = Instant::now();
        drop(news);
        publisher.join_all().await;
        assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
    }

    async fn an_atomic_batch_arrives_whole_or_not_at_all_where_somebody_does_not_read(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(Duration::from_millis(300))).await;
        let mut news =
            bus.subscribe(News::channel()).overflow(Overflow::BackPressure).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        let mut witness = bus.subscribe(News::channel()).await.unwrap();
        let (mut published, mut failed) = (Vec::new(), 0);
        for first in [0, 6, 12] {
            let batch: Vec<_> = (first..first + 6).map(|n| News { n }).collect();
            match bus.publish_all(&batch).atomic().await {
                Ok(_) => published.extend(first..first + 6),
                // On memory nobody buffers for a subscription that is full.
                Err(error) => {
                    assert!(matches!(error, PublishError::Undecided { .. }), "{error}");
                    failed += 1;
                }
            }
        }
        for &n in &published {
            assert_eq!(message(&mut witness).await.n, n);
            assert_eq!(message(&mut news).await.n, n);
        }
        assert!(failed <= 2 && published[..6] == [0, 1, 2, 3, 4, 5], "{published:?}");
        News { n: 99 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut witness).await.n, 99);
        assert_eq!(message(&mut news).await.n, 99);
    }

    async fn gaps_that_nobody_reads_take_no_room(world: World) {
        const CUTS: u64 = 40;
        let bus = world.bus().await;
        let mut events = bus.events();
        let mut slow = bus.subscribe(News::channel()).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        let mut witness = bus.subscribe(News::channel()).await.unwrap();
        for n in 0..CUTS {
            News { n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut witness).await.n, n);
            world.disconnect().await;
            assert!(matches!(event(&mut witness).await, Event::Gap(_)));
            while !matches!(tokio::time::timeout(SOON, events.next()).await.unwrap(), Some(BusEvent::Resubscribed { .. })) {}
        }
        News { n: CUTS }.publish(&bus).await.unwrap();
        let (mut gaps, mut messages, mut lagged) = (0, 0, 0);
        loop {
            match event(&mut slow).await {
                Event::Gap(_) => gaps += 1,
                Event::Lagged(count) => lagged += count,
                Event::Message(news) => {
                    messages += 1;
                    if news.n == CUTS {
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(messages + lagged, CUTS + 1);
        assert!((1..=3).contains(&gaps), "{gaps} gaps for {messages} messages");
    }

    async fn back_pressure_survives_a_lost_connection_and_ends_with_its_subscription(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await.unwrap();
        world.disconnect().await;
        assert!(matches!(event(&mut news).await, Event::Gap(_)));
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
        drop(news);
        eventually(SOON, async || world.subscriptions("news").await == 0).await;
        eventually(SOON, async || world.subscriber_connections().await == 0).await;
    }
}

/// There is no server in between that could hold what is not read.
#[tokio::test]
async fn on_memory_a_publisher_waits_and_then_fails() {
    let world = World::memory();
    let timeout = Duration::from_millis(50);
    let bus = world.bus_with(|builder| builder.command_timeout(timeout)).await;
    let mut news = bus
        .subscribe(News::channel())
        .overflow(Overflow::BackPressure)
        .buffer(Bounds::messages(2).bytes(1 << 20))
        .await
        .unwrap();
    for n in 0..3 {
        News { n }.publish(&bus).await.unwrap();
    }
    for _ in 0..2 {
        let error = News { n: 3 }.publish(&bus).await.unwrap_err();
        assert!(matches!(error, PublishError::TimedOut { .. }), "{error}");
    }
    Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
    for n in 0..3 {
        assert_eq!(message(&mut news).await.n, n);
    }
    News { n: 4 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut news).await.n, 4);
}

/// As a publisher on Redis would.
#[tokio::test]
async fn on_memory_a_publisher_that_waits_learns_that_the_server_is_away() {
    let world = World::memory();
    let bus = world.bus_with(|builder| builder.command_timeout(SOON)).await;
    let _news = bus
        .subscribe(News::channel())
        .overflow(Overflow::BackPressure)
        .buffer(Bounds::messages(2).bytes(1 << 20))
        .await
        .unwrap();
    let published = Recorder::new();
    let (mut publisher, recorder) = (JoinSet::new(), published.clone());
    publisher.spawn(async move {
        for n in 0..3 {
            News { n }.publish(&bus).await.unwrap();
        }
        recorder.record(());
        News { n: 3 }.publish(&bus).await.unwrap_err()
    });
    published.wait_for(1).await;
    // Whether or not it waits already, it must not wait for long.
    tokio::task::yield_now().await;
    world.stop();
    let error = tokio::time::timeout(SOON / 2, publisher.join_next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(error, PublishError::NotConnected { .. }), "{error}");
}

/// One that has to wait is not overtaken by those behind it.
#[tokio::test]
async fn on_memory_a_batch_that_waits_keeps_its_order() {
    let bus = World::memory().bus().await;
    let mut news = bus
        .subscribe(News::channel())
        .overflow(Overflow::BackPressure)
        .buffer(Bounds::messages(2).bytes(1 << 20))
        .await
        .unwrap();
    let batch: Vec<_> = (0..50).map(|n| News { n }).collect();
    let publishing = bus.publish_all(&batch);
    let reading = async {
        for n in 0..50 {
            assert_eq!(message(&mut news).await.n, n);
        }
    };
    let (results, ()) = tokio::join!(publishing, reading);
    assert!(results.iter().all(Result::is_ok));
}
