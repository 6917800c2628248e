//! `Bus::close` ends everything in order: services finish what has arrived, subscriptions end after what they hold, whoever waits is told.

#![allow(clippy::disallowed_methods, reason = "every handle is awaited, or its tokio task ends with the bus")]

use std::{
    future::IntoFuture,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tidings::{
    AcknowledgeError, Bus, BusEvent, EndReason, Event, Message, Overflow, Publish, PublishError, RequestError,
    ShutdownError, Status, SubscribeError, Subscription, router,
};
use tidings_tests::{Recorder, RedisServer, World, eventually, on_each};
use tokio::runtime;

use crate::support::{Gate, News, SOON, Step, event, handler, message};

#[derive(Message, Serialize, Deserialize)]
#[channel("doubled")]
#[reply(u64)]
struct Double {
    n: u64,
}

/// Asks to close the bus from within.
#[derive(Message, Serialize, Deserialize)]
#[channel("last:orders")]
struct LastOrders {}

/// Handles one step at a time, behind a gate, and publishes while it does.
struct Stairs {
    begun: Recorder<u64>,
    gate: Gate,
}

#[router]
impl Stairs {
    #[handler(concurrency = 1)]
    async fn step(&self, step: Step, bus: &Bus) -> Result<Publish<News>, String> {
        self.begun.record(step.n);
        self.gate.pass().await;
        let refused = bus.subscribe(News::channel()).await.map(drop).map_err(|error| error.to_string());
        let published = News { n: 100 + step.n }.publish(bus).await.map(drop).map_err(|error| error.to_string());
        published?;
        match refused {
            Err(refused) if refused.contains("closed") => Ok(Publish::new(News { n: 200 + step.n })),
            other => Err(format!("subscribed: {other:?}")),
        }
    }

    #[handler]
    async fn double(&self, double: Double) -> u64 {
        self.begun.record(double.n);
        self.gate.pass().await;
        double.n * 2
    }

    #[handler]
    async fn last_orders(&self, _last: LastOrders, bus: &Bus) {
        let bus = bus.clone();
        tokio::spawn(async move { bus.close().await });
    }
}

fn stairs() -> (Stairs, Recorder<u64>, Gate) {
    let (begun, gate) = (Recorder::new(), Gate::closed());
    (Stairs { begun: begun.clone(), gate: gate.clone() }, begun, gate)
}

/// What is still there, and then the end.
async fn ends(mut news: Subscription<News>) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        match event(&mut news).await {
            Event::Message(news) => seen.push(news.n),
            Event::Gap(_) => {}
            Event::Ended(EndReason::Closed) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(news.next().await.is_none());
    assert!(news.next().await.is_none());
    seen
}

/// Every verb of a closed bus.
async fn refuses_everything(bus: &Bus) {
    let begun = Instant::now();
    let news = News { n: 1 };
    let error = news.publish(bus).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { .. }) && !error.is_retryable(), "{error}");
    for result in bus.publish_all(&[News { n: 1 }, News { n: 2 }]).await {
        assert!(matches!(result, Err(PublishError::Closed { .. })), "{result:?}");
    }
    let atomic = bus.batch().push(&news).atomic().await;
    assert!(matches!(atomic, Err(PublishError::Closed { .. })), "{atomic:?}");
    for overflow in [Overflow::DropOldest, Overflow::BackPressure] {
        let refused = bus.subscribe(News::channel()).overflow(overflow).await.map(drop);
        assert!(matches!(refused, Err(SubscribeError::Closed { .. })), "{refused:?}");
        let refused = bus.serve(stairs().0).overflow(overflow).await.map(drop);
        assert!(matches!(refused, Err(SubscribeError::Closed { .. })), "{refused:?}");
    }
    let asked = Double { n: 1 }.request(bus).await.unwrap_err();
    assert!(
        matches!(
            asked,
            RequestError::Publish(PublishError::Closed { .. }) | RequestError::Subscribe(SubscribeError::Closed { .. })
        ),
        "{asked}"
    );
    let acknowledged = news.publish(bus).acknowledged_within(SOON).await.unwrap_err();
    assert!(
        matches!(
            acknowledged,
            AcknowledgeError::Publish(PublishError::Closed { .. })
                | AcknowledgeError::Subscribe(SubscribeError::Closed { .. })
        ),
        "{acknowledged}"
    );
    assert_eq!(bus.status(), Status::Closed);
    assert!(begun.elapsed() < SOON / 4, "{:?}", begun.elapsed());
}

/// Nothing of this bus is left on the server.
async fn leaves_nothing(world: &World) {
    eventually(SOON, async || world.subscriber_connections().await == 0).await;
    assert_eq!((world.subscriptions("news").await, world.patterns().await), (0, 0));
}

on_each! {
    async fn services_finish_first_and_then_subscriptions_end_after_what_they_hold(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let (router, begun, gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        let shared = bus.subscribe(News::channel()).await.unwrap();
        let own = bus.subscribe(News::any()).overflow(Overflow::BackPressure).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        for n in 1..=2 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        begun.wait_for(1).await;
        eventually(SOON, async || handler(&service, "step").waiting == 1).await;
        let closing = tokio::spawn({
            let bus = bus.clone();
            async move { bus.close().await }
        });
        let refused = async || matches!(bus.subscribe(News::channel()).await, Err(SubscribeError::Closed { .. }));
        eventually(SOON, refused).await;
        assert!(matches!(bus.serve(stairs().0).await, Err(SubscribeError::Closed { .. })));
        assert_eq!(bus.status(), Status::Connected);
        gate.admit(2);
        closing.await.unwrap().unwrap();
        let step = handler(&service, "step");
        assert_eq!((step.handled, step.failed), (2, 0), "{step:?}");
        for (subscription, is_own) in [(shared, false), (own, true)] {
            let whole = [1, 101, 201, 102, 202];
            let seen = ends(subscription).await;
            // One with a connection of its own ends with what has arrived on that.
            assert!(seen == whole || is_own && !seen.is_empty() && whole.starts_with(&seen), "{seen:?}");
        }
        refuses_everything(&bus).await;
        leaves_nothing(&world).await;
        service.shutdown().await.unwrap();
        eventually(SOON, async || matches!(events.next().await, Some(BusEvent::Closed { .. }))).await;
    }

    async fn the_answer_to_what_has_arrived_still_goes_out(world: World) {
        let bus = world.bus().await;
        let (router, begun, gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        let asking = tokio::spawn({
            let bus = bus.clone();
            async move { Double { n: 4 }.request(&bus).timeout(SOON).await }
        });
        let elsewhere = world.bus().await;
        let also = tokio::spawn(async move { Double { n: 21 }.request(&elsewhere).timeout(SOON).await });
        begun.wait_for(2).await;
        let closing = tokio::spawn({
            let bus = bus.clone();
            async move { bus.close().await }
        });
        eventually(SOON, async || bus.subscribe(News::channel()).await.is_err()).await;
        gate.admit(2);
        closing.await.unwrap().unwrap();
        assert_eq!(also.await.unwrap().unwrap(), 42);
        assert_eq!(asking.await.unwrap().unwrap(), 8);
        drop(service);
    }

    async fn whoever_waits_for_an_answer_is_told(world: World) {
        let (router, begun, _gate) = stairs();
        let _elsewhere = world.bus().await.serve(router).await.unwrap();
        let bus = world.bus().await;
        let (double, step) = (Double { n: 1 }, Step { line: 1, n: 1 });
        let asking = async { double.request(&bus).timeout(SOON).await };
        let collecting = async { double.request(&bus).timeout(SOON).collect(2).await };
        let acknowledged = async { step.publish(&bus).acknowledged_within(SOON).await };
        let closing = async {
            begun.wait_for(3).await;
            bus.close().await
        };
        let (asked, collected, acknowledged, closed) = tokio::join!(asking, collecting, acknowledged, closing);
        assert!(matches!(asked, Err(RequestError::Closed { template: "doubled", .. })), "{asked:?}");
        assert!(matches!(collected, Err(RequestError::Closed { .. })), "{collected:?}");
        assert!(matches!(acknowledged, Err(AcknowledgeError::Closed { template: "line:<line>", .. })), "{acknowledged:?}");
        closed.unwrap();
        refuses_everything(&bus).await;
        assert_eq!(bus.stats().pending_requests, 0);
    }

    async fn a_missed_deadline_is_told_and_the_bus_is_closed_all_the_same(world: World) {
        let bus = world.bus().await;
        let (router, begun, _gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        let news = bus.subscribe(News::channel()).await.unwrap();
        for n in 1..=2 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        begun.wait_for(1).await;
        eventually(SOON, async || handler(&service, "step").waiting == 1).await;
        let deadline = Duration::from_millis(50);
        let missed = bus.close_within(deadline).await;
        assert_eq!(missed.unwrap_err().to_string(), "2 messages were still being handled or waiting after 50ms, and were dropped");
        assert!(ends(news).await.is_empty());
        refuses_everything(&bus).await;
        assert!(matches!(service.shutdown().await, Err(ShutdownError::DeadlineMissed { abandoned: 2, .. })));
        bus.close().await.unwrap();
    }

    async fn it_is_closed_once_however_often_and_from_however_many_clones(world: World) {
        let bus = world.bus().await;
        let (router, begun, gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
        begun.wait_for(1).await;
        let closing: Vec<_> = (0..8).map(|_| tokio::spawn({
            let bus = bus.clone();
            async move { bus.close_within(Duration::MAX).await }
        })).collect();
        // One that gives up waiting does not end it for the others.
        let impatient = tokio::time::timeout(Duration::from_millis(20), bus.close()).await;
        assert!(impatient.is_err() && closing.iter().all(|closing| !closing.is_finished()));
        gate.admit(1);
        for closed in join_all(closing).await {
            closed.unwrap().unwrap();
        }
        bus.close().await.unwrap();
        bus.close_within(Duration::ZERO).await.unwrap();
        service.run_until_stopped().await.unwrap();
        refuses_everything(&bus).await;
    }

    async fn the_deadline_that_comes_first_counts(world: World) {
        let bus = world.bus().await;
        let (router, begun, _gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
        begun.wait_for(1).await;
        let patient = bus.clone();
        let patient = tokio::spawn(async move { patient.close_within(Duration::MAX).await });
        let stopping = tokio::spawn(async move { service.shutdown_within(Duration::MAX).await });
        let missed = bus.close_within(Duration::ZERO).await;
        assert!(matches!(missed, Err(ShutdownError::DeadlineMissed { abandoned: 1, .. })), "{missed:?}");
        let missed = patient.await.unwrap();
        assert!(matches!(missed, Err(ShutdownError::DeadlineMissed { abandoned: 1, .. }) | Ok(())), "{missed:?}");
        assert!(stopping.await.unwrap().is_err());
    }

    async fn dropping_the_future_closes_at_once(world: World) {
        let bus = world.bus().await;
        let (router, begun, _gate) = stairs();
        let service = bus.serve(router).await.unwrap();
        let news = bus.subscribe(News::channel()).await.unwrap();
        Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
        begun.wait_for(1).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), bus.close_within(Duration::MAX)).await.is_err());
        assert!(ends(news).await.is_empty());
        refuses_everything(&bus).await;
        assert!(matches!(service.shutdown().await, Err(ShutdownError::DeadlineMissed { abandoned: 1, .. })));
        leaves_nothing(&world).await;
    }

    #[one_server("it is stopped and frozen")]
    async fn it_does_not_wait_for_a_server_that_is_away_or_hangs(world: World) {
        for hangs in [false, true] {
            let bus = world.bus().await;
            let (router, _begun, _gate) = stairs();
            let service = bus.serve(router).await.unwrap();
            let news = bus.subscribe(News::channel()).await.unwrap();
            let _own = bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await.unwrap();
            if hangs {
                world.freeze();
            } else {
                world.stop();
                eventually(SOON, async || matches!(bus.status(), Status::Reconnecting { .. })).await;
            }
            let waiting = tokio::spawn(bus.subscribe(Step::channel(99)).into_future());
            let publishing = tokio::spawn({
                let bus = bus.clone();
                async move { News { n: 1 }.publish(&bus).await }
            });
            let begun = Instant::now();
            bus.close().await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            let waited = waiting.await.unwrap().map(drop);
            assert!(matches!(waited, Err(SubscribeError::Closed { .. })), "{waited:?}");
            if !hangs {
                // On Redis it waited for a connection, unless the end of the one before was not noticed yet; on memory it fails at once.
                let published = publishing.await.unwrap();
                let in_vain = match &published {
                    Err(PublishError::NotConnected { .. }) => world.transport() == "memory",
                    Err(PublishError::Closed { .. } | PublishError::ConnectionLost { .. }) => true,
                    _ => false,
                };
                assert!(in_vain && begun.elapsed() < Duration::from_secs(3), "{published:?}");
            }
            ends(news).await;
            refuses_everything(&bus).await;
            service.shutdown().await.unwrap();
            if hangs { world.thaw() } else { world.start().await }
            // It does not come back.
            let other = world.bus().await;
            assert_eq!(News { n: 1 }.publish(&other).await.unwrap().receivers, Some(0));
            assert_eq!(bus.status(), Status::Closed);
        }
    }

    async fn subscriptions_and_services_on_their_way_end_too(world: World) {
        for round in 0..10_u64 {
            let bus = world.bus().await;
            let subscribing: Vec<_> = (0..20).map(|n| tokio::spawn({
                let bus = bus.clone();
                async move {
                    let subscription = if n % 5 == 0 {
                        bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await
                    } else {
                        bus.subscribe(News::channel()).await
                    };
                    match subscription {
                        Ok(news) => drop(ends(news).await),
                        Err(SubscribeError::Closed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })).collect();
            let serving: Vec<_> = (0..10).map(|_| tokio::spawn({
                let bus = bus.clone();
                async move {
                    match bus.serve(stairs().0).await {
                        Ok(service) => service.run_until_stopped().await.unwrap(),
                        Err(SubscribeError::Closed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })).collect();
            tokio::time::sleep(Duration::from_micros(300 * round)).await;
            bus.close().await.unwrap();
            for ended in join_all(subscribing.into_iter().chain(serving)).await {
                ended.unwrap();
            }
            leaves_nothing(&world).await;
        }
    }

    async fn a_service_closes_its_own_bus_from_a_tokio_task(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(stairs().0).await.unwrap();
        LastOrders {}.publish(&bus).await.unwrap();
        service.run_until_stopped().await.unwrap();
        eventually(SOON, async || bus.status() == Status::Closed).await;
    }

    async fn other_buses_go_on(world: World) {
        let (bus, other) = (world.bus().await, world.bus().await);
        let mut news = other.subscribe(News::channel()).await.unwrap();
        bus.close().await.unwrap();
        News { n: 1 }.publish(&other).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
    }
}

/// Keeps its thread busy.
struct Busy {
    begun: Recorder<u64>,
}

#[router]
impl Busy {
    #[handler]
    async fn news(&self, news: News) {
        self.begun.record(news.n);
        thread::sleep(Duration::from_secs(3));
    }
}

on_each! {
    async fn a_handler_that_blocks_its_thread_does_not_hold_it_up(world: World) {
        let begun = Recorder::new();
        // A runtime whose only thread is kept busy, so that nothing of the bus runs there meanwhile.
        let elsewhere = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (builder, router) = (world.builder(), Busy { begun: begun.clone() });
        let serving = elsewhere.spawn(async move {
            let bus = builder.connect().await.unwrap();
            let service = bus.serve(router).await.unwrap();
            (bus, service)
        });
        let (bus, service) = serving.await.unwrap();
        let publisher = world.bus().await;
        let publishing = tokio::spawn(async move { News { n: 1 }.publish(&publisher).await.map(drop) });
        begun.wait_for(1).await;
        let asked = Instant::now();
        let missed = bus.close_within(Duration::from_millis(10)).await;
        assert!(matches!(missed, Err(ShutdownError::DeadlineMissed { abandoned: 1, .. })), "{missed:?}");
        assert!(asked.elapsed() < Duration::from_millis(2_500), "{:?}", asked.elapsed());
        assert_eq!(bus.status(), Status::Closed);
        let _ = (service.shutdown().await, publishing.await);
        elsewhere.shutdown_background();
    }
}

/// Only a server shows connections for commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_left() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let ours = async || {
        let clients: String = server.command(&["CLIENT", "LIST"]).await;
        clients.lines().filter(|client| client.contains("name=tidings")).count()
    };
    // A large one has a connection of its own.
    let all: Vec<News> = (0..40).map(|n| News { n }).collect();
    bus.publish_all(&all).atomic().await.unwrap();
    let _own = bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await.unwrap();
    assert_eq!(ours().await, 4);
    bus.close().await.unwrap();
    eventually(SOON, async || ours().await == 0).await;
    // Nor after a publish that was on its way.
    let bus = Bus::connect(&server.url()).await.unwrap();
    server.pause();
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move { News { n: 1 }.publish(&bus).await }
    });
    eventually(SOON, async || !publishing.is_finished()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bus.close().await.unwrap();
    server.resume();
    let published = publishing.await.unwrap();
    assert_eq!(published.unwrap().receivers, Some(0));
    eventually(SOON, async || ours().await == 0).await;
}
