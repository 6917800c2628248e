//! Requests across instances on a Redis Cluster: found, answered and counted exactly, wherever the slots of their inboxes are.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Message, Overflow, Reconnect, RequestError, Status, router};
use tidings_tests::{Cluster, Recorder, eventually};

use crate::support::{SOON, Step, received};

#[derive(Message, Serialize, Deserialize)]
#[channel("squares:<n>")]
#[reply(u64)]
struct Square {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("roots:<n>")]
#[reply(u64)]
struct Root {
    n: u64,
}

#[derive(Clone)]
struct Squares {
    asked: Recorder<u64>,
}

#[router]
impl Squares {
    #[handler]
    async fn square(&self, square: Square) -> u64 {
        self.asked.record(square.n);
        square.n * square.n
    }
}

/// A bus that reconnects quickly.
async fn bus(cluster: &Cluster) -> Bus {
    bus_with(cluster, |builder| builder).await
}

async fn bus_with(cluster: &Cluster, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
    let reconnect =
        Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(200));
    settings(Bus::builder(cluster.url()).reconnect(reconnect)).connect().await.unwrap()
}

/// The shard channels that somebody is subscribed to.
async fn shard_channels(cluster: &Cluster) -> Vec<String> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        all.extend(node.command::<Vec<String>>(&["PUBSUB", "SHARDCHANNELS"]).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_work_on_a_cluster_through_a_slot_migration_and_a_killed_master() {
    let cluster = Cluster::start().await;
    let (server, client) = (bus(&cluster).await, bus(&cluster).await);
    let began = Instant::now();
    let nobody = Square { n: 1 }.request(&client).timeout(SOON).await;
    assert!(matches!(nobody, Err(RequestError::NobodyListens { .. })), "{nobody:?}");
    assert!(began.elapsed() < SOON / 2, "it is known at once, and not when the time is up");

    let squares = Squares { asked: Recorder::new() };
    let service = server.serve(squares.clone()).group("north").await.unwrap();
    let other = bus(&cluster).await;
    let further = other.serve(squares.clone()).group("south").await.unwrap();
    for n in 0..50 {
        assert_eq!(Square { n }.request(&client).timeout(SOON).await.unwrap(), n * n);
    }
    assert_eq!(squares.asked.all().len(), 50, "each was executed once");
    let nobody = Root { n: 1 }.request(&client).timeout(SOON).await;
    assert!(matches!(nobody, Err(RequestError::NobodyListens { .. })), "{nobody:?}");
    let collected = Square { n: 3 }.request(&client).timeout(SOON).collect(2).await.unwrap();
    assert_eq!(collected.len(), 2, "one of each group");
    let services = client.services().within(SOON).await.unwrap();
    assert_eq!(services.iter().map(|service| service.instances.len()).sum::<usize>(), 2);

    // Each shard channel gets another node.
    let names = shard_channels(&cluster).await;
    assert!(names.len() >= 4, "two inboxes and two questions: {names:?}");
    for name in &names {
        let slot = cluster.slot(name).await;
        let owner = cluster.owner(slot).await.port();
        let to = cluster.nodes()[..3].iter().find(|node| node.port() != owner).unwrap();
        cluster.migrate(slot, to).await;
    }
    eventually(SOON, async || {
        let mut there = shard_channels(&cluster).await;
        there.sort();
        there.dedup();
        there.len() == names.len() && answers(&client).await
    })
    .await;
    eventually(SOON, async || {
        Square { n: 3 }.request(&client).timeout(SOON).collect(2).await.is_ok_and(|all| all.len() == 2)
    })
    .await;

    let inbox = names.iter().find(|name| name.contains("inbox")).unwrap();
    let slot = cluster.slot(inbox).await;
    let master = cluster.owner(slot).await;
    master.kill();
    cluster.another_than(master.port(), slot).await;
    eventually(SOON, async || answers(&client).await).await;
    eventually(SOON, async || server.status() == Status::Connected && client.status() == Status::Connected).await;
    eventually(SOON, async || {
        client
            .services()
            .within(SOON)
            .await
            .is_ok_and(|services| services.iter().map(|service| service.instances.len()).sum::<usize>() == 2)
    })
    .await;

    // And who has gone is known to be gone.
    service.shutdown().await.unwrap();
    further.shutdown().await.unwrap();
    let nobody = Square { n: 1 }.request(&client).timeout(SOON).await;
    assert!(matches!(nobody, Err(RequestError::NobodyListens { .. })), "{nobody:?}");
}

async fn answers(client: &Bus) -> bool {
    Square { n: 7 }.request(client).timeout(Duration::from_secs(5)).await.is_ok_and(|answer| answer == 49)
}

/// What is no request needs no shard: one connection for all of it, and one for each subscription that waits for its reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_hear_what_is_published_on_any_node() {
    let cluster = Cluster::start().await;
    let (from, to) = (bus(&cluster).await, bus(&cluster).await);
    let mut steps = to.subscribe(Step::any()).await.unwrap();
    let mut patient = to.subscribe(Step::any()).overflow(Overflow::BackPressure).await.unwrap();
    for n in 0..20 {
        let receipt = Step { line: n % 3, n }.publish(&from).await.unwrap();
        assert_eq!(receipt.receivers, None, "a node counts only its own");
    }
    for n in 0..20 {
        assert_eq!(received(&mut steps).await.message.n, n);
        assert_eq!(received(&mut patient).await.message.n, n);
    }
    let nodes = cluster.nodes().iter();
    let mut connections = 0;
    for node in nodes {
        connections += node.subscriber_connections().await;
    }
    assert_eq!(connections, 2);
}
