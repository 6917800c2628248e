//! Dead letters are kept within the bounds of their queue; what leaves is counted, and told.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, BusEvents, Message, Outcome, Queue, Service, router};
use tidings_tests::{eventually, on_each};

use crate::support::SOON;

/// Of these few are kept.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("letters:few", lease = "1s", dead_letters_count = 2)]
struct Few {
    n: u64,
}

/// These are kept for a moment.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("letters:young", lease = "1s", dead_letters = "300ms")]
struct Young {
    n: u64,
}

/// Of these so many are kept as have room.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("letters:small", lease = "1s", dead_letters = "1d", dead_letters_bytes = 700)]
struct Small {
    text: String,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum Refused {
    #[outcome(dead_letter)]
    #[error("no")]
    No,
}

struct Refuser;

#[router]
impl Refuser {
    #[handler(idempotent, timeout = "10s", concurrency = 1)]
    async fn few(&self, _task: Few) -> Result<(), Refused> {
        Err(Refused::No)
    }

    #[handler(idempotent, timeout = "10s", concurrency = 1)]
    async fn young(&self, _task: Young) -> Result<(), Refused> {
        Err(Refused::No)
    }

    #[handler(idempotent, timeout = "10s", concurrency = 1)]
    async fn small(&self, _task: Small) -> Result<(), Refused> {
        Err(Refused::No)
    }
}

async fn served(bus: &Bus) -> (Service, BusEvents) {
    let events = bus.events();
    (bus.serve(Refuser).await.unwrap(), events)
}

/// How many dead letters are there, and how many have left.
async fn letters<M: Queue>(bus: &Bus) -> (u64, u64) {
    let counts = bus.queue::<M>().counts().await.unwrap();
    (counts.dead, counts.ended.dead_trimmed)
}

/// Waits until it was told that so many dead letters of a queue have left.
async fn told(events: &mut BusEvents, of: &str, wanted: u64) {
    let mut all = 0;
    while all < wanted {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
        if let BusEvent::DeadLettersTrimmed { queue, count, .. } = event {
            assert_eq!(queue, of);
            all += count;
        }
    }
    assert_eq!(all, wanted);
}

on_each! {
    async fn no_more_are_kept_than_their_number_says_and_what_leaves_is_told_soon(world: World) {
        let bus = world.bus().await;
        let (service, mut events) = served(&bus).await;
        let tasks: Vec<Few> = (0..7).map(|n| Few { n }).collect();
        assert!(bus.enqueue_all(&tasks).await.iter().all(Result::is_ok));
        let queue = bus.queue::<Few>();
        eventually(SOON, async || queue.counts().await.unwrap().ended.dead == 7).await;
        assert_eq!(letters::<Few>(&bus).await, (2, 5));
        let kept: Vec<u64> = queue.dead_letters().await.unwrap().iter().map(|letter| letter.task().unwrap().n).collect();
        assert_eq!(kept, [6, 5], "the newest");
        told(&mut events, "letters:few", 5).await;
        // Another one is told of by itself.
        Few { n: 7 }.enqueue(&bus).await.unwrap();
        told(&mut events, "letters:few", 1).await;
        service.shutdown().await.unwrap();
        let trimmed = |event| matches!(event, BusEvent::DeadLettersTrimmed { .. });
        assert!(!std::iter::from_fn(|| events.next().now_or_never().flatten()).any(trimmed), "nothing is told twice");
    }

    async fn none_is_kept_for_longer_than_their_time(world: World) {
        let bus = world.bus().await;
        let (service, mut events) = served(&bus).await;
        Young { n: 1 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || letters::<Young>(&bus).await == (1, 0)).await;
        let buried = Instant::now();
        eventually(SOON, async || buried.elapsed() > Duration::from_millis(400)).await;
        Young { n: 2 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || letters::<Young>(&bus).await.1 == 1).await;
        told(&mut events, "letters:young", 1).await;
        service.shutdown().await.unwrap();
    }

    async fn no_more_bytes_of_them_are_kept_than_is_said(world: World) {
        let bus = world.bus().await;
        let (service, mut events) = served(&bus).await;
        for _ in 0..5 {
            Small { text: "x".repeat(100) }.enqueue(&bus).await.unwrap();
        }
        eventually(SOON, async || bus.queue::<Small>().counts().await.unwrap().ended.dead == 5).await;
        let kept = bus.queue::<Small>().dead_letters().await.unwrap();
        let bytes: usize = kept.iter().map(|letter| letter.payload.len()).sum();
        assert!((1..5).contains(&kept.len()) && bytes <= 700, "{bytes} bytes in {}", kept.len());
        let trimmed = 5 - kept.len() as u64;
        assert_eq!(letters::<Small>(&bus).await, (kept.len() as u64, trimmed));
        told(&mut events, "letters:small", trimmed).await;
        service.shutdown().await.unwrap();
    }
}
