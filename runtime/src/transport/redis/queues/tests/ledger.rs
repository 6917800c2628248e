//! Whatever happens to connections, the books are right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::*;
use crate::transport::{
    durable::{
        contract::Keeper,
        task::{Settled, Unique},
    },
    redis::tests::server::DEADLINE,
};

/// An instance that takes and settles until all tasks are done, and looks after each new connection for what it has.
async fn work(redis: Arc<Redis>, instance: Arc<str>, left: Arc<AtomicUsize>) -> Vec<String> {
    let (mut reader, mut keeper) = (redis.reader(spec(), Arc::clone(&instance)), redis.keeper());
    let (mut held, mut counted, mut connections) = (BTreeMap::new(), Vec::new(), 0);
    let keep = |entry: Entry| (entry.at.entry.to_string() + &entry.at.channel, entry);
    while left.load(Ordering::Relaxed) > 0 {
        let settling: Vec<Entry> = held.values().cloned().collect();
        let settlements: Vec<_> = settling.iter().map(done).collect();
        let taken = reader.take(Take { settlements: settlements.clone(), ..take(8) }).await;
        let settled = match taken {
            Ok(taken) => {
                held.clear();
                held.extend(taken.entries.into_iter().map(keep));
                taken.settled
            }
            Err(_) => {
                held.clear();
                loop {
                    if let Ok(settled) = redis.settle(&name(), settlements.clone()).await {
                        break settled;
                    }
                }
            }
        };
        for (entry, settled) in settling.iter().zip(settled) {
            if settled == Settled::Counted {
                counted.push(entry.id.to_string());
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if reader.connections() != connections {
            connections = reader.connections();
            let pending = loop {
                if let Ok(pending) = keeper.pending(&spec(), &instance).await {
                    break pending;
                }
            };
            // Settled by a take whose answer was lost are those that are not there any more: the server counts them.
            held.extend(pending.into_iter().map(keep));
        }
        if held.is_empty()
            && let Ok(waited) = reader.wait(Duration::from_millis(20)).await
        {
            held.extend(waited.entries.into_iter().map(keep));
        }
        let done = redis.counts(&spec()).await.map_or(0, |counts| counts.ended.completed);
        if done as usize >= ALL {
            left.store(0, Ordering::Relaxed);
        }
    }
    counted
}

const ALL: usize = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_lost_or_counted_twice_while_connections_are_killed() {
    let server = Server::start();
    let redis = Arc::new(connected(&server).await);
    redis.declare(&spec()).await.unwrap();
    let tasks = (0..ALL).map(|number| task(&number.to_string())).collect();
    assert!(redis.enqueue(tasks, false).await.iter().all(Result::is_ok));
    let left = Arc::new(AtomicUsize::new(ALL));
    let mut instances = JoinSet::new();
    for instance in ["instance-1", "instance-2", "instance-3"] {
        instances.spawn(work(Arc::clone(&redis), instance.into(), Arc::clone(&left)));
    }
    let until = Instant::now() + 2 * DEADLINE;
    while left.load(Ordering::Relaxed) > 0 {
        assert!(Instant::now() < until, "{:?}", redis.counts(&spec()).await);
        server.run("CLIENT KILL TYPE normal SKIPME yes");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let counted: Vec<String> = instances.join_all().await.concat();
    let different: BTreeSet<&String> = counted.iter().collect();
    assert_eq!(different.len(), counted.len(), "none counted twice");
    let counts = loop {
        if let Ok(counts) = redis.counts(&spec()).await {
            break counts;
        }
    };
    assert_eq!(counts.ended.completed as usize, ALL);
    let rest = counts.parts.values().map(|part| part.waiting + part.delayed + part.running).sum::<u64>();
    assert_eq!(rest, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_programs_that_race_for_a_key_one_adds_a_task() {
    let server = Server::start();
    let (first, second) = (connected(&server).await, connected(&server).await);
    let mut reader = reader(&first).await;
    for round in 0..500 {
        let unique = |id: &str| NewTask {
            unique: Some(Unique { key: "k".into(), window: Duration::ZERO }),
            ..task(&format!("{id}{round}"))
        };
        let (one, other) = tokio::join!(enqueue(&first, unique("a")), enqueue(&second, unique("b")));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.id, other.id);
        assert!(one.was_there.is_some() != other.was_there.is_some());
        let entries = taken(&mut reader, 2).await.entries;
        assert_eq!(ids(&entries), [one.id.as_str()]);
        assert_eq!(first.settle(&name(), vec![done(&entries[0])]).await.unwrap(), [Settled::Counted]);
    }
}
