//! A snapshot shows what a bus is subscribed to, and what came through.

use std::time::Duration;

use tidings::{Bounds, BusStats, NameKind, Overflow, Status, SubscriptionSnapshot, SubscriptionState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{News, SOON, Step, message};

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn step(&self, step: Step) {
        self.seen.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }
}

/// The subscription with so many names, of which the first is this one.
fn find<'a>(stats: &'a BusStats, count: usize, name: &str) -> &'a SubscriptionSnapshot {
    let found = stats.subscriptions.iter().find(|seen| seen.names.len() == count && seen.names[0].name == name);
    found.unwrap_or_else(|| panic!("{stats:?}"))
}

on_each! {
    async fn a_snapshot_shows_every_subscription_and_service(world: World) {
        let bus = world.bus_in("shop", |builder| builder).await;
        assert!(bus.stats().subscriptions.is_empty());
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let pressed = bus.subscribe(Step::any()).overflow(Overflow::BackPressure).await.unwrap();
        let seen = Recorder::new();
        let service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
        for n in 0..3 {
            News { n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut news).await.n, n);
        }
        seen.wait_for(3).await;
        let stats = bus.stats();
        assert_eq!((&stats.status, stats.reconnects, stats.subscriptions.len()), (&Status::Connected, 0, 3));
        let one = find(&stats, 1, &world.name("shop:news"));
        assert_eq!((one.messages, one.dropped, one.waiting), (3, 0, 0));
        assert!(one.bytes > 0 && one.last_activity.is_some_and(|ago| ago < SOON), "{one:?}");
        let name = &one.names[0];
        assert_eq!((name.kind, name.template, name.state), (NameKind::Channel, Some("news"), SubscriptionState::Active));
        let pattern = find(&stats, 1, &world.name("shop:line:*"));
        assert!(pattern.names[0].kind == NameKind::Pattern && pattern.last_activity.is_none(), "{pattern:?}");
        assert_eq!(pattern.names[0].template, Some("line:<line>"));
        let served = find(&stats, 2, &world.name("shop:line:*"));
        assert_eq!((served.messages, served.names[1].template), (3, Some("news")));
        drop((news, pressed));
        service.shutdown().await.unwrap();
        eventually(SOON, async || bus.stats().subscriptions.is_empty()).await;
    }

    async fn what_is_dropped_and_what_waits_is_counted(world: World) {
        let bus = world.bus().await;
        let _slow = bus.subscribe(News::channel()).buffer(Bounds::messages(5).bytes(1 << 20)).await.unwrap();
        for n in 0..12 {
            News { n }.publish(&bus).await.unwrap();
        }
        eventually(SOON, async || {
            let stats = bus.stats();
            let slow = &stats.subscriptions[0];
            (slow.messages, slow.dropped, slow.waiting) == (12, 7, 5)
        })
        .await;
    }

    #[one_server("it is stopped")]
    async fn an_outage_shows_as_pending(world: World) {
        let bus = world.bus().await;
        let _news = bus.subscribe(News::channel()).await.unwrap();
        let state = || bus.stats().subscriptions[0].names[0].state;
        world.stop();
        eventually(SOON, async || state() == SubscriptionState::Pending).await;
        let stats = bus.stats();
        assert!(stats.status_since < SOON && matches!(stats.status, Status::Reconnecting { .. }), "{stats:?}");
        world.start().await;
        eventually(SOON, async || state() == SubscriptionState::Active && bus.stats().status == Status::Connected).await;
        assert_eq!(bus.stats().reconnects, 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(bus.stats().status_since >= Duration::from_millis(5));
    }
}
