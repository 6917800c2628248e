//! What handlers of tasks return is one hop further than the task; attempts are no hops.

use serde::{Deserialize, Serialize};
use tidings::{BusEvent, Delivery, Enqueue, Format, Message, Publish, TaskState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{SOON, message};

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("hops:pings")]
struct Ping {
    n: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("hops:pongs")]
struct Pong {
    n: u64,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("hops:said")]
struct Said {
    n: u64,
}

/// Passes a task to and fro, so many times. Each third attempt at one succeeds.
struct Game {
    rounds: u64,
    seen: Recorder<(u64, u32)>,
}

#[router]
impl Game {
    #[handler(idempotent, timeout = "10s", retries = 5, backoff = "1ms..1ms")]
    async fn ping(&self, ping: Ping, delivery: &Delivery) -> Result<Option<Enqueue<Pong>>, String> {
        if delivery.attempt() < 3 {
            return Err("not yet".to_owned());
        }
        self.seen.record((ping.n, delivery.hops()));
        Ok((ping.n < self.rounds).then(|| Enqueue::new(Pong { n: ping.n + 1 })))
    }

    #[handler(idempotent, timeout = "10s", retries = 0)]
    async fn pong(&self, pong: Pong, delivery: &Delivery) -> (Enqueue<Ping>, Publish<Said>) {
        self.seen.record((pong.n, delivery.hops()));
        (Enqueue::new(Ping { n: pong.n + 1 }), Publish::new(Said { n: pong.n }))
    }

    /// A broadcast that a task has led to, and that leads to a task again.
    #[handler]
    async fn said(&self, said: Said, delivery: &Delivery) -> Option<Enqueue<Pong>> {
        (said.n == 1_001).then(|| {
            assert_eq!(delivery.hops(), 2);
            Enqueue::new(Pong { n: 2_000 })
        })
    }
}

on_each! {
    async fn a_chain_of_tasks_counts_its_hops_and_no_attempts(world: World) {
        for format in [Format::Envelope, Format::CloudEvents] {
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let (mut said, seen) = (bus.subscribe(Said::any()).await.unwrap(), Recorder::new());
            let service = bus.serve(Game { rounds: 5, seen: seen.clone() }).await.unwrap();
            Ping { n: 0 }.enqueue(&bus).await.unwrap();
            let seen = seen.wait_for(7).await;
            assert_eq!(seen, (0..7).map(|n| (n, n as u32)).collect::<Vec<_>>());
            for n in [1, 3, 5] {
                assert_eq!(message(&mut said).await, Said { n });
            }
            service.shutdown().await.unwrap();
        }
    }

    async fn a_chain_goes_on_from_a_task_to_a_broadcast_and_back(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Game { rounds: 0, seen: seen.clone() }).await.unwrap();
        // A message of a chain that is one hop long already.
        Pong { n: 1_001 }.enqueue(&bus).header("tidingshops", "1").await.unwrap();
        eventually(SOON, async || seen.all().contains(&(2_000, 3))).await;
        service.shutdown().await.unwrap();
    }

    async fn a_limit_ends_a_loop_of_tasks_in_the_dead_letters(world: World) {
        let bus = world.bus_with(|builder| builder.hop_limit(8)).await;
        let seen = Recorder::new();
        let service = bus.serve(Game { rounds: u64::MAX, seen: seen.clone() }).await.unwrap();
        Ping { n: 0 }.enqueue(&bus).await.unwrap();
        let pongs = bus.queue::<Pong>();
        eventually(SOON, async || pongs.counts().await.unwrap().dead == 1).await;
        assert_eq!(seen.all().last(), Some(&(7, 7)));
        let letters = pongs.dead_letters().await.unwrap();
        assert!(letters[0].error.as_deref().is_some_and(|error| error.contains("for 8 hops, and the limit is 8")), "{:?}", letters[0].error);
        let found = pongs.find(&letters[0].id).await.unwrap().unwrap();
        assert_eq!((found.state, found.attempt), (TaskState::Dead, 1));
        let counts = bus.queue::<Ping>().counts().await.unwrap();
        assert_eq!((counts.outstanding(), counts.dead), (0, 0), "nothing follows from what failed");
        service.shutdown().await.unwrap();
    }

    async fn a_loop_of_tasks_is_told_of_once_with_its_handlers(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let service = bus.serve(Game { rounds: 70, seen: Recorder::new() }).await.unwrap();
        Ping { n: 0 }.enqueue(&bus).await.unwrap();
        let told = async {
            loop {
                if let BusEvent::ManyHops { mut handlers, hops, .. } = events.next().await.unwrap() {
                    handlers.sort_unstable();
                    return (handlers, hops);
                }
            }
        };
        let (handlers, hops) = tokio::time::timeout(SOON, told).await.unwrap();
        assert_eq!((handlers.len(), hops), (2, 64), "{handlers:?}");
        assert!(handlers[0].ends_with("ping") && handlers[1].ends_with("pong"), "{handlers:?}");
        service.shutdown().await.unwrap();
    }
}
