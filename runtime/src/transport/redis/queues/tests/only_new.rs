//! A queue with one part: where nothing but new tasks is there, they are taken by a command and not by a script.

use std::time::Duration;

use super::*;
use crate::transport::durable::{contract::Keeper, task::Settled};

const CHANNEL: &str = "tasks:high";

fn one_part() -> QueueSpec {
    QueueSpec { parts: vec![CHANNEL.into()], ..spec() }
}

async fn reader(redis: &Redis) -> RedisReader {
    redis.declare(&one_part()).await.unwrap();
    redis.keeper().keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    let mut reader = redis.reader(one_part(), "instance-1".into());
    assert!(taken(&mut reader, 1, Vec::new()).await.entries.is_empty());
    reader
}

async fn taken(reader: &mut RedisReader, want: usize, settlements: Vec<Settlement>) -> Taken {
    reader.take(Take { want, order: vec![(0, want)], settlements, ..Take::default() }).await.unwrap()
}

async fn add(redis: &Redis, ids: &[&str]) {
    let tasks = ids.iter().map(|id| task(id)).collect();
    assert!(redis.enqueue(tasks, false).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_is_settled_comes_back_or_is_due_is_found_by_the_next_take_but_one() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c", "d"]).await;
    let first = taken(&mut reader, 3, Vec::new()).await;
    assert_eq!(ids(&first.entries), ["a", "b", "c"]);
    let soon = again(&first.entries[1], Why::Failed, Some(Duration::from_secs(60)));
    let settlements = vec![done(&first.entries[0]), again(&first.entries[2], Why::HandedBack, None), soon];
    // What comes back with this was not there when it took.
    let second = taken(&mut reader, 3, settlements).await;
    assert_eq!((ids(&second.entries), second.settled), (vec!["d"], vec![Settled::Counted; 3]));
    assert!(second.next_due.is_some_and(|due| due > Duration::from_secs(50)));
    let third = taken(&mut reader, 3, vec![done(&first.entries[0]), done(&second.entries[0])]).await;
    assert_eq!((ids(&third.entries), third.settled), (vec!["c"], vec![Settled::Stale, Settled::Counted]));
    taken(&mut reader, 3, vec![again(&third.entries[0], Why::Failed, Some(Duration::from_millis(1)))]).await;
    let mut found = Vec::new();
    while found.is_empty() {
        found = taken(&mut reader, 3, Vec::new()).await.entries;
    }
    assert_eq!(ids(&found), ["c"]);
    let counts = redis.counts(&one_part()).await.unwrap();
    assert_eq!((counts.ended.completed, counts.running(), counts.delayed()), (2, 1, 1));
}

#[tokio::test]
async fn what_was_taken_in_spite_of_a_pause_says_so() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b"]).await;
    redis.pause(&name(), true).await.unwrap();
    let next = taken(&mut reader, 1, Vec::new()).await;
    assert!(next.is_paused);
    let back: Vec<_> = next.entries.iter().map(|entry| again(entry, Why::HandedBack, None)).collect();
    let next = taken(&mut reader, 2, back).await;
    assert!(next.is_paused && next.entries.is_empty());
    redis.pause(&name(), false).await.unwrap();
    assert_eq!(ids(&taken(&mut reader, 2, Vec::new()).await.entries), ["a", "b"]);
}

#[tokio::test]
async fn what_was_given_without_a_step_behind_it_is_found_after_the_next_connection() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a"]).await;
    let connections = reader.connections();
    server.run("ACL SETUSER default -evalsha");
    let failed = reader.take(Take { want: 1, order: vec![(0, 1)], ..Take::default() }).await;
    assert!(matches!(failed, Err(crate::error::QueueError::Refused { .. })), "{failed:?}");
    server.run("ACL SETUSER default +evalsha");
    assert!(taken(&mut reader, 1, Vec::new()).await.entries.is_empty());
    assert_eq!(reader.connections(), connections + 1);
    assert_eq!(ids(&redis.keeper().pending(&one_part(), "instance-1").await.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_take_is_one_round_trip_and_one_command_reads() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c"]).await;
    server.run("CONFIG RESETSTAT");
    let mut settlements = Vec::new();
    for _ in 0..4 {
        let next = taken(&mut reader, 1, std::mem::take(&mut settlements)).await;
        settlements = next.entries.iter().map(done).collect();
    }
    let stats = server.text("INFO commandstats");
    let calls = |command: &str| stats.contains(&format!("cmdstat_{command}:calls=4,"));
    assert!(calls("xreadgroup") && calls("evalsha"), "{stats}");
}
