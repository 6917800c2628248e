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

/// As many tasks at once as are said.
async fn enqueue_some(redis: &Redis, count: usize) -> Vec<Result<Enqueued, EnqueueError>> {
    let results = redis.enqueue((0..count).map(|number| task(&format!("{number}"))).collect(), false).await;
    assert_eq!(results.len(), count);
    results
}

#[tokio::test]
async fn several_go_there_next_to_each_other_and_behind_those_before() {
    let server = Server::start();
    let redis = connected(&server).await;
    let low = |id, version| NewTask { channel: "tasks:low".into(), version, ..task(id) };
    let first = redis.enqueue(vec![task("a"), low("b", 1)], false).await;
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    enqueue(&redis, task("c")).await.unwrap();
    let added = redis.enqueue(vec![task("d"), low("e", 2), low("f", 3), task("g")], false).await;
    assert_eq!(added.iter().flatten().map(|task| &task.id[..]).collect::<Vec<_>>(), ["d", "e", "f", "g"]);
    // The connection of queues has told them of their parts, and has had no task since.
    let clients = server.text("CLIENT LIST");
    let commands = clients.lines().filter(|client| client.contains(" cmd=xadd "));
    assert!(
        commands.clone().count() == 1 && commands.clone().all(|client| client.contains(" name=tidings ")),
        "{clients}"
    );
    for (channel, expected) in
        [("tasks:high", ["a 1", "c 1", "d 1", "g 1"].as_slice()), ("tasks:low", &["b 1", "e 2", "f 3"])]
    {
        let entries: Vec<(String, Vec<String>)> =
            ::redis::from_redis_value(server.run(&format!("XRANGE {BASE}new:{channel} - +"))).unwrap();
        let found: Vec<String> = entries.iter().map(|(_, fields)| format!("{} {}", fields[1], fields[5])).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn what_is_refused_there_says_the_same() {
    for count in [1, 3] {
        let server = Server::start();
        let redis = connected(&server).await;
        enqueue(&redis, task("first")).await.unwrap();
        server.run("CONFIG SET maxmemory 1");
        let full = enqueue_some(&redis, count).await;
        assert!(full.iter().all(|full| matches!(full, Err(EnqueueError::ServerFull { .. }))), "{full:?}");
        server.run("CONFIG SET maxmemory 0");
        server.run("ACL SETUSER default -xadd");
        let is_named = |refused: &Result<Enqueued, EnqueueError>| matches!(refused, Err(EnqueueError::Refused { rule, .. }) if rule.contains("xadd"));
        let refused = enqueue_some(&redis, count).await;
        assert!(refused.iter().all(is_named), "{refused:?}");
        server.run("ACL SETUSER default +xadd");
        server.run("CLIENT KILL TYPE normal");
        let mut results = Vec::new();
        while results.last().is_none_or(Result::is_err) {
            results.extend(enqueue_some(&redis, count).await);
        }
        let lost = |result: &Result<Enqueued, EnqueueError>| {
            matches!(result, Ok(_) | Err(EnqueueError::Undecided { .. } | EnqueueError::NotConnected { .. }))
        };
        assert!(results.iter().all(lost), "{results:?}");
    }
}

#[tokio::test]
async fn of_more_than_goes_at_once_the_rest_is_not_sent_behind_what_was_not_answered() {
    let server = Server::start();
    let impatient = Config { command_timeout: Duration::from_millis(200), ..config() };
    let redis = Redis::connect(&server.url(), &impatient).await.unwrap();
    enqueue(&redis, task("first")).await.unwrap();
    for due in [Due::Now, Due::In(Duration::from_secs(60))] {
        let tasks: Vec<NewTask> = (0..25_000).map(|number| NewTask { due, ..task(&number.to_string()) }).collect();
        server.run("CLIENT PAUSE 1500 ALL");
        let results = redis.enqueue(tasks, false).await;
        assert_eq!(results.len(), 25_000);
        for (place, result) in results.iter().enumerate() {
            match result {
                Err(EnqueueError::Undecided { .. }) => assert!(place < 10_000, "{place}"),
                Err(EnqueueError::NotConnected { reason, .. }) => assert!(reason.contains("not sent"), "{reason}"),
                other => panic!("{place}: {other:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        while enqueue(&redis, task("again")).await.is_err() {}
    }
}
