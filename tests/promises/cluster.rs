//! A bus on a Redis Cluster: what is promised of one server holds there, and what is wrong with an address is said.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde::{Deserialize, Serialize};
use tidings::{Bus, ConnectError, EnqueueError, HealthError, HealthWarning, Message, PublishError, Status, router};
use tidings_tests::{Cluster, RedisServer, eventually};

use crate::support::{News, SOON, Step, message, messages};

/// A bus on the shared cluster, in a namespace of the test's own.
async fn bus(namespace: &str) -> Bus {
    Bus::builder(Cluster::shared().await.url()).namespace(namespace).connect().await.unwrap()
}

async fn refused(url: &str) -> ConnectError {
    Bus::connect(url).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_at_any_node_is_heard_at_every_other_one_in_order() {
    let cluster = Cluster::shared().await;
    let mut buses = vec![bus("anywhere").await];
    for node in cluster.masters() {
        buses.push(Bus::builder(node.url()).namespace("anywhere").connect().await.unwrap());
    }
    let mut lines = Vec::new();
    for bus in &buses {
        lines.push((bus.subscribe(Step::any()).await.unwrap(), bus.subscribe(News::any()).await.unwrap()));
    }
    for (line, bus) in buses.iter().enumerate() {
        for n in 0..50 {
            let receipt = Step { line: line as u64, n }.publish(bus).await.unwrap();
            assert_eq!(receipt.receivers, None, "a node counts only its own");
        }
    }
    News { n: 1 }.publish(&buses[0]).await.unwrap();
    for (steps, news) in &mut lines {
        let all = messages(steps, 50 * buses.len()).await;
        for line in 0..buses.len() as u64 {
            assert!(all.iter().filter(|step| step.line == line).map(|step| step.n).eq(0..50), "{all:?}");
        }
        assert_eq!(message(news).await, News { n: 1 });
    }
    assert_eq!(buses[0].status(), Status::Connected);
    assert!(buses[0].health().await.unwrap().is_well(), "{:?}", buses[0].health().await);
}

#[tokio::test]
async fn the_builder_takes_the_nodes() {
    let nodes = Cluster::shared().await.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port()));
    let here = Bus::builder("redis://").cluster(nodes).namespace("built").connect().await.unwrap();
    let mut news = bus("built").await.subscribe(News::any()).await.unwrap();
    assert_eq!(News { n: 1 }.publish(&here).await.unwrap().receivers, None);
    assert_eq!(message(&mut news).await, News { n: 1 });
    let contradiction = Bus::builder("redis://127.0.0.1").cluster(["127.0.0.1"]).connect().await.unwrap_err();
    assert!(matches!(contradiction, ConnectError::Contradiction { setting: "cluster", .. }), "{contradiction:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_through_any_node() {
    let cluster = Cluster::start().await;
    let replica = cluster.replica_of(&cluster.masters()[0]).await;
    let (gone, plain) = (port_of_nobody().await, RedisServer::start().await);
    let ports = [gone, plain.port(), replica.port()].map(|port| format!("127.0.0.1:{port}"));
    let found = Bus::connect(&format!("redis+cluster://{}", ports.join(","))).await.unwrap();
    let mut news = Bus::connect(&cluster.url()).await.unwrap().subscribe(News::any()).await.unwrap();
    News { n: 1 }.publish(&found).await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 1 });
    // As one server a replica is refused, like that of any master.
    let error = refused(&replica.url()).await;
    assert!(error.to_string().contains("replica"), "{error}");
}

/// A port at which a server was.
async fn port_of_nobody() -> u16 {
    RedisServer::start().await.port()
}

#[tokio::test]
async fn what_is_wrong_with_an_address_of_a_cluster_is_said() {
    let cluster = Cluster::shared().await;
    let (node, plain) = (&cluster.masters()[0], RedisServer::start().await);
    let sentinel = RedisServer::with_settings(&[&format!("sentinel monitor shop 127.0.0.1 {} 1", plain.port())]).await;
    let alone = RedisServer::with_settings(&["cluster-enabled yes"]).await;
    for (url, words) in [
        (format!("redis+cluster://127.0.0.1:{}", plain.port()), format!("`{}`", plain.url())),
        (format!("redis+cluster://127.0.0.1:{}", sentinel.port()), "redis+sentinel://".to_owned()),
        (format!("redis+cluster://127.0.0.1:{}", alone.port()), "no slots yet".to_owned()),
        (format!("redis+sentinel://127.0.0.1:{}/shop", node.port()), cluster_url(node)),
    ] {
        let error = refused(&url).await;
        assert!(error.to_string().contains(&words), "{url}: {error}");
    }
    let gone = port_of_nobody().await;
    let error = refused(&format!("redis+cluster://127.0.0.1:{gone}")).await;
    assert!(
        matches!(&error, ConnectError::Unreachable { address, .. } if address.contains(&gone.to_string())),
        "{error}"
    );
}

fn cluster_url(node: &RedisServer) -> String {
    format!("redis+cluster://127.0.0.1:{}", node.port())
}

/// Work that waits in a queue.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("errands:all")]
struct Errand {
    n: u64,
}

struct Runner;

#[router]
impl Runner {
    #[handler(idempotent, timeout = "30s")]
    async fn errand(&self, errand: Errand) {
        let _ = errand.n;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_given_as_one_server_carries_messages_and_no_queues() {
    let node = &Cluster::shared().await.masters()[0];
    let one = Bus::builder(node.url()).namespace("one").connect().await.unwrap();
    let mut news = one.subscribe(News::any()).await.unwrap();
    News { n: 1 }.publish(&bus("one").await).await.unwrap();
    assert_eq!(messages(&mut news, 1).await, [News { n: 1 }]);
    News { n: 2 }.publish(&one).await.unwrap();
    assert_eq!(messages(&mut news, 1).await, [News { n: 2 }]);

    let warnings = one.health().await.unwrap().warnings;
    let [warning @ HealthWarning::ClusterNode { address, .. }] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(*address, format!("127.0.0.1:{}", node.port()));
    assert!(warning.to_string().contains(&cluster_url(node)), "{warning}");

    let error = Errand { n: 1 }.enqueue(&one).await.unwrap_err();
    assert!(matches!(error, EnqueueError::ClusterNode { .. }) && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(&cluster_url(node)), "{error}");
    let error = one.serve(Runner).await.unwrap_err();
    let words = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(words.contains(&cluster_url(node)), "{error}: {words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_which_half_is_gone_says_so_and_carries_what_it_can() {
    let cluster = Cluster::start().await;
    let bus = Bus::builder(cluster.url()).command_timeout(Duration::from_secs(2)).connect().await.unwrap();
    let [master, other, ..] = cluster.masters() else { panic!("there are three") };
    let replica = cluster.replica_of(master).await;
    replica.kill();
    master.kill();
    let dead = [master, replica].map(|node| format!("127.0.0.1:{}", node.port()));
    eventually(SOON, async || {
        let Ok(health) = bus.health().await else { return false };
        let is_missed = |wanted: &String| {
            let of_it = |warning: &HealthWarning| matches!(warning, HealthWarning::NodeState { node, state, .. } if node == wanted && state == "fail");
            health.warnings.iter().any(of_it)
        };
        let is_uncovered = |warning: &HealthWarning| matches!(warning, HealthWarning::UncoveredSlots { slots, .. } if (5_000..6_000).contains(slots));
        dead.iter().all(is_missed) && health.warnings.iter().any(is_uncovered)
    })
    .await;
    // Who connects now gets messages, from whoever has been there before.
    let late = Bus::connect(&cluster.url()).await.unwrap();
    let mut news = late.subscribe(News::any()).await.unwrap();
    eventually(SOON, async || News { n: 1 }.publish(&bus).await.is_ok()).await;
    assert_eq!(message(&mut news).await, News { n: 1 });

    for node in cluster.nodes() {
        node.kill();
    }
    let error = News { n: 2 }.publish(&bus).await.unwrap_err();
    assert!(matches!(error, PublishError::NotConnected { .. } | PublishError::ConnectionLost { .. }), "{error}");
    eventually(SOON, async || matches!(bus.status(), Status::Reconnecting { .. })).await;
    let error = bus.health().await.unwrap_err();
    assert!(matches!(error, HealthError::Connect(_)), "{error}");
    let error = refused(&cluster.url()).await;
    assert!(matches!(&error, ConnectError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains(&other.port().to_string()) || error.to_string().contains(&master.port().to_string())
    );
}

/// A note of somebody.
#[derive(Message, Serialize, Deserialize)]
#[channel("notes:<of: String>:<name: String>")]
struct Note {
    n: u64,
}

#[test]
fn no_value_and_no_namespace_brings_a_hash_tag() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let text = "[{}a:% ]{0,8}|\\PC{0,12}";
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(500) });
    let tested = runner.run(&(text, text, text), |(namespace, of, name)| {
        let wire = runtime.block_on(async {
            let bus = Bus::builder("memory:").namespace(&*namespace).connect().await.ok()?;
            let _notes = bus.subscribe(Note::channel(of, name)).await.unwrap();
            Some(bus.stats().subscriptions[0].names[0].name.clone())
        });
        match wire {
            Some(wire) => prop_assert!(!wire.contains(['{', '}']), "{wire}"),
            None => prop_assert!(namespace.is_empty() || !namespace.chars().all(char::is_alphanumeric), "{namespace}"),
        }
        Ok(())
    });
    tested.unwrap();
}
