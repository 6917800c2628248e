//! How a reader waits, and what ends that.

use std::time::{Duration, Instant};

use super::*;
use crate::transport::durable::{
    contract::Keeper,
    task::{Settled, Unique},
};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_wakes_at_any_moment_end_ten_thousand_waits() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    taken(&mut reader, 1).await;
    let waker = reader.waker();
    let (send, receive) = std::sync::mpsc::sync_channel::<u32>(1);
    let wakes = std::thread::spawn(move || {
        for spins in receive {
            (0..spins).for_each(|_| std::hint::spin_loop());
            waker.wake();
        }
    });
    for round in 0..10_000_u32 {
        send.send((round % 97) * 300).unwrap();
        let start = Instant::now();
        assert!(reader.wait(LONG).await.unwrap().entries.is_empty());
        assert!(start.elapsed() < LONG / 2, "round {round} waited for {:?}", start.elapsed());
    }
    drop(send);
    wakes.join().unwrap();
    assert_eq!(reader.connections(), 1);
}

#[tokio::test]
async fn a_wake_before_the_wait_is_kept_and_counts_once() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    reader.waker().wake();
    reader.waker().wake();
    let start = Instant::now();
    assert!(reader.wait(LONG).await.unwrap().entries.is_empty());
    assert!(start.elapsed() < LONG / 2);
    let start = Instant::now();
    assert!(reader.wait(Duration::from_millis(100)).await.unwrap().entries.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_becomes_the_next_one_wakes_one_reader_and_others_wake_none() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut first = reader(&redis).await;
    let mut second = redis.reader(spec(), "instance-2".into());
    let later = |id: &str, seconds: u64| NewTask { due: Due::In(Duration::from_secs(seconds)), ..task(id) };
    enqueue(&redis, later("a", 100)).await.unwrap();
    // What it left for whoever waits next.
    assert!(first.wait(LONG).await.unwrap().entries.is_empty());
    assert_eq!(taken(&mut first, 1).await.next_due.unwrap().as_secs(), 99);
    let start = Instant::now();
    enqueue(&redis, later("b", 200)).await.unwrap();
    assert!(first.wait(Duration::from_millis(200)).await.unwrap().entries.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(199), "a later one changes nothing");
    let enqueued = async {
        while server.text("CLIENT LIST").matches("flags=b").count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        enqueue(&redis, later("c", 50)).await.unwrap();
    };
    let wait = async |reader: &mut RedisReader| {
        let start = Instant::now();
        assert!(reader.wait(Duration::from_secs(3)).await.unwrap().entries.is_empty());
        start.elapsed() < Duration::from_secs(2)
    };
    let (first_woken, second_woken, ()) = tokio::join!(wait(&mut first), wait(&mut second), enqueued);
    assert!(first_woken != second_woken, "{first_woken} {second_woken}");
    let woken = if first_woken { &mut first } else { &mut second };
    assert!(taken(woken, 1).await.next_due.unwrap() < Duration::from_secs(50));
    assert_eq!(server.run(&format!("XLEN {BASE}wake")), redis::Value::Int(0));
}

#[tokio::test]
async fn where_readers_may_not_be_woken_they_look_every_second() {
    let server = Server::start();
    server.run("ACL SETUSER shop on nopass ~* &* +@all -client|unblock");
    let url = format!("redis://shop:x@127.0.0.1:{}", server.port);
    let redis = Redis::connect(&url, &config()).await.unwrap();
    let mut reader = reader(&redis).await;
    let start = Instant::now();
    assert!(reader.wait(LONG).await.unwrap().entries.is_empty());
    assert!(start.elapsed() < LONG / 2);
}

#[tokio::test]
async fn waiting_takes_one_command_and_a_look_and_a_task_one_round_trip() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    taken(&mut reader, 1).await;
    server.run("CONFIG RESETSTAT");
    reader.wait(Duration::from_millis(50)).await.unwrap();
    reader.wait(Duration::from_millis(50)).await.unwrap();
    let calls = |command: &str| {
        let stats = server.text("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")))?.to_owned();
        line.split(['=', ',']).nth(1)?.parse::<u64>().ok()
    };
    assert_eq!(calls("xreadgroup"), Some(2));
    let stats = server.text("INFO commandstats");
    let others = stats.lines().filter(|line| line.starts_with("cmdstat_"));
    let others: Vec<_> =
        others.filter(|line| ["xreadgroup", "mget", "config", "info"].iter().all(|own| !line.contains(own))).collect();
    assert!(others.is_empty(), "{others:?}");

    let tasks = (0..200).map(|number| task(&number.to_string())).collect();
    assert!(redis.enqueue(tasks, false).await.iter().all(Result::is_ok));
    server.run("CONFIG RESETSTAT");
    let (mut settlements, mut ended) = (Vec::new(), 0);
    while ended < 200 {
        let next = reader.take(Take { settlements: std::mem::take(&mut settlements), ..take(1) }).await.unwrap();
        assert!(next.settled.iter().all(|settled| *settled == Settled::Counted));
        ended += next.settled.len();
        settlements = next.entries.iter().map(done).collect();
    }
    assert_eq!((calls("evalsha"), calls("eval")), (Some(201), None));
}

#[tokio::test]
async fn the_better_part_comes_first_whatever_way_its_tasks_came() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let low = |id: &str| NewTask { channel: "tasks:low".into(), ..task(id) };
    for id in ["h1", "h2"] {
        enqueue(&redis, task(id)).await.unwrap();
    }
    let entries = taken(&mut reader, 2).await.entries;
    let tasks = vec![low("l1"), low("l2"), low("l3"), task("h3"), task("h4")];
    assert!(redis.enqueue(tasks, false).await.iter().all(Result::is_ok));
    let soon = Some(Duration::from_millis(1));
    let back = vec![again(&entries[1], Why::Failed, soon), again(&entries[0], Why::HandedBack, None)];
    redis.settle(&name(), back).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    let strict = Take { want: 3, order: vec![(0, usize::MAX), (1, usize::MAX)], ..Take::default() };
    let next = reader.take(strict).await.unwrap();
    assert_eq!(ids(&next.entries), ["h1", "h2", "h3"]);
    // One of each, then whatever there is; and one more of the first part alone.
    let turns = Take { want: 3, order: vec![(1, 1), (0, 1)], further: (1, 1), ..Take::default() };
    let next = reader.take(turns).await.unwrap();
    assert_eq!(ids(&next.entries), ["l1", "h4", "l2", "l3"]);
}

#[tokio::test]
async fn a_queue_that_may_lose_tasks_is_done_with_them_when_they_are_taken() {
    let server = Server::start();
    let redis = connected(&server).await;
    let spec = QueueSpec { at_most_once: true, ..spec() };
    redis.declare(&spec).await.unwrap();
    let (mut reader, mut keeper) = (redis.reader(spec.clone(), "instance-1".into()), redis.keeper());
    let unique =
        |id: &str| NewTask { unique: Some(Unique { key: "k".into(), window: Duration::from_millis(1) }), ..task(id) };
    for id in ["a", "b"] {
        enqueue(&redis, unique(id)).await.unwrap();
        let entries = match id {
            "a" => taken(&mut reader, 1).await.entries,
            _ => reader.wait(LONG).await.unwrap().entries,
        };
        assert_eq!(ids(&entries), [id]);
        assert!(keeper.pending(&spec, "instance-1").await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let counts = redis.counts(&spec).await.unwrap();
    assert_eq!((counts.ended.completed, counts.parts["tasks:high"].waiting), (2, 0));
    assert_eq!(server.run(&format!("XLEN {BASE}new:tasks:high")), redis::Value::Int(0));
}
