//! What a subscription does to the program around it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bounds, Bus, Event, Message, Overflow, SubscribeError};
use tidings_tests::{LogLines, RedisServer, World, on_each};
use tracing::Level;

use crate::support::{News, Step, message};

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("line:<line>:deeper")]
struct Deeper {
    line: u64,
}

/// One thread, so that a task that never gives way keeps every other one from running.
async fn gives_way(world: World) {
    const COUNT: u64 = 5_000;
    let bus = world.bus().await;
    let bounds = Bounds::messages(2 * COUNT as usize).bytes(1 << 26);
    let mut news = bus.subscribe(News::channel()).buffer(bounds).await.unwrap();
    let mut deeper = bus.subscribe(Step::any()).buffer(bounds).await.unwrap();
    for n in 0..COUNT {
        News { n }.publish(&bus).await.unwrap();
        Deeper { line: 1 }.publish(&bus).await.unwrap();
    }
    Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
    let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, stopped) = (Arc::clone(&turns), Arc::clone(&stop));
    let mut others = tokio::task::JoinSet::new();
    others.spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    tokio::task::yield_now().await;
    let before = turns.load(Ordering::Relaxed);
    for n in 0..COUNT {
        assert_eq!(message(&mut news).await.n, n);
    }
    let between = turns.load(Ordering::Relaxed);
    assert!(between - before > 20, "another task ran {} times", between - before);
    // Nor does one that has nothing to tell.
    assert_eq!(message(&mut deeper).await.n, 1);
    assert_eq!(deeper.stats().unmatched, COUNT);
    let after = turns.load(Ordering::Relaxed);
    assert!(after - between > 20, "another task ran {} times", after - between);
    stop.store(true, Ordering::Relaxed);
}

#[tokio::test]
async fn a_full_subscription_lets_other_tasks_run_on_memory() {
    gives_way(World::memory()).await;
}

#[tokio::test]
async fn a_full_subscription_lets_other_tasks_run_on_redis() {
    gives_way(World::redis().await).await;
}

async fn warns_seldom(world: World) {
    const COUNT: u64 = 300;
    let (warnings, _guard) = LogLines::of_this_thread(Level::WARN);
    let bus = world.bus().await;
    let mut steps = bus.subscribe(Step::any()).buffer(Bounds::messages(10).bytes(1 << 20)).await.unwrap();
    let start = Instant::now();
    let (mut invalid, mut lagged) = (0, 0);
    for _ in 0..COUNT {
        world.publish_raw("line:x", "nothing").await;
        world.publish_raw("line:1:deeper", "nothing").await;
        if invalid % 3 == 0 {
            for _ in 0..20 {
                world.publish_raw("line:x", "nothing").await;
            }
        }
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, steps.next()).await {
            match event {
                Event::Invalid(_) => invalid += 1,
                Event::Lagged(count) => lagged += count,
                other => panic!("{other:?}"),
            }
        }
    }
    let seconds = start.elapsed().as_secs() + 1;
    let lines = warnings.all();
    assert!(invalid > 100 && lagged > 0, "{invalid} {lagged}");
    assert!(
        !lines.is_empty() && lines.len() as u64 <= 3 * seconds,
        "{} lines in {seconds} s: {:?}",
        lines.len(),
        lines[0]
    );
}

#[tokio::test]
async fn what_repeats_does_not_flood_the_log() {
    warns_seldom(World::memory()).await;
}

on_each! {
    async fn statistics_begin_at_zero(world: World) {
        let bus = world.bus().await;
        let stats = bus.subscribe(Step::any()).await.unwrap().stats();
        assert_eq!((stats.messages, stats.invalid, stats.unmatched, stats.lagged, stats.gaps), (0, 0, 0, 0, 0));
    }
}

/// Memory knows every command.
#[tokio::test]
async fn a_server_that_does_not_know_how_to_subscribe_is_quoted_in_the_error() {
    let server = RedisServer::with_settings(&["rename-command SUBSCRIBE \"\""]).await;
    let bus = Bus::builder(server.url()).command_timeout(Duration::from_millis(200)).connect().await.unwrap();
    for overflow in [Overflow::DropOldest, Overflow::BackPressure] {
        let error = bus.subscribe(News::channel()).overflow(overflow).await.unwrap_err();
        assert!(matches!(error, SubscribeError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("it says ERR unknown command 'SUBSCRIBE'"), "{error}");
    }
    // Patterns it knows.
    let _steps = bus.subscribe(Step::any()).await.unwrap();
}
