//! T24: whatever is dropped, wherever, nothing stays behind on the server.

use std::time::Duration;

use tidings::router;
use tidings_tests::{Recorder, RedisServer, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::{Entry, SOON},
    outages::bus,
    report::Report,
    seed::{Random, sized},
};

struct Handling {
    started: Recorder<u64>,
    finished: Recorder<u64>,
}

#[router]
impl Handling {
    #[handler(concurrency = 8)]
    async fn entry(&self, entry: Entry) {
        self.started.record(entry.n);
        tokio::task::yield_now().await;
        self.finished.record(entry.n);
    }
}

async fn nothing_is_left(server: &RedisServer, channels: u64) {
    eventually(SOON, async || server.numpat().await == 0).await;
    for channel in 0..channels {
        eventually(SOON, async || server.numsub(&format!("ledger:{channel}")).await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_shut_down_under_load_finishes_what_it_started() {
    let server = RedisServer::start().await;
    let (from, to) = (bus(server.url()).await, bus(server.url()).await);
    let mut random = Random::of("T24");
    let rounds = sized(20, 100);
    let mut published = 0;
    for _ in 0..rounds {
        let (started, finished) = (Recorder::new(), Recorder::new());
        let service = to.serve(Handling { started: started.clone(), finished: finished.clone() }).await.unwrap();
        let mut load = JoinSet::new();
        for publisher in 0..4 {
            let from = from.clone();
            load.spawn(async move {
                for n in 0.. {
                    Entry::new(publisher, n).publish(&from).await.unwrap();
                }
            });
        }
        random.pause(5..40).await;
        service.shutdown_within(SOON).await.unwrap();
        load.shutdown().await;
        assert_eq!(started.len(), finished.len());
        published += started.len() as u64;
        // The server has been told when `shutdown` returns, and does it when it comes to it.
        eventually(SOON, async || server.numpat().await == 0).await;
    }
    Report::new("T24", "shutdowns", rounds).messages(published, published).close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_dropped_at_a_random_moment_leaves_nothing_on_the_server() {
    const CHANNELS: u64 = 8;
    let server = RedisServer::start().await;
    let bus = bus(server.url()).await;
    let mut random = Random::of("T24-drops");
    let drops = sized(400, 10_000);
    let mut tasks = JoinSet::new();
    for n in 0..drops {
        let (bus, channel) = (bus.clone(), random.within(0..CHANNELS));
        let (opening, open) = (random.within(1..3_000), random.within(1..3_000));
        tasks.spawn(async move {
            let patience = Duration::from_micros(opening);
            match n % 3 {
                0 => {
                    let opened = tokio::time::timeout(patience, bus.subscribe(Entry::channel(channel))).await;
                    if let Ok(mut subscription) = opened.map(Result::unwrap) {
                        let _ = tokio::time::timeout(Duration::from_micros(open), subscription.next()).await;
                    }
                }
                1 => {
                    let handling = Handling { started: Recorder::new(), finished: Recorder::new() };
                    let opened = tokio::time::timeout(patience, bus.serve(handling)).await;
                    if let Ok(service) = opened.map(Result::unwrap) {
                        let _ = tokio::time::timeout(Duration::from_micros(open), service.shutdown()).await;
                    }
                }
                _ => {
                    let entry = Entry::new(channel, n);
                    let _ = tokio::time::timeout(patience, entry.publish(&bus).into_future()).await;
                }
            }
        });
        if n % 16 == 0 {
            tokio::time::sleep(Duration::from_micros(open)).await;
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    nothing_is_left(&server, CHANNELS).await;
    // The bus still works, and its end closes its connections.
    let subscription = bus.subscribe(Entry::channel(0_u64)).await.unwrap();
    assert_eq!(Entry::new(0, 1).publish(&bus).await.unwrap().receivers, Some(1));
    drop((subscription, bus));
    eventually(SOON, async || server.subscriber_connections().await == 0).await;
    Report::new("T24-drops", "cancellations", usize::try_from(drops).unwrap()).close();
}
