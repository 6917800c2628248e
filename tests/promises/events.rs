//! A bus tells of what happens to its connections.

use std::{fmt, time::Duration};

use tidings::{Bounds, Bus, BusEvent, BusEvents, Event, Overflow, Reconnect};
use tidings_tests::{RedisServer, on_each};

use crate::support::{News, SOON, Step, event, message};

/// The next event, which must come soon.
async fn next(events: &mut BusEvents) -> BusEvent {
    tokio::time::timeout(SOON, events.next()).await.expect("an event").expect("a bus")
}

/// Reads until an event of a kind.
async fn next_that<T: fmt::Debug>(events: &mut BusEvents, wanted: impl Fn(&BusEvent) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(&next(events).await) {
            return found;
        }
    }
}

on_each! {
    async fn a_lost_connection_is_told_from_its_loss_to_its_renewal(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let _steps = bus.subscribe(Step::any()).await.unwrap();
        world.disconnect().await;
        assert!(matches!(next(&mut events).await, BusEvent::Disconnected { .. }));
        assert!(matches!(next(&mut events).await, BusEvent::Connected { .. }));
        match next(&mut events).await {
            BusEvent::Resubscribed { names, lasted, .. } => assert!(names == 2 && lasted < SOON, "{names} {lasted:?}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(event(&mut news).await, Event::Gap(_)));
        assert_eq!(bus.stats().reconnects, 1);
        drop((bus, news, _steps));
        assert_eq!(tokio::time::timeout(SOON, events.next()).await.unwrap(), None);
    }

    #[one_server("it is stopped")]
    async fn giving_up_is_told(world: World) {
        let pauses = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(50));
        let limit = Duration::from_millis(200);
        let bus = world.bus_with(|builder| builder.reconnect(pauses.give_up_after(limit))).await;
        let mut events = bus.events();
        world.stop();
        let closed = |event: &BusEvent| match event {
            BusEvent::Closed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        assert!(next_that(&mut events, closed).await.contains("away"));
    }

    async fn a_subscription_that_falls_behind_is_told_once(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let _slow = bus.subscribe(News::channel()).overflow(overflow).buffer(Bounds::messages(5).bytes(1 << 20)).await.unwrap();
            let mut witness = bus.subscribe(News::channel()).await.unwrap();
            for n in 0..20 {
                News { n }.publish(&bus).await.unwrap();
                assert_eq!(message(&mut witness).await.n, n);
            }
            let lagging = next(&mut events).await;
            assert!(matches!(&lagging, BusEvent::Lagging { channel, .. } if *channel == world.name("news")), "{lagging:?}");
        }
        let unread = tokio::time::timeout(Duration::from_millis(20), events.next()).await;
        assert!(unread.is_err(), "{unread:?}");
    }

    async fn a_stream_that_is_not_read_says_what_it_missed(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let mut slow = bus.subscribe(News::channel()).buffer(Bounds::messages(1).bytes(1 << 20)).await.unwrap();
        let mut witness = bus.subscribe(News::channel()).await.unwrap();
        for n in 0..300 {
            for _ in 0..2 {
                News { n }.publish(&bus).await.unwrap();
                message(&mut witness).await;
            }
            while !matches!(event(&mut slow).await, Event::Message(_)) {}
        }
        assert_eq!(next(&mut events).await, BusEvent::Missed(300 - 256));
        assert!(matches!(next(&mut events).await, BusEvent::Lagging { .. }));
    }
}

/// Memory has no access rules.
#[tokio::test]
async fn a_refusal_is_told_with_the_channel() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut events = bus.events();
    let mut connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let rules = ["default", "resetchannels", "&line:*"];
    redis::cmd("ACL").arg("SETUSER").arg(&rules).exec_async(&mut connection).await.unwrap();
    bus.subscribe(News::channel()).await.unwrap_err();
    let refused = |event: &BusEvent| match event {
        BusEvent::Refused { channel, reason, .. } => Some((channel.clone(), reason.clone())),
        _ => None,
    };
    let (channel, reason) = next_that(&mut events, refused).await;
    assert_eq!(channel, "news");
    assert!(reason.contains("ACL SETUSER"), "{reason}");
}
