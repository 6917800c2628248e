//! Messages that handlers return to each other are counted, and a loop is told of.

use serde::{Deserialize, Serialize};
use tidings::{BusEvent, Format, Message, Publish, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{News, SOON, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("ping")]
struct Ping {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("pong")]
struct Pong {
    n: u64,
}

/// Passes a message to and fro, so many times.
struct Game {
    rounds: u64,
    seen: Recorder<(u64, u32)>,
}

#[router]
impl Game {
    #[handler]
    async fn ping(&self, ping: Ping, delivery: &tidings::Delivery) -> Option<Publish<Pong>> {
        self.seen.record((ping.n, delivery.hops()));
        (ping.n < self.rounds).then(|| Publish::new(Pong { n: ping.n + 1 }))
    }

    #[handler]
    async fn pong(&self, pong: Pong, delivery: &tidings::Delivery) -> Option<Publish<Ping>> {
        self.seen.record((pong.n, delivery.hops()));
        (pong.n < self.rounds).then(|| Publish::new(Ping { n: pong.n + 1 }))
    }

    #[handler]
    async fn news(&self, news: News) -> Publish<Ping> {
        Publish::new(Ping { n: news.n })
    }
}

on_each! {
    async fn a_loop_is_told_of_once_with_its_handlers(world: World) {
        for format in [Format::Envelope, Format::CloudEvents] {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut events = bus.events();
            let seen = Recorder::new();
            let service = bus.serve(Game { rounds: 200, seen: seen.clone() }).await.unwrap();
            Ping { n: 0 }.publish(&bus).await.unwrap();
            let seen = seen.wait_for(201).await;
            assert!(seen.iter().all(|&(n, hops)| n == u64::from(hops)), "{format:?}: {seen:?}");
            match tokio::time::timeout(SOON, events.next()).await {
                Ok(Some(BusEvent::ManyHops { handlers, hops, .. })) => {
                    assert!(handlers.iter().any(|name| name.ends_with("ping")), "{handlers:?}");
                    assert!(handlers.iter().any(|name| name.ends_with("pong")), "{handlers:?}");
                    assert_eq!((handlers.len(), hops), (2, 64));
                }
                other => panic!("{other:?}"),
            }
            service.shutdown().await.unwrap();
            // Nothing more was told.
            drop(bus);
            assert!(events.next().await.is_none());
        }
    }

    async fn a_limit_ends_a_loop(world: World) {
        let bus = world.bus_with(|builder| builder.hop_limit(10)).await;
        let seen = Recorder::new();
        let service = bus.serve(Game { rounds: u64::MAX, seen: seen.clone() }).await.unwrap();
        Ping { n: 0 }.publish(&bus).await.unwrap();
        eventually(SOON, async || handler(&service, "ping").failed + handler(&service, "pong").failed == 1).await;
        assert_eq!(seen.all().last(), Some(&(9, 9)));
    }

    async fn what_begins_a_chain_has_no_hops(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let _service = bus.serve(Game { rounds: 1, seen: seen.clone() }).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        Ping { n: 1 }.publish(&bus).await.unwrap();
        let mut seen = seen.wait_for(2).await;
        seen.sort_unstable();
        assert_eq!(seen, [(1, 0), (1, 1)]);
    }
}
