//! T20: every request ends exactly once, with its own answer or an error, whatever happens to the connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, NoError, RequestError, router};
use tidings_tests::{RedisServer, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::SOON,
    outages::{bus, bus_with},
    report::Report,
    seed::{Random, sized},
};

#[derive(Message, Serialize, Deserialize)]
#[channel("doubles:<n>")]
#[reply(u64)]
struct Double {
    n: u64,
}

/// How long an asker rests after a failure.
const FAILED: Duration = Duration::from_millis(20);

struct Doubling;

#[router]
impl Doubling {
    /// Every fiftieth answer comes too late. Each question has its own channel, as one channel is handled in order.
    #[handler(concurrency = 256)]
    async fn double(&self, double: Double) -> Result<u64, NoError> {
        if double.n.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        Ok(double.n * 2)
    }
}

/// How the requests of a scenario ended.
#[derive(Default)]
struct Ends {
    next: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

async fn ask(bus: Bus, count: u64, ends: Arc<Ends>) {
    loop {
        let n = ends.next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return;
        }
        let end = match (Double { n }).request(&bus).timeout(Duration::from_millis(400)).await {
            Ok(answer) if answer == 2 * n => &ends.answered,
            Ok(_) | Err(RequestError::InvalidAnswer { .. }) => &ends.wrong,
            Err(_) => {
                // What fails at once would otherwise use up all questions before the connections are back.
                tokio::time::sleep(FAILED).await;
                &ends.failed
            }
        };
        end.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_ends_once_while_connections_are_killed() {
    let server = RedisServer::start().await;
    let (asking, answering) = (bus(server.url()).await, bus(server.url()).await);
    let service = answering.serve(Doubling).await.unwrap();
    let mut random = Random::of("T20");
    let (count, kills) = sized((5_000, 10), (100_000, 50));
    let (ends, mut askers) = (Arc::new(Ends::default()), JoinSet::new());
    for _ in 0..64 {
        askers.spawn(ask(asking.clone(), count, Arc::clone(&ends)));
    }
    for kill in 0..kills {
        random.pause(50..200).await;
        if kill % 2 == 0 {
            server.kill_subscribers().await;
        } else {
            let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        }
    }
    let ended = async { while askers.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(2 * SOON, ended).await.unwrap();
    let [answered, failed, wrong] = [&ends.answered, &ends.failed, &ends.wrong].map(|end| end.load(Ordering::Relaxed));
    assert_eq!(wrong, 0);
    assert_eq!(answered + failed, count);
    assert!(answered > count / 2, "only {answered} of {count} answered");
    assert_eq!(asking.stats().pending_requests, 0);
    // The connections are whole again, and late answers reached nobody.
    eventually(SOON, async || Double { n: 1 }.request(&asking).await.is_ok_and(|answer| answer == 2)).await;
    service.shutdown().await.unwrap();
    Report::new("T20", "kills", kills).messages(count, answered).close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_time_out_or_are_dropped_or_find_nobody_leave_nothing() {
    let server = RedisServer::start().await;
    let bus = bus_with(server.url(), |builder| builder).await;
    let mut random = Random::of("T20-drops");
    let error = Double { n: 1 }.request(&bus).await.unwrap_err();
    assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
    // A subscription that answers nothing.
    let _silent = bus.subscribe(Double::any()).await.unwrap();
    let count = sized(2_000, 100_000);
    let mut asking = JoinSet::new();
    for n in 0..count {
        let (bus, patience) = (bus.clone(), Duration::from_micros(random.within(1..20_000)));
        let question = Double { n };
        asking.spawn(async move {
            if n.is_multiple_of(2) {
                let error = question.request(&bus).timeout(patience).await.unwrap_err();
                assert!(matches!(error, RequestError::TimedOut { .. } | RequestError::Publish(_)), "{error}");
            } else {
                let _ = tokio::time::timeout(patience, question.request(&bus).into_future()).await;
            }
        });
    }
    while let Some(result) = asking.join_next().await {
        result.unwrap();
    }
    assert_eq!(bus.stats().pending_requests, 0);
    Report::new("T20-drops", "cancellations", usize::try_from(count).unwrap()).messages(count, 0).close();
}
