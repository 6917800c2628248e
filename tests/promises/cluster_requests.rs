//! Requests across instances on a Redis Cluster: found, answered and counted exactly, wherever the slots of their inboxes are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, Event, Message, Overflow, Reconnect, RequestError, Status, router};
use tidings_tests::{Cluster, Recorder, eventually};
use tokio::task::JoinSet;

use crate::support::{SOON, Step};

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
    let reconnect =
        Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(200));
    Bus::builder(cluster.url()).reconnect(reconnect).connect().await.unwrap()
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
    answers_cross_one_node(&cluster, &client).await;
    no_answer_is_lost_by_a_move(&cluster, &client).await;
    let collected = Square { n: 3 }.request(&client).timeout(SOON).collect(2).await.unwrap();
    assert_eq!(collected.len(), 2, "one of each group");
    let services = client.services().within(SOON).await.unwrap();
    assert_eq!(services.iter().map(|service| service.instances.len()).sum::<usize>(), 2);

    // Who was given one node only asks, and is asked, like the others.
    let one = Bus::connect(&cluster.nodes()[0].url()).await.unwrap();
    for n in 0..20 {
        assert_eq!(Square { n }.request(&one).timeout(SOON).await.unwrap(), n * n);
    }
    let third = one.serve(squares.clone()).group("east").await.unwrap();
    // Its announcement is on its way.
    eventually(SOON, async || {
        Square { n: 3 }.request(&client).timeout(SOON).collect(3).await.is_ok_and(|all| all.len() == 3)
    })
    .await;
    third.shutdown().await.unwrap();

    let names = moved(&cluster, &client).await;
    a_master_dies(&cluster, &names, &server, &client).await;

    // And who has gone is known to be gone.
    service.shutdown().await.unwrap();
    further.shutdown().await.unwrap();
    let nobody = Square { n: 1 }.request(&client).timeout(SOON).await;
    assert!(matches!(nobody, Err(RequestError::NobodyListens { .. })), "{nobody:?}");
}

/// Messages that nodes have sent each other because of PUBLISH.
async fn published_between_nodes(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for node in cluster.nodes() {
        let info: String = node.command(&["CLUSTER", "INFO"]).await;
        let mut lines = info.lines();
        let sent = lines.find_map(|line| line.strip_prefix("cluster_stats_messages_publish_sent:"));
        sum += sent.map_or(0, |sent| sent.parse::<u64>().unwrap());
    }
    sum
}

/// Answers come on a shard channel; on the channel of the same name come those of whoever knows only that.
async fn answers_cross_one_node(cluster: &Cluster, client: &Bus) {
    let before = published_between_nodes(cluster).await;
    for n in 0..50 {
        assert_eq!(Square { n }.request(client).timeout(SOON).await.unwrap(), n * n);
    }
    assert_eq!(
        published_between_nodes(cluster).await,
        before,
        "no node was told of an answer that nobody there waits for"
    );

    let channel = client.stats().reply_channel.unwrap();
    let unexpected = client.stats().unexpected_answers;
    let owner = cluster.owner(cluster.slot(&channel).await).await;
    assert_eq!(owner.command::<u64>(&["SPUBLISH", &channel, "{}"]).await, 1);
    let other = cluster.masters().iter().find(|node| node.port() != owner.port()).unwrap();
    other.command::<u64>(&["PUBLISH", &channel, "{}"]).await;
    eventually(SOON, async || client.stats().unexpected_answers == unexpected + 2).await;

    // A program that has braces in its own name, and knows nothing of shard channels.
    let foreign = redis::Client::open(other.url()).unwrap();
    let mut answers = foreign.get_async_pubsub().await.unwrap();
    answers.subscribe("tidings:replies:{foreign}").await.unwrap();
    let asked =
        r#"{"id":"1","type":"Square","correlation_id":"c","reply_to":"tidings:replies:{foreign}","data":{"n":9}}"#;
    owner.command::<u64>(&["PUBLISH", "squares:9", asked]).await;
    let answer = tokio::time::timeout(SOON, answers.on_message().next()).await.unwrap().unwrap();
    assert!(answer.get_payload::<String>().unwrap().contains(r#""data":{"ok":81}"#));
}

/// The shard channel for answers goes from node to node, while there are requests all the time.
async fn no_answer_is_lost_by_a_move(cluster: &Cluster, client: &Bus) {
    let slot = cluster.slot(&client.stats().reply_channel.unwrap()).await;
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut asking = JoinSet::new();
    for n in 0..8 {
        let (client, goes_on) = (client.clone(), Arc::clone(&goes_on));
        asking.spawn(async move {
            let mut answered = 0;
            while goes_on.load(Ordering::Relaxed) {
                assert_eq!(Square { n }.request(&client).timeout(SOON).await.unwrap(), n * n);
                answered += 1;
            }
            answered
        });
    }
    for _ in 0..6 {
        let owner = cluster.owner(slot).await.port();
        let to = cluster.masters().iter().find(|node| node.port() != owner).unwrap();
        cluster.migrate(slot, to).await;
        let channel = client.stats().reply_channel.unwrap();
        eventually(SOON, async || {
            let counted: (String, u64) = to.command(&["PUBSUB", "SHARDNUMSUB", &channel]).await;
            counted.1 == 1
        })
        .await;
    }
    goes_on.store(false, Ordering::Relaxed);
    assert!(asking.join_all().await.into_iter().all(|answered: u32| answered > 0));
}

/// Each shard channel gets another node; their names.
async fn moved(cluster: &Cluster, client: &Bus) -> Vec<String> {
    let names = shard_channels(cluster).await;
    assert!(names.len() >= 4, "two inboxes and two questions: {names:?}");
    for name in &names {
        let slot = cluster.slot(name).await;
        let owner = cluster.owner(slot).await.port();
        let to = cluster.nodes()[..3].iter().find(|node| node.port() != owner).unwrap();
        cluster.migrate(slot, to).await;
    }
    eventually(SOON, async || {
        let mut there = shard_channels(cluster).await;
        there.sort();
        there.dedup();
        there.len() == names.len() && answers(client).await
    })
    .await;
    eventually(SOON, async || {
        Square { n: 3 }.request(client).timeout(SOON).collect(2).await.is_ok_and(|all| all.len() == 2)
    })
    .await;
    names
}

/// The master of an inbox dies; through all of it there is a subscription that has a connection of its own.
async fn a_master_dies(cluster: &Cluster, names: &[String], server: &Bus, client: &Bus) {
    let mut patient = client.subscribe(Step::any()).overflow(Overflow::BackPressure).await.unwrap();
    let mut events = server.events();
    let inbox = names.iter().find(|name| name.contains("inbox")).unwrap();
    let slot = cluster.slot(inbox).await;
    let master = cluster.owner(slot).await;
    master.kill();
    cluster.another_than(master.port(), slot).await;
    eventually(SOON, async || answers(client).await).await;
    let address = format!("127.0.0.1:{}", master.port());
    let told = async {
        while let Some(event) = events.next().await {
            if matches!(event, BusEvent::Disconnected { server: Some(server), .. } if server == address) {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, told).await.expect("it is told which server was lost");
    eventually(SOON, async || server.status() == Status::Connected && client.status() == Status::Connected).await;
    eventually(SOON, async || {
        client
            .services()
            .within(SOON)
            .await
            .is_ok_and(|services| services.iter().map(|service| service.instances.len()).sum::<usize>() == 2)
    })
    .await;

    let mut n = 0;
    eventually(SOON, async || {
        n += 1;
        // A gap may come first.
        Step { line: 1, n }.publish(server).await.is_ok()
            && tokio::time::timeout(SOON / 10, patient.next())
                .await
                .is_ok_and(|event| event.and_then(Event::into_message).is_some())
    })
    .await;
}

async fn answers(client: &Bus) -> bool {
    Square { n: 7 }.request(client).timeout(Duration::from_secs(5)).await.is_ok_and(|answer| answer == 49)
}
