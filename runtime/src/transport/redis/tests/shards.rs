//! Subscriptions on a cluster: shard channels where their slots are, and the rest on any node.

use std::ops::RangeInclusive;

use redis::{Value, from_redis_value};

use crate::transport::redis::{
    cluster::{SLOTS, slot},
    topology::Endpoint,
};

use super::{cluster::Cluster, *};

/// Long against what a move takes, short enough to notice one that was only found by chance.
const ALIVE: Duration = Duration::from_secs(1);
/// What a loaded machine may need beyond that.
const SLACK: Duration = Duration::from_secs(3);

impl Cluster {
    /// Sends to a shard channel, and returns the number of receivers; nothing if the node does not have it.
    fn send(&self, node: usize, channel: &str, payload: &str) -> Option<i64> {
        let mut connection = self.nodes[node].client().get_connection().unwrap();
        redis::cmd("SPUBLISH").arg(channel).arg(payload).query(&mut connection).ok()
    }

    fn shard_subscribers(&self, node: usize, channel: &str) -> i64 {
        let answer: Value = self.nodes[node].run(&format!("PUBSUB SHARDNUMSUB {channel}"));
        let (_, count): (String, i64) = from_redis_value(answer).unwrap();
        count
    }

    pub(crate) async fn has_subscribers(&self, node: usize, channel: &str, count: i64) {
        eventually(channel, || self.shard_subscribers(node, channel) == count).await;
    }

    pub(in crate::transport::redis) fn endpoint(&self, node: usize) -> Endpoint {
        Endpoint::Network { host: "127.0.0.1".to_owned(), port: self.nodes[node].port }
    }

    fn subscriber_connections(&self, node: usize) -> usize {
        self.nodes[node].text("CLIENT LIST").matches("name=tidings-sub ").count()
    }
}

/// A name of a slot in these.
pub(crate) fn name_in(slots: RangeInclusive<u16>, other_than: &str) -> String {
    let mut names = (0..).map(|number| format!("inbox:{number}"));
    names.find(|name| slots.contains(&slot(name.as_bytes())) && name != other_than).unwrap()
}

pub(crate) const FIRST: RangeInclusive<u16> = 0..=SLOTS / 2 - 1;
const SECOND: RangeInclusive<u16> = SLOTS / 2..=SLOTS - 1;

pub(crate) fn shard(text: &str) -> Wanted {
    Wanted { name: Name { text: text.into(), kind: NameKind::ShardChannel }, token: 3 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_has_its_names_on_all_nodes_and_leaves_them_all() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus().await;
    let (one, other) = (name_in(FIRST, ""), name_in(SECOND, ""));
    let next = name_in(FIRST, &one);
    let names = vec![shard(&one), shard(&other), shard(&next), shard(&one), channel("a"), pattern("b*")];
    let mut reader = Reader::attach(&redis, names).await.unwrap();
    // Confirmed is subscribed.
    for (node, name) in [(0, &one), (1, &other), (0, &next)] {
        assert_eq!(cluster.send(node, name, name), Some(1));
        assert_eq!(reader.message().await, (name.clone(), name.clone(), 3));
    }
    for (node, channel, token) in [(0, "a", 1), (1, "a", 1), (1, "b1", 2)] {
        cluster.nodes[node].run(&format!("PUBLISH {channel} x"));
        assert_eq!(reader.message().await, (channel.to_owned(), "x".to_owned(), token));
    }
    let snapshots = redis.snapshots();
    assert_eq!((snapshots.len(), snapshots[0].names.len(), snapshots[0].messages), (1, 5, 6));
    assert_eq!(redis.status(), Status::Connected);
    // A second inbox of the same name counts once on the server, and goes without taking it from the first.
    let second = Reader::attach(&redis, vec![shard(&one), shard(&other)]).await.unwrap();
    drop(second);
    eventually("nothing is missing", || cluster.send(1, &other, "again") == Some(1)).await;
    assert_eq!(reader.message().await.1, "again");

    tokio::time::timeout(DEADLINE, reader._attachment.leave()).await.unwrap();
    for (node, name) in [(0, &one), (1, &other), (0, &next)] {
        assert_eq!(cluster.shard_subscribers(node, name), 0);
    }
    drop(reader);
    eventually("the connections for shards are gone", || {
        (0..2).map(|node| cluster.subscriber_connections(node)).sum::<usize>() == 1
    })
    .await;
    let _again = Reader::attach(&redis, vec![shard(&one), shard(&other), channel("a")]).await.unwrap();
    assert_eq!((cluster.send(0, &one, "x"), cluster.send(1, &other, "x")), (Some(1), Some(1)));
}

/// T16 on this floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_follows_its_slot_and_each_loss_has_its_gap() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus().await;
    let (moving, still) = (name_in(FIRST, ""), name_in(SECOND, ""));
    let mut reader = Reader::attach(&redis, vec![shard(&moving), shard(&still), channel("a")]).await.unwrap();
    let (mut sent, mut next, mut gaps) = (0, 0, 0);
    let mut send = |node| {
        sent += 1;
        cluster.send(node, &moving, &(sent - 1).to_string()).unwrap()
    };
    // At the end both names are at the second node.
    for round in 0..7 {
        let (from, to) = (round % 2, (round + 1) % 2);
        for _ in 0..20 {
            assert_eq!(send(from), 1);
        }
        cluster.moves(slot(moving.as_bytes()), from, to);
        let moved = Instant::now();
        eventually("somebody is there again", || send(to) == 1).await;
        assert!(moved.elapsed() < ALIVE + SLACK, "{:?}", moved.elapsed());
        for _ in 0..20 {
            assert_eq!(send(to), 1);
        }
    }
    cluster.send(1, &still, "end");
    // Both come over the same connection then, so this is the last.
    let last = loop {
        match reader.next().await {
            Some(Item::Frame(frame)) if frame.channel() == still.as_bytes() => break frame,
            Some(Item::Frame(frame)) => {
                let number: usize = std::str::from_utf8(frame.payload()).unwrap().parse().unwrap();
                assert!(number == next || number > next && gaps > 0, "{number} instead of {next}");
                next = number + 1;
            }
            Some(Item::Gap(gap)) => {
                assert_eq!(gap.cause, GapCause::SlotMoved);
                gaps += 1;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(last.payload(), b"end");
    assert_eq!(next, sent);
    assert!(gaps >= 7, "{gaps}");
    assert_eq!(cluster.shard_subscribers(1, &moving), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_and_nodes_that_are_gone() {
    let cluster = Cluster::start(3, &[]).await;
    let redis = cluster.bus().await;
    let mut events = redis.events().subscribe();
    let names: Vec<String> = (0..30).map(|number| format!("many:{number}")).collect();
    let mut readers = Vec::new();
    for name in &names {
        readers.push(Reader::attach(&redis, vec![shard(name)]).await.unwrap());
    }
    for server in &cluster.nodes {
        server.run("CLIENT KILL TYPE pubsub");
    }
    for (name, reader) in names.iter().zip(&mut readers) {
        eventually("it is there again", || cluster.send(cluster.owner(name), name, "x") == Some(1)).await;
        assert!(matches!(reader.gap().await.cause, GapCause::Disconnected(_)));
        assert_eq!(reader.message().await.1, "x");
    }
    eventually("all are told", || redis.status() == Status::Connected).await;
    assert!(matches!(events.next().await, Some(crate::transport::events::BusEvent::Disconnected { .. })));

    // The bus ends with all of its inboxes.
    redis.close("enough");
    assert_eq!(redis.status(), Status::Closed);
    for reader in &mut readers {
        assert!(matches!(reader.next().await, Some(Item::Ended(reason)) if reason == "enough"));
        assert!(reader.next().await.is_none());
    }
    let refused = Reader::attach(&redis, vec![shard(&names[0])]).await.err();
    assert!(matches!(refused, Some(SubscribeError::Closed { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_does_not_give_is_said_and_nothing_is_left_behind() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(Config { command_timeout: Duration::from_secs(2), ..config() }).await;
    let (one, other) = (name_in(FIRST, ""), name_in(SECOND, ""));
    // Only this node refuses.
    cluster.nodes[1].run("ACL SETUSER default resetchannels &free:*");
    let refused = Reader::attach(&redis, vec![shard(&one), shard(&other), channel("free:a")]).await.err();
    assert!(
        matches!(&refused, Some(SubscribeError::Refused { channel, rule, .. }) if *channel == other && rule.contains(&other)),
        "{refused:?}"
    );
    eventually("all of it is undone", || {
        cluster.shard_subscribers(0, &one) == 0 && (0..2).all(|node| cluster.nodes[node].subscribers("free:a") == 0)
    })
    .await;
    cluster.nodes[1].run("ACL SETUSER default allchannels");
    // Nobody has the slot.
    let number = slot(one.as_bytes());
    for server in &cluster.nodes {
        server.run("CONFIG SET cluster-require-full-coverage no");
    }
    for server in &cluster.nodes {
        server.run(&format!("CLUSTER DELSLOTS {number}"));
    }
    let refused = Reader::attach(&redis, vec![shard(&other), shard(&one)]).await.err();
    assert!(matches!(&refused, Some(SubscribeError::TimedOut { channel, .. }) if *channel == one), "{refused:?}");
    cluster.nodes[1].run(&format!("CLUSTER ADDSLOTS {number}"));
    let attached = async {
        loop {
            if let Ok(reader) = Reader::attach(&redis, vec![shard(&one), shard(&other)]).await {
                return reader;
            }
        }
    };
    let mut reader = tokio::time::timeout(DEADLINE, attached).await.unwrap();
    assert_eq!((cluster.send(1, &one, "1"), cluster.send(1, &other, "2")), (Some(1), Some(1)));
    assert_eq!((reader.message().await.1, reader.message().await.1), ("1".to_owned(), "2".to_owned()));
}
