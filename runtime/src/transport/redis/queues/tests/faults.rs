//! What befalls a server, and what its queues do then.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    error::QueueError,
    transport::{
        contract::Link,
        durable::{
            contract::Keeper,
            task::{Begun, DeadReason, OnceKey, Settled, Unique},
        },
        redis::tests::server::{DEADLINE, eventually},
    },
};

const LONG: Duration = Duration::from_secs(20);

/// Waits until a reader blocks.
async fn blocked(server: &Server) {
    eventually("a reader blocks", || {
        let clients = server.text("CLIENT LIST");
        clients.lines().any(|client| client.contains("name=tidings-reader") && client.contains("flags=b"))
    })
    .await;
}

/// <https://redis.io/docs/latest/commands/client-unblock/>: and the server does it when it becomes a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_stop_waiting_has_lost_no_keys() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let demoted = async {
        blocked(&server).await;
        server.run("REPLICAOF 127.0.0.1 1");
    };
    let (waited, ()) = tokio::join!(reader.wait(LONG), demoted);
    assert!(matches!(waited, Err(QueueError::NotConnected { .. })), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_gone_are_noticed_at_once_and_made_again() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    for (round, fault) in [
        "FLUSHALL".to_owned(),
        format!("DEL {BASE}new:tasks:high"),
        format!("XGROUP DESTROY {BASE}back:tasks:low tidings"),
        format!("DEL {BASE}wake"),
    ]
    .into_iter()
    .enumerate()
    {
        let noticed = async {
            let waited = reader.wait(LONG).await;
            (waited, Instant::now())
        };
        let done = async {
            blocked(&server).await;
            let at = Instant::now();
            server.run(&fault);
            at
        };
        let ((waited, noticed), at) = tokio::join!(noticed, done);
        assert!(matches!(waited, Err(QueueError::Gone { .. })), "{fault}: {waited:?}");
        assert!(noticed - at < Duration::from_secs(1));
        if round < 3 {
            let taken = reader.take(take(1)).await;
            assert!(matches!(taken, Err(QueueError::Gone { .. })), "{fault}: {taken:?}");
        }
        redis.declare(&spec()).await.unwrap();
        enqueue(&redis, task("a")).await.unwrap();
        let entries = reader.wait(LONG).await.unwrap().entries;
        assert_eq!(ids(&entries), ["a"], "{fault}");
        redis.settle(&name(), vec![done_of(&entries)]).await.unwrap();
    }
    assert_eq!(reader.connections(), 1, "none of it is a fault of the connection");
}

fn done_of(entries: &[Entry]) -> Settlement {
    done(&entries[0])
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    for id in ["a", "b"] {
        server.run("SCRIPT FLUSH");
        let unique = Some(Unique { key: id.into(), window: Duration::from_secs(1) });
        let limited = NewTask { unique, ..task(id) };
        let results = redis.enqueue(vec![limited, task("plain")], false).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        server.run("SCRIPT FLUSH");
        let entries = taken(&mut reader, 2).await.entries;
        assert_eq!(ids(&entries), [id, "plain"]);
        server.run("SCRIPT FLUSH");
        let settled = redis.settle(&name(), entries.iter().map(done).collect()).await.unwrap();
        assert_eq!(settled, [Settled::Counted; 2]);
    }
}

#[tokio::test]
async fn a_full_server_refuses_new_tasks_and_drains() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    for id in ["retry", "later", "park", "dead", "done", "follow", "owned"] {
        enqueue(&redis, task(id)).await.unwrap();
    }
    server.run("SCRIPT FLUSH");
    server.run("CONFIG SET maxmemory 1");
    for refused in [task("x"), NewTask { due: Due::In(LONG), ..task("y") }] {
        let refused = enqueue(&redis, refused).await;
        assert!(matches!(refused, Err(EnqueueError::ServerFull { .. })), "{refused:?}");
    }
    redis.declare(&spec()).await.unwrap();
    let entries = taken(&mut reader, 10).await.entries;
    assert_eq!(entries.len(), 7);
    let key = OnceKey { key: "k".into(), window: LONG };
    assert_eq!(redis.begin(&name(), &key, "done", 1).await.unwrap(), Begun::Now);
    let held: Vec<_> = entries.iter().map(|entry| entry.at.clone()).collect();
    assert!(keeper.keep(&name(), "instance-1", "{}", &held).await.unwrap().lost.is_empty());
    let record = |at: usize| moved(&entries[at]);
    let verdicts = [
        Verdict::Again { why: Why::Failed, after: None, record: record(0) },
        Verdict::Again { why: Why::Failed, after: Some(Duration::from_millis(1)), record: record(1) },
        Verdict::Park { record: record(2) },
        Verdict::Dead { record: record(3), reason: DeadReason::Refused, instance: "instance-1".into() },
        Verdict::Done { follow_ups: Vec::new() },
        Verdict::Done { follow_ups: vec![task("followed")] },
    ];
    let mut settlements: Vec<_> =
        entries.iter().zip(verdicts).map(|(entry, verdict)| settlement(entry, verdict)).collect();
    settlements[4].once = Some(key);
    assert_eq!(redis.settle(&name(), settlements).await.unwrap(), [Settled::Counted; 6]);
    let mut rest = Vec::new();
    let until = Instant::now() + DEADLINE;
    while rest.len() < 3 && Instant::now() < until {
        rest.extend(reader.wait(Duration::from_millis(5)).await.unwrap().entries);
        rest.extend(taken(&mut reader, 10).await.entries);
    }
    redis.settle(&name(), rest.iter().map(done).collect()).await.unwrap();
    let mut overdue = Vec::new();
    while overdue.is_empty() && Instant::now() < until {
        overdue = keeper.overdue(&spec(), Duration::MAX, 10).await.unwrap().entries;
    }
    let crashed = again(&overdue[0].entry, Why::Crashed, None);
    assert_eq!(keeper.reclaim(&spec(), vec![crashed]).await.unwrap(), [Settled::Counted]);
    assert_eq!(redis.unpark(&name(), "Task", 1).await.unwrap(), 1);
    keeper.tidy(&spec(), None).await.unwrap();
    let entries = taken(&mut reader, 10).await.entries;
    assert_eq!(ids(&entries), ["owned", "park"]);
    redis.settle(&name(), entries.iter().map(done).collect()).await.unwrap();
    server.run("CONFIG SET maxmemory 0");
    enqueue(&redis, task("x")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed_while_it_is_asked_and_while_a_reader_waits() {
    let server = Server::start();
    let timeout = Duration::from_millis(300);
    let config = Config { command_timeout: timeout, connect_timeout: timeout, ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    keeper.overdue(&spec(), Duration::MAX, 1).await.unwrap();
    for round in 1..=2 {
        taken(&mut reader, 1).await;
        server.signal("STOP");
        let start = Instant::now();
        let failed = match round {
            1 => reader.take(take(1)).await.map(|_| ()),
            _ => reader.wait(Duration::from_millis(100)).await.map(|_| ()),
        };
        assert!(matches!(failed, Err(QueueError::TimedOut { .. })), "{failed:?}");
        let undecided = enqueue(&redis, task("a")).await;
        assert!(
            matches!(undecided, Err(EnqueueError::Undecided { .. } | EnqueueError::NotConnected { .. })),
            "{undecided:?}"
        );
        assert!(keeper.overdue(&spec(), Duration::MAX, 1).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        server.signal("CONT");
        let until = Instant::now() + DEADLINE;
        while reader.take(take(1)).await.is_err() {
            assert!(Instant::now() < until);
        }
        assert_eq!(reader.connections(), round + 1, "the answer may have been lost with a task");
        while enqueue(&redis, task("b")).await.is_err() || keeper.keep(&name(), "i", "{}", &[]).await.is_err() {
            assert!(Instant::now() < until);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_killed_is_made_anew() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    let killed = async {
        blocked(&server).await;
        server.run("CLIENT KILL TYPE normal SKIPME yes");
    };
    let (waited, ()) = tokio::join!(reader.wait(LONG), killed);
    assert!(matches!(waited, Err(QueueError::NotConnected { .. })), "{waited:?}");
    // Until it is noticed that the shared connection was killed too.
    let until = Instant::now() + DEADLINE;
    while enqueue(&redis, task("a")).await.is_err() {
        assert!(Instant::now() < until);
    }
    let entries = reader.wait(LONG).await.unwrap().entries;
    assert_eq!((ids(&entries), reader.connections()), (vec!["a"], 2));
    let overdue = keeper.overdue(&spec(), Duration::MAX, 1).await;
    assert!(matches!(overdue, Err(QueueError::NotConnected { .. })), "{overdue:?}");
    // It may be to another server, whose clock is another one.
    keeper.clock_was(&name(), Duration::from_secs(7_200));
    // A heartbeat tells of it.
    assert!(keeper.keep(&name(), "instance-2", "{}", &[]).await.unwrap().is_anew);
    assert_eq!(redis.workers(&name()).await.unwrap().len(), 2);
    assert!(!keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap().is_anew);
    keeper.overdue(&spec(), Duration::MAX, 1).await.unwrap();
    let clients = server.text("CLIENT LIST");
    for connection in ["tidings-queue", "tidings-reader", "tidings-keeper"] {
        assert_eq!(clients.matches(&format!("name={connection} ")).count(), 1, "{clients}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_told_of_and_comes_back_with_everything_that_it_kept() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let config = Config { command_timeout: Duration::from_secs(1), ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let mut reader = reader(&redis).await;
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    server.kill();
    let refused = enqueue(&redis, task("b")).await;
    assert!(matches!(refused, Err(EnqueueError::NotConnected { .. } | EnqueueError::Undecided { .. })), "{refused:?}");
    let failed = reader.take(take(1)).await;
    assert!(matches!(failed, Err(QueueError::NotConnected { .. })), "{failed:?}");
    server.restart();
    let until = Instant::now() + DEADLINE;
    while reader.take(take(1)).await.is_err() {
        assert!(Instant::now() < until);
    }
    let mut keeper = redis.keeper();
    assert_eq!(ids(&keeper.pending(&spec(), "instance-1").await.unwrap()), ["a"]);
    assert_eq!(redis.settle(&name(), vec![done(&entry)]).await.unwrap(), [Settled::Counted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_bus_ends_waits_and_connections() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    let closed = async {
        blocked(&server).await;
        redis.close("the test is over");
    };
    let (waited, ()) = tokio::join!(reader.wait(LONG), closed);
    assert!(matches!(waited, Err(QueueError::Closed { .. })), "{waited:?}");
    assert!(matches!(reader.take(take(1)).await, Err(QueueError::Closed { .. })));
    assert!(matches!(keeper.overdue(&spec(), Duration::MAX, 1).await, Err(QueueError::Closed { .. })));
    assert!(matches!(enqueue(&redis, task("a")).await, Err(EnqueueError::Closed { .. })));
    assert!(matches!(redis.declare(&spec()).await, Err(QueueError::Closed { .. })));
    eventually("all connections are closed", || !server.text("CLIENT LIST").contains("name=tidings")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_is_put_forward_lets_nobody_lose_a_task() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    let spec = QueueSpec { lease: Duration::from_secs(3_600), ..spec() };
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    // What may be between two looks at clocks keeps nobody from renewing a lease.
    keeper.clock_was(&name(), Duration::from_secs(600));
    assert!(keeper.overdue(&spec, Duration::MAX, 1).await.unwrap().entries.is_empty());
    keeper.clock_was(&name(), Duration::from_secs(7_200));
    let put_forward = keeper.overdue(&spec, Duration::MAX, 1).await;
    assert!(
        matches!(&put_forward, Err(QueueError::NotConnected { reason, .. }) if reason.contains("clock")),
        "{put_forward:?}"
    );
    // Until all had a lease for renewing theirs, as after a lost connection.
    assert!(keeper.overdue(&spec, Duration::MAX, 1).await.is_err());
    assert!(keeper.reclaim(&spec, vec![done(&entry)]).await.is_err());
    assert!(keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap().is_anew);
    assert!(!keeper.keep(&name(), "instance-1", "{}", &[]).await.unwrap().is_anew);
    assert!(keeper.overdue(&spec, Duration::MAX, 1).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn keys_of_another_layout_are_left_alone() {
    let server = Server::start();
    let redis = connected(&server).await;
    server.run(&format!("SET {BASE}layout 7"));
    let refused = redis.declare(&spec()).await;
    assert!(matches!(&refused, Err(QueueError::Layout { found, .. }) if found == "7"), "{refused:?}");
    server.run("FLUSHALL");
    server.run(&format!("SET {BASE}new:tasks:high x"));
    let refused = redis.declare(&spec()).await;
    assert!(matches!(&refused, Err(QueueError::Layout { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_left() {
    let (server, other) = (Server::start(), Server::start());
    let config = Config { command_timeout: Duration::from_secs(1), ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let mut reader = reader(&redis).await;
    taken(&mut reader, 1).await;
    server.run(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    let failed = reader.take(take(1)).await;
    assert!(matches!(failed, Err(QueueError::NotConnected { .. })), "{failed:?}");
    let refused = enqueue(&redis, task("a")).await;
    assert!(matches!(refused, Err(EnqueueError::NotConnected { .. })), "{refused:?}");
    server.run("REPLICAOF NO ONE");
    let until = Instant::now() + DEADLINE;
    while redis.declare(&spec()).await.is_err() || reader.take(take(1)).await.is_err() {
        assert!(Instant::now() < until);
    }
    enqueue(&redis, task("a")).await.unwrap();
    assert_eq!(ids(&taken(&mut reader, 1).await.entries), ["a"]);
}
