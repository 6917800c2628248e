//! T8 and T9: consumers that are too slow, and messages that are too large.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bounds, Event, Message, Overflow, PublishError};
use tidings_tests::{RedisServer, eventually};

use crate::{
    ledger::{Entry, Ledger, SOON},
    outages::{bus, bus_with},
    report::Report,
    seed::sized,
};

#[derive(Message, Serialize, Deserialize)]
#[channel("bulk")]
struct Bulk {
    n: u64,
    filling: String,
}

fn bulk(n: u64, size: usize) -> Bulk {
    Bulk { n, filling: "x".repeat(size) }
}

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<u64>().ok()?;
    Some(pages * 4_096)
}

/// The bounds of a slow subscription.
const MESSAGES: usize = 2_000;
const BYTES: usize = 4 * 1024 * 1024;

/// T8: a burst into a subscription that nobody reads. What came and what was dropped add up, in order, within the memory's bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_into_a_slow_subscription_is_dropped_as_it_says_and_counted() {
    for (scenario, overflow) in [("T8-oldest", Overflow::DropOldest), ("T8-newest", Overflow::DropNewest)] {
        let count = sized(20_000, 200_000);
        let (received, lagged) = burst(overflow, count).await;
        assert_eq!(received + lagged, count);
        // The buffer may exceed its bounds by one read.
        assert!(received <= MESSAGES as u64 + 200 && lagged > 0, "{received} received, {lagged} dropped");
        Report::new(scenario, "bursts", 1).messages(count, received).dropped(lagged).close();
    }
    // Less than the server's limit for a subscriber that does not read: nothing may be missing.
    let count = 20_000;
    assert_eq!(burst(Overflow::BackPressure, count).await, (count, 0));
    Report::new("T8-pressure", "bursts", 1).messages(count, count).close();
}

/// How many messages of a burst came, and how many were reported as dropped.
async fn burst(overflow: Overflow, count: u64) -> (u64, u64) {
    let server = RedisServer::start().await;
    let (from, to) = (bus(server.url()).await, bus(server.url()).await);
    let mut slow =
        to.subscribe(Bulk::channel()).buffer(Bounds::messages(MESSAGES).bytes(BYTES)).overflow(overflow).await.unwrap();
    let mut quick = to.subscribe(Entry::channel(1_u64)).await.unwrap();
    let before = resident();
    for n in 0..count {
        bulk(n, 1_000).publish(&from).await.unwrap();
    }
    // It came after the burst, where that shares its connection, and past it where it does not.
    Entry::new(1, 1).publish(&from).await.unwrap();
    assert!(matches!(tokio::time::timeout(SOON, quick.next()).await.unwrap(), Some(Event::Message(_))));
    // Other scenarios share the process in the short form: their memory must not fail this one.
    if let (Some(before), Some(after)) = (before, resident()) {
        let (grown, room) = (after.saturating_sub(before), sized(256, 8) * 1024 * 1024);
        assert!(grown < BYTES as u64 * 11 / 10 + room, "{} KiB more", grown / 1024);
    }
    let (mut received, mut lagged) = (0, 0);
    while received + lagged < count {
        match tokio::time::timeout(SOON, slow.next()).await.unwrap() {
            Some(Event::Message(bulk)) => {
                assert_eq!(bulk.n, received + lagged, "after {lagged} dropped");
                received += 1;
            }
            Some(Event::Lagged(dropped)) => lagged += dropped,
            other => panic!("{other:?}"),
        }
    }
    (received, lagged)
}

/// T9: the server disconnects a subscriber whose output buffer is full. That is a gap for it, and nothing for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_the_server_throws_out_reports_a_gap_and_others_do_not() {
    let server = RedisServer::with_settings(&["client-output-buffer-limit pubsub 1mb 1mb 0"]).await;
    let small = bus_with(server.url(), |builder| builder.payload_limit(1024 * 1024)).await;
    let (victim, other) = (bus(server.url()).await, bus(server.url()).await);
    let mut bulks = victim.subscribe(Bulk::channel()).await.unwrap();
    let ledger = Ledger::open(&small, &other, 1, 1).await;
    ledger.under_way().await;

    let error = bulk(0, 3_000_000).publish(&small).await.unwrap_err();
    assert!(matches!(error, PublishError::PayloadTooLarge { .. }), "{error}");

    let kills = sized(5, 50);
    for n in 0..kills {
        server.publish("bulk", &vec![b'x'; 3_000_000]).await;
        let gap = tokio::time::timeout(SOON, bulks.next()).await.unwrap();
        assert!(matches!(gap, Some(Event::Gap(_))), "{gap:?}");
        bulk(n, 10).publish(&small).await.unwrap();
        let message = tokio::time::timeout(SOON, bulks.next()).await.unwrap();
        assert!(matches!(&message, Some(Event::Message(bulk)) if bulk.n == n), "{message:?}");
    }
    let mut report = Report::new("T9", "throw-outs", usize::try_from(kills).unwrap());
    for verdict in ledger.close(&small).await {
        assert!(verdict.gaps.is_empty(), "{verdict:?}");
        report.add(&verdict);
    }
    eventually(Duration::from_secs(5), async || bulks.stats().gaps == kills).await;
    report.close();
}
