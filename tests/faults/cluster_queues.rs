//! T15 and T16 for queues on a cluster: their slot moves, and the master that has it dies, while tasks are enqueued and worked off.

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
    outages::bus,
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
    #[handler(idempotent, timeout = "30s", concurrency = 8, retries = 20, backoff = "10ms..100ms")]
    async fn dig(&self, task: Dig) -> Enqueue<Fill> {
        self.dug.record(task.n);
        Enqueue::new(Fill { n: task.n })
    }

    #[handler(idempotent, timeout = "30s", concurrency = 8)]
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
