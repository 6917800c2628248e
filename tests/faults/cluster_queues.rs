//! T15 and T16 for queues on a cluster: their slot moves, at once or for long, and the master that has it dies, while tasks are enqueued and worked off.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Enqueue, EnqueueError, Message, router};
use tidings_tests::{Cluster, Recorder, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::SOON,
    outages::{SLACK, bus, bus_with},
    report::Report,
    seed::{Random, sized},
};

/// What is to be done; the second task follows from the first, in a queue with another slot.
#[derive(Message, Serialize, Deserialize)]
#[queue("digs", lease = "2s")]
struct Dig {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("fills", lease = "2s")]
struct Fill {
    n: u64,
}

#[derive(Clone)]
struct Digger {
    dug: Recorder<u64>,
    filled: Recorder<u64>,
}

#[router]
impl Digger {
    #[handler(idempotent, timeout = "30s", concurrency = 32, retries = 20, backoff = "10ms..100ms")]
    async fn dig(&self, task: Dig) -> Enqueue<Fill> {
        self.dug.record(task.n);
        Enqueue::new(Fill { n: task.n })
    }

    #[handler(idempotent, timeout = "30s", concurrency = 32)]
    async fn fill(&self, task: Fill) {
        self.filled.record(task.n);
    }
}

impl Digger {
    fn new() -> Self {
        Self { dug: Recorder::new(), filled: Recorder::new() }
    }
}

/// Enqueues until it is told to stop; what was accepted.
async fn enqueue(bus: Bus, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut accepted = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match (Dig { n }).enqueue(&bus).await {
            Ok(_) => accepted.push(n),
            Err(EnqueueError::Undecided { .. } | EnqueueError::NotConnected { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    accepted
}

async fn are_done(bus: &Bus) {
    eventually(SOON, async || {
        let (digs, fills) = (bus.queue::<Dig>().counts().await, bus.queue::<Fill>().counts().await);
        matches!((digs, fills), (Ok(digs), Ok(fills)) if digs.outstanding() + fills.outstanding() == 0)
    })
    .await;
}

/// How many of these were never done, and how many more than once.
fn compared(accepted: &[u64], done: &[u64]) -> (usize, usize) {
    let mut counts = HashMap::new();
    done.iter().for_each(|n| *counts.entry(*n).or_insert(0_usize) += 1);
    let lost = accepted.iter().filter(|n| !counts.contains_key(n)).count();
    (lost, counts.values().filter(|&&count| count > 1).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_follows_its_slot_and_loses_nothing() {
    let cluster = Cluster::start().await;
    let (from, to) = (bus(cluster.url()).await, bus(cluster.url()).await);
    let digger = Digger::new();
    let service = to.serve(digger.clone()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut enqueueing = JoinSet::new();
    enqueueing.spawn(enqueue(from.clone(), Arc::clone(&stop)));
    let (moves, mut random) = (sized(4, 50), Random::of("T16-queue"));
    let slot = cluster.slot("{digs}").await;
    for turn in 0..moves {
        random.pause(50..300).await;
        let to = &cluster.nodes()[(turn + 1) % 3];
        let before = digger.dug.all().len();
        cluster.migrate(slot, to).await;
        let moved = Instant::now();
        eventually(SOON, async || digger.dug.all().len() > before + 8).await;
        println!("goes on after {:?}", moved.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let accepted = enqueueing.join_next().await.unwrap().unwrap();
    are_done(&to).await;
    service.shutdown().await.unwrap();
    let (lost, twice) = compared(&accepted, &digger.dug.all());
    let (unfilled, filled_twice) = compared(&accepted, &digger.filled.all());
    println!(
        "T16-queue: {} tasks, {moves} moves of their slot: {twice} done twice, {filled_twice} follow-ups",
        accepted.len()
    );
    assert_eq!((lost, unfilled), (0, 0), "of {}", accepted.len());
    let report = Report::new("T16-queue", "moves", moves);
    report.messages(accepted.len() as u64, accepted.len() as u64).close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_outlives_the_master_that_has_its_slot() {
    let cluster = Cluster::start().await;
    let (from, to) = (bus(cluster.url()).await, bus(cluster.url()).await);
    for n in 0..100 {
        Dig { n }.enqueue(&from).await.unwrap();
    }
    let slot = cluster.slot("{digs}").await;
    let master = cluster.owner(slot).await;
    eventually(SOON, async || {
        let info: String = master.command(&["INFO", "replication"]).await;
        let own = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).unwrap_or_default().to_owned();
        info.lines().any(|line| line.starts_with("slave0:") && line.contains(&format!("offset={own},")))
    })
    .await;
    let port = master.port();
    master.kill();
    cluster.another_than(port, slot).await;
    let digger = Digger::new();
    let service = to.serve(digger.clone()).await.unwrap();
    are_done(&to).await;
    service.shutdown().await.unwrap();
    let accepted: Vec<u64> = (0..100).collect();
    assert_eq!(compared(&accepted, &digger.dug.all()).0, 0, "what was replicated is there");
    assert_eq!(compared(&accepted, &digger.filled.all()).0, 0, "and what follows from it");
    // On a cluster several queues have several slots, mostly.
    let batch = from.enqueue_all(&[Dig { n: 1 }]).push(&Fill { n: 1 }).atomic().await;
    assert!(matches!(batch, Err(EnqueueError::SeveralSlots { .. })), "{batch:?}");
}

#[derive(Message, Serialize, Deserialize)]
#[queue("heaps")]
struct Heap {
    n: u64,
}

#[derive(Clone)]
struct Shovel {
    done: Recorder<u64>,
}

#[router]
impl Shovel {
    #[handler(idempotent, timeout = "30s", concurrency = 16)]
    async fn heap(&self, task: Heap) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.done.record(task.n);
    }
}

/// One stream with all that waits goes at once, and then nothing for longer than a command may take: what needs no more than the stream follows it, scripts
/// wait, and nobody waits for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_whose_slot_is_under_way_for_long_takes_tasks_and_loses_none() {
    const TIMEOUT: Duration = Duration::from_millis(700);
    let cluster = Cluster::start().await;
    let from = bus_with(cluster.url(), |builder| builder.command_timeout(TIMEOUT)).await;
    let (to, length) = (bus(cluster.url()).await, sized(10_000, 100_000));
    let heaps: Vec<_> = (0..length).map(|n| Heap { n }).collect();
    for some in heaps.chunks(1_000) {
        assert!(from.enqueue_all(some).await.iter().all(Result::is_ok));
    }
    let shovel = Shovel { done: Recorder::new() };
    let services =
        [to.serve(shovel.clone()).await.unwrap(), bus(cluster.url()).await.serve(shovel.clone()).await.unwrap()];
    eventually(SOON, async || shovel.done.len() > 50).await;
    let slot = cluster.slot("{heaps}").await;
    let owner = cluster.owner(slot).await.port();
    let target = cluster.masters().iter().find(|node| node.port() != owner).unwrap();
    let (begun, migration) = (Instant::now(), cluster.migration(slot, target).await);
    migration.keys(&["tidings:queues:{heaps}:new:heaps".to_owned()]).await;
    println!("a stream of {} tasks took {:?}", length as usize - shovel.done.len(), begun.elapsed());
    let (begun, mut accepted, mut longest) = (Instant::now(), length, Duration::ZERO);
    // Long enough for pauses between attempts to have become as long as they get.
    let under_way = Duration::from_millis(sized(1_500, 10_000));
    while begun.elapsed() < under_way {
        let asked = Instant::now();
        Heap { n: accepted }.enqueue(&from).await.unwrap();
        longest = longest.max(asked.elapsed());
        accepted += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{} tasks followed the stream, the slowest in {longest:?}", accepted - length);
    // This one takes a script.
    let asked = Instant::now();
    let refused = Heap { n: u64::MAX }.enqueue(&from).deduplicate("once", SOON).await;
    let error = refused.expect_err("it has waited in vain");
    assert!(matches!(error, EnqueueError::NotConnected { .. }) && error.is_retryable(), "{error}");
    assert!(asked.elapsed() < TIMEOUT + SLACK, "{:?}", asked.elapsed());
    let done = shovel.done.len();
    migration.end().await;
    let ended = Instant::now();
    eventually(SOON, async || shovel.done.len() > done + 50).await;
    println!("goes on after {:?}", ended.elapsed());
    assert!(ended.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", ended.elapsed());
    eventually(2 * SOON, async || shovel.done.len() as u64 >= accepted).await;
    for service in services {
        service.shutdown().await.unwrap();
    }
    let mut all = shovel.done.all();
    all.sort_unstable();
    assert_eq!(all.len() as u64, accepted);
    assert_eq!(all, (0..accepted).collect::<Vec<_>>(), "each once, and no other");
    Report::new("T16-long", "moves", 1).messages(accepted, accepted).close();
}
