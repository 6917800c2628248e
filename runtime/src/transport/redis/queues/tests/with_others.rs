//! Tasks of which nothing is to be checked are written with what others publish.

use super::*;
use crate::transport::contract::{Broadcast, Parcel, Reach, ReceiptComes};

#[tokio::test]
async fn a_plain_task_goes_with_what_others_publish() {
    let server = Server::start();
    let redis = connected(&server).await;
    // The queue is told of its part with the first one.
    enqueue(&redis, task("first")).await.unwrap();
    let (channel, payload) = ("a".to_owned(), b"1".to_vec());
    let message =
        Parcel { template: "a", reach: Reach::Channel, channel, payload, expiry: None, receipt: ReceiptComes::Anytime };
    let others = tokio::join!(enqueue(&redis, task("a")), redis.publish(message), enqueue(&redis, task("b")));
    assert!(others.0.is_ok() && others.1.is_ok() && others.2.is_ok(), "{others:?}");
    let clients = server.text("CLIENT LIST");
    let last = |name: &str| clients.lines().find(|client| client.contains(name)).unwrap().to_owned();
    assert!(last(" name=tidings ").contains(" cmd=xadd "), "{clients}");
    assert_eq!(redis.counts(&spec()).await.unwrap().parts["tasks:high"].waiting, 3);
    let parts: Vec<String> = ::redis::from_redis_value(server.run(&format!("SMEMBERS {BASE}parts"))).unwrap();
    assert_eq!(parts, ["tasks:high"]);
}

#[tokio::test]
async fn a_queue_that_has_forgotten_its_parts_is_told_of_them_again() {
    let server = Server::start();
    let redis = connected(&server).await;
    enqueue(&redis, task("first")).await.unwrap();
    for (round, ids) in [&["alone"][..], &["a", "b"], &["late"]].into_iter().enumerate() {
        server.run("FLUSHALL");
        let tasks = ids.iter().map(|id| NewTask {
            due: if *id == "late" { Due::In(Duration::from_secs(60)) } else { Due::Now },
            ..task(id)
        });
        assert!(redis.enqueue(tasks.collect(), false).await.iter().all(Result::is_ok));
        let parts: Vec<String> = ::redis::from_redis_value(server.run(&format!("SMEMBERS {BASE}parts"))).unwrap();
        assert_eq!(parts, ["tasks:high"], "{round}");
        for id in ids {
            assert!(redis.find(&spec(), id).await.is_ok_and(|found| found.is_some()), "{id}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_there_says_the_same() {
    let server = Server::start();
    let redis = connected(&server).await;
    enqueue(&redis, task("first")).await.unwrap();
    server.run("CONFIG SET maxmemory 1");
    let full = enqueue(&redis, task("a")).await;
    assert!(matches!(full, Err(EnqueueError::ServerFull { .. })), "{full:?}");
    server.run("CONFIG SET maxmemory 0");
    server.run("ACL SETUSER default -xadd");
    let refused = enqueue(&redis, task("a")).await;
    assert!(matches!(&refused, Err(EnqueueError::Refused { rule, .. }) if rule.contains("xadd")), "{refused:?}");
    server.run("ACL SETUSER default +xadd");
    server.run("CLIENT KILL TYPE normal");
    let mut results = Vec::new();
    while results.last().is_none_or(Result::is_err) {
        results.push(enqueue(&redis, task("b")).await);
    }
    let lost = |result: &Result<Enqueued, EnqueueError>| {
        matches!(result, Ok(_) | Err(EnqueueError::Undecided { .. } | EnqueueError::NotConnected { .. }))
    };
    assert!(results.iter().all(lost), "{results:?}");
}
