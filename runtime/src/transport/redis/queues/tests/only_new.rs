//! A queue with one part: where nothing but new tasks is there, they are taken by a command and not by a script.

use std::{collections::HashMap, time::Duration};

use super::*;
use crate::transport::durable::{
    contract::Keeper,
    course::{Beside, Known, ResultBounds},
    task::Settled,
};

const CHANNEL: &str = "tasks:high";

pub(super) fn one_part() -> QueueSpec {
    QueueSpec { parts: vec![CHANNEL.into()], ..spec() }
}

pub(super) async fn reader(redis: &Redis) -> RedisReader {
    redis.declare(&one_part()).await.unwrap();
    redis.keeper().keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    let mut reader = redis.reader(one_part(), "instance-1".into());
    assert!(taken(&mut reader, 1, Vec::new()).await.entries.is_empty());
    reader
}

pub(super) async fn taken(reader: &mut RedisReader, want: usize, settlements: Vec<Settlement>) -> Taken {
    reader.take(Take { want, order: vec![(0, want)], settlements, ..Take::default() }).await.unwrap()
}

pub(super) async fn add(redis: &Redis, ids: &[&str]) {
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
    calls(&server);
    let mut settlements = Vec::new();
    for _ in 0..4 {
        let next = taken(&mut reader, 1, std::mem::take(&mut settlements)).await;
        settlements = next.entries.iter().map(done).collect();
    }
    let calls = calls(&server);
    assert_eq!((calls["xreadgroup"], calls["evalsha"]), (4, 4), "{calls:?}");
}

/// How often each script and command was called since the last look.
pub(super) fn calls(server: &Server) -> HashMap<String, u64> {
    let stats = server.text("INFO commandstats");
    let call = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let calls = stats.lines().filter_map(call).collect();
    server.run("CONFIG RESETSTAT");
    calls
}

fn kept(entry: &Entry, result: Vec<u8>) -> Settlement {
    Settlement { beside: Some(Arc::new(Beside { result: Some(result), ..Beside::default() })), ..done(entry) }
}

#[tokio::test]
async fn results_are_kept_within_their_bounds_and_only_of_what_counted() {
    let server = Server::start();
    let redis = connected(&server).await;
    let spec =
        QueueSpec { results: Some(ResultBounds::for_nanos(3_600_000_000_000).count(50).bytes(2_500)), ..one_part() };
    redis.declare(&spec).await.unwrap();
    let mut reader = redis.reader(spec.clone(), "instance-1".into());
    let number = |command: &str| redis::from_redis_value::<Option<u64>>(server.run(command)).unwrap().unwrap_or(0);
    let (mut settlements, mut next, mut ended) = (Vec::new(), 0, 0);
    while ended < 400 {
        let names: Vec<String> = (next..next + 5).map(|id| format!("{id:03}")).collect();
        add(&redis, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        next += 5;
        let took = taken(&mut reader, 1 + next % 7, std::mem::take(&mut settlements)).await;
        ended += took.settled.iter().filter(|settled| **settled == Settled::Counted).count();
        settlements = took.entries.iter().map(|entry| kept(entry, vec![b'r'; next % 60])).collect();
        if next % 3 == 0 && !settlements.is_empty() {
            // Somebody else has settled the first of them: what it left stays as it is.
            let first = kept(&took.entries[0], b"first".to_vec());
            assert_eq!(redis.settle(&name(), vec![first]).await.unwrap(), [Settled::Counted]);
        }
        redis.ask(&name(), "none", None, later()).await.unwrap();
        let results = number(&format!("HLEN {BASE}results"));
        assert!(results <= 50 && number(&format!("HGET {BASE}counts results_held")) <= 2_500 || ended == 0);
        assert!(ended == 0 || results == number(&format!("HGET {BASE}counts results_listed")), "{results}");
        for entry in took.entries.iter().filter(|_| next % 3 == 0).take(1) {
            let Known::Ended(ended) = redis.ask(&name(), &entry.id, None, later()).await.unwrap() else {
                panic!("not kept")
            };
            assert_eq!(ended.result.as_ref(), b"first");
        }
    }
    // At their bounds the short step is not asked in vain each time.
    calls(&server);
    taken(&mut reader, 1, settlements).await;
    for _ in 0..4 {
        add(&redis, &["last"]).await;
        let took = taken(&mut reader, 1, Vec::new()).await;
        taken(&mut reader, 1, took.entries.iter().map(|entry| kept(entry, vec![b'r'; 40])).collect()).await;
    }
    let calls = calls(&server);
    assert!(calls["evalsha"] <= 9 + 4 + 1, "{calls:?}");
    redis.ask(&name(), "none", None, later()).await.unwrap();
    let values: Vec<Vec<u8>> = redis::from_redis_value(server.run(&format!("HVALS {BASE}results"))).unwrap();
    let bytes: usize = values.iter().map(Vec::len).sum();
    assert_eq!(bytes as u64, number(&format!("HGET {BASE}counts results_held")));
}

#[tokio::test]
async fn what_somebody_has_asked_for_is_done_by_the_longer_step() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c", "d", "e"]).await;
    let a = taken(&mut reader, 1, Vec::new()).await.entries;
    redis.watch(&name()).await.unwrap();
    calls(&server);
    // The short one does nothing then, and is asked no more while it would not.
    let b = taken(&mut reader, 1, vec![done(&a[0])]).await;
    assert_eq!((ids(&b.entries), b.settled), (vec!["b"], vec![Settled::Counted]));
    let first = calls(&server);
    assert_eq!((first["evalsha"], first["publish"]), (3, 2), "asked in vain, settled, told");
    let c = taken(&mut reader, 1, vec![done(&b.entries[0])]).await;
    let second = calls(&server);
    assert_eq!((second["evalsha"], second["publish"]), (2, 2));
    server.run(&format!("DEL {BASE}watched"));
    let d = taken(&mut reader, 1, vec![done(&c.entries[0])]).await;
    let e = taken(&mut reader, 1, vec![done(&d.entries[0])]).await;
    assert_eq!(ids(&e.entries), ["e"]);
    assert!(!calls(&server).contains_key("publish"));
}
