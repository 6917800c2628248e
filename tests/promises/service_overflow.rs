//! When too many messages wait for a handler, what was chosen happens, and every loss is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bounds, Bus, BusEvent, BusEvents, Message, Overflow, PublishError, ShutdownError, router};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, News, SOON, Step, handler, message};

/// What the service does not handle.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("weather")]
struct Weather {
    n: u64,
}

/// Handles one step at a time, each of which waits at the gate, and news at once.
#[derive(Clone)]
struct Worker {
    gate: Gate,
    done: Recorder<u64>,
    news: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(concurrency = 1)]
    async fn step(&self, step: Step) {
        self.gate.pass().await;
        self.done.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

impl Worker {
    fn new() -> Self {
        Self { gate: Gate::closed(), done: Recorder::new(), news: Recorder::new() }
    }
}

/// Publishes steps, and waits until they have arrived: what is published after them has.
async fn arrived(bus: &Bus, numbers: std::ops::Range<u64>, worker: &Worker) {
    for n in numbers {
        Step { line: 1, n }.publish(bus).await.unwrap();
    }
    let before = worker.news.len();
    News { n: 0 }.publish(bus).await.unwrap();
    worker.news.wait_for(before + 1).await;
}

/// The templates of handlers that have fallen behind, up to now.
fn lagging(events: &mut BusEvents) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.next()) {
        match event {
            BusEvent::Lagging { channel, .. } => told.push(channel),
            other => panic!("{other:?}"),
        }
    }
    told
}

on_each! {
    async fn by_default_the_oldest_are_dropped(world: World) {
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).buffer(Bounds::messages(3).bytes(1 << 20)).await.unwrap();
        arrived(&bus, 0..10, &worker).await;
        assert_eq!(handler(&service, "step").dropped, 6);
        worker.gate.open();
        assert_eq!(worker.done.wait_for(4).await, [0, 7, 8, 9]);
    }

    async fn the_newest_are_dropped_where_that_was_chosen(world: World) {
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).overflow(Overflow::DropNewest).buffer(Bounds::messages(3).bytes(1 << 20)).await.unwrap();
        arrived(&bus, 0..10, &worker).await;
        assert_eq!(handler(&service, "step").dropped, 6);
        worker.gate.open();
        assert_eq!(worker.done.wait_for(4).await, [0, 1, 2, 3]);
        arrived(&bus, 10..11, &worker).await;
        assert_eq!(worker.done.wait_for(5).await[4], 10);
    }

    async fn a_bound_in_bytes_holds_and_one_message_fits_always(world: World) {
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).buffer(Bounds::messages(100).bytes(1)).await.unwrap();
        arrived(&bus, 0..10, &worker).await;
        assert_eq!(handler(&service, "step").dropped, 8);
        worker.gate.open();
        assert_eq!(worker.done.wait_for(2).await, [0, 9]);
    }

    async fn with_back_pressure_nothing_is_lost_and_nobody_else_is_stalled(world: World) {
        const COUNT: u64 = 20_000;
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).overflow(Overflow::BackPressure).buffer(Bounds::messages(10).bytes(1 << 20)).await.unwrap();
        let publishing = world.bus().await;
        let mut publisher = JoinSet::new();
        publisher.spawn(async move {
            for n in 0..COUNT {
                Step { line: 1, n }.publish(&publishing).await.unwrap();
            }
        });
        let mut others = bus.subscribe(Weather::channel()).await.unwrap();
        eventually(SOON, async || waiting(&bus) >= 8_192).await;
        for n in 0..100 {
            Weather { n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut others).await.n, n);
        }
        worker.gate.open();
        let done = worker.done.wait_for(COUNT as usize).await;
        assert!(done.into_iter().eq(0..COUNT));
        assert_eq!((handler(&service, "step").dropped, service.stats().lagged), (0, 0));
        publisher.join_all().await;
        service.shutdown().await.unwrap();
    }

    async fn with_back_pressure_a_shutdown_finishes_what_has_arrived(world: World) {
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).overflow(Overflow::BackPressure).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        for n in 0..50 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        eventually(SOON, async || bus.stats().subscriptions.iter().any(|taken| taken.messages == 50)).await;
        worker.gate.open();
        service.shutdown().await.unwrap();
        assert!(worker.done.all().into_iter().eq(0..50));
        eventually(SOON, async || world.subscriber_connections().await == 0).await;
    }

    async fn with_back_pressure_a_missed_deadline_counts_what_was_not_taken(world: World) {
        let bus = world.bus().await;
        let worker = Worker::new();
        let service = bus.serve(worker.clone()).overflow(Overflow::BackPressure).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        for n in 0..50 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        eventually(SOON, async || bus.stats().subscriptions.iter().any(|taken| taken.messages == 50)).await;
        let error = service.shutdown_within(Duration::from_millis(100)).await.unwrap_err();
        let ShutdownError::DeadlineMissed { abandoned, .. } = error else { panic!("{error}") };
        assert_eq!(abandoned, 50);
    }

    async fn a_handler_that_drops_messages_is_told_once_until_it_has_caught_up(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let worker = Worker::new();
        let _service = bus.serve(worker.clone()).buffer(Bounds::messages(2).bytes(1 << 20)).await.unwrap();
        arrived(&bus, 0..20, &worker).await;
        assert_eq!(lagging(&mut events), ["line:<line>"]);
        arrived(&bus, 20..40, &worker).await;
        assert_eq!(lagging(&mut events), [""; 0]);
        worker.gate.admit(3);
        worker.done.wait_for(3).await;
        arrived(&bus, 40..60, &worker).await;
        assert_eq!(lagging(&mut events), ["line:<line>"]);
    }
}

/// Messages that were received and wait in front of the handlers.
fn waiting(bus: &Bus) -> usize {
    bus.stats().subscriptions.iter().map(|subscription| subscription.waiting).sum()
}

/// There is no server in between that could hold what is not read.
#[tokio::test]
async fn on_memory_whoever_publishes_to_a_full_service_waits_and_then_fails() {
    let world = World::memory();
    let timeout = Duration::from_millis(50);
    let bus = world.bus_with(|builder| builder.command_timeout(timeout)).await;
    let worker = Worker::new();
    let _service = bus
        .serve(worker.clone())
        .overflow(Overflow::BackPressure)
        .buffer(Bounds::messages(2).bytes(1 << 20))
        .await
        .unwrap();
    let mut sent = 0;
    let error = loop {
        match (Step { line: 1, n: sent }).publish(&bus).await {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PublishError::TimedOut { .. }), "{error}");
    worker.gate.open();
    let done = worker.done.wait_for(usize::try_from(sent).unwrap()).await;
    assert!(done.into_iter().eq(0..sent));
}
