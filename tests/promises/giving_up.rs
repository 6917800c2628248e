//! A bus that gives up ends everything with an error that the program sees.

use std::time::{Duration, Instant};

use tidings::{
    Bus, BusEvent, EndReason, Event, Overflow, PublishError, Reconnect, ShutdownError, Status, SubscribeError, router,
};
use tidings_tests::{Recorder, RedisServer, World, eventually, on_each};

use crate::support::{News, SOON, Step, event, message};

struct Listener {
    news: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
    }
}

/// Never comes to an end.
struct Hanging {
    news: Recorder<u64>,
}

#[router]
impl Hanging {
    #[handler]
    async fn news(&self, news: News) {
        self.news.record(news.n);
        std::future::pending::<()>().await;
    }
}

/// A bus that gives up after 300 ms.
async fn impatient(world: &World) -> Bus {
    let pauses = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(50));
    world.bus_with(|builder| builder.reconnect(pauses.give_up_after(Duration::from_millis(300)))).await
}

on_each! {
    #[one_server("it is stopped")]
    async fn every_stream_ends_with_the_reason(world: World) {
        let bus = impatient(&world).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
        world.stop();
        match event(&mut news).await {
            Event::Ended(EndReason::GaveUp { reason, .. }) => assert!(reason.contains("away"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(news.next().await.is_none());
        assert!(news.next().await.is_none());
        assert_eq!(bus.status(), Status::Closed);
        assert!(matches!(event(&mut steps).await, Event::Ended(EndReason::GaveUp { .. })));
        assert!(steps.next().await.is_none());
    }

    #[one_server("it is stopped")]
    async fn services_end_and_say_so(world: World) {
        let bus = impatient(&world).await;
        let news = Recorder::new();
        let waits = bus.serve(Listener { news: news.clone() }).await.unwrap();
        let stopped = bus.serve(Listener { news: news.clone() }).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        news.wait_for(2).await;
        world.stop();
        let result = tokio::time::timeout(SOON, waits.run_until_ctrl_c()).await.unwrap();
        assert!(matches!(&result, Err(ShutdownError::BusClosed { .. })), "{result:?}");
        let result = tokio::time::timeout(SOON, stopped.shutdown()).await.unwrap();
        assert!(matches!(&result, Err(ShutdownError::BusClosed { .. })), "{result:?}");
    }

    #[one_server("it is stopped")]
    async fn a_shutdown_after_the_end_of_the_bus_has_its_own_deadline(world: World) {
        let bus = impatient(&world).await;
        let news = Recorder::new();
        let service = bus.serve(Hanging { news: news.clone() }).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        news.wait_for(1).await;
        world.stop();
        eventually(SOON, async || bus.status() == Status::Closed).await;
        // The service has begun to end by itself, and grants its handlers 30 s.
        let begun = Instant::now();
        let deadline = Duration::from_millis(200);
        let result = service.shutdown_within(deadline).await;
        assert!(
            matches!(result, Err(ShutdownError::DeadlineMissed { abandoned: 1, deadline: missed, .. }) if missed == deadline),
            "{result:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }

    #[one_server("it is stopped")]
    async fn a_closed_bus_refuses_at_once_and_stays_closed(world: World) {
        let bus = impatient(&world).await;
        world.stop();
        eventually(SOON, async || bus.status() == Status::Closed).await;
        for _ in 0..2 {
            let start = Instant::now();
            let error = News { n: 1 }.publish(&bus).await.unwrap_err();
            assert!(matches!(&error, PublishError::Closed { template: "news", .. }) && !error.is_retryable(), "{error}");
            for result in bus.publish_all(&[News { n: 1 }, News { n: 2 }]).await {
                let error = result.unwrap_err();
                assert!(matches!(error, PublishError::Closed { .. }), "{error}");
            }
            for overflow in [Overflow::DropOldest, Overflow::BackPressure] {
                let error = bus.subscribe(News::channel()).overflow(overflow).await.unwrap_err();
                assert!(matches!(error, SubscribeError::Closed { .. }), "{error}");
            }
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            world.start().await;
        }
        assert_eq!(bus.status(), Status::Closed);
    }

    #[one_server("it is stopped")]
    async fn a_server_that_comes_back_in_time_ends_nothing(world: World) {
        let pauses = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(50));
        let bus = world.bus_with(|builder| builder.reconnect(pauses.give_up_after(SOON))).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        for n in 0..2 {
            world.stop();
            world.start().await;
            assert!(matches!(event(&mut news).await, Event::Gap(_)));
            eventually(SOON, async || News { n }.publish(&bus).await.is_ok_and(|receipt| receipt.receivers == Some(1))).await;
            while message(&mut news).await.n != n {}
        }
    }
}

/// A server on which nobody can sign in any more, a bus that is signed in, and the connection for subscriptions with so many channels cut.
async fn locked_out(server: &RedisServer, channels: usize) {
    let _: String = server.command(&["ACL", "SETUSER", "anna", "resetpass", ">changed"]).await;
    let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let client = clients.lines().find(|line| line.contains(&format!(" sub={channels} "))).unwrap();
    let id = client.split(' ').find_map(|word| word.strip_prefix("id=")).unwrap();
    let _: u64 = server.command(&["CLIENT", "KILL", "ID", id]).await;
}

async fn impatient_anna() -> (RedisServer, Bus) {
    let server = RedisServer::with_settings(&["user anna on >secret +@all &* ~*"]).await;
    let pauses = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(50));
    let bus = Bus::builder(format!("redis://anna:secret@127.0.0.1:{}", server.port()))
        .reconnect(pauses.give_up_after(Duration::from_millis(300)));
    (server, bus.connect().await.unwrap())
}

/// On memory no subscription has a connection of its own.
#[tokio::test]
async fn a_connection_of_one_subscription_that_gives_up_ends_only_that_one() {
    let (server, bus) = impatient_anna().await;
    let mut events = bus.events();
    let mut shared = [bus.subscribe(News::channel()).await.unwrap(), bus.subscribe(News::channel()).await.unwrap()];
    let _another = bus.subscribe(Step::channel(1_u64)).await.unwrap();
    let mut own = bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await.unwrap();
    locked_out(&server, 1).await;
    match event(&mut own).await {
        Event::Ended(EndReason::GaveUp { reason, .. }) => assert!(reason.contains("away"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(own.next().await.is_none());
    loop {
        match tokio::time::timeout(SOON, events.next()).await.unwrap() {
            Some(BusEvent::Ended { channel, .. }) => break assert_eq!(channel, "news"),
            Some(BusEvent::Closed { .. }) | None => panic!("the bus goes on"),
            Some(_) => {}
        }
    }
    assert_eq!(bus.status(), Status::Connected);
    News { n: 1 }.publish(&bus).await.unwrap();
    for subscription in &mut shared {
        assert_eq!(message(subscription).await.n, 1);
    }
}

#[tokio::test]
async fn a_bus_that_gives_up_ends_subscriptions_with_connections_of_their_own_too() {
    let (server, bus) = impatient_anna().await;
    let mut events = bus.events();
    let _shared = bus.subscribe(News::channel()).await.unwrap();
    let _another = bus.subscribe(Step::channel(1_u64)).await.unwrap();
    let mut own = bus.subscribe(News::channel()).overflow(Overflow::BackPressure).await.unwrap();
    locked_out(&server, 2).await;
    assert!(matches!(event(&mut own).await, Event::Ended(EndReason::GaveUp { .. })));
    assert!(own.next().await.is_none());
    while !matches!(tokio::time::timeout(SOON, events.next()).await.unwrap(), Some(BusEvent::Closed { .. })) {}
    assert_eq!(bus.status(), Status::Closed);
    eventually(SOON, async || server.subscriber_connections().await == 0).await;
}
