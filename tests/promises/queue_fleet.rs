//! Several instances on one queue: old and new ones, and ones that are suddenly gone.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, Outcome, Service, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, Gauge, SOON};

mod before {
    use super::*;

    /// As it was.
    #[derive(Debug, Message, Serialize, Deserialize)]
    #[queue("fleet:jobs", lease = "1s")]
    pub(super) struct Job {
        pub(super) n: u64,
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("fleet:jobs", lease = "1s")]
#[message(version = 2, from = before::Job)]
struct Job {
    n: u64,
    why: String,
}

impl From<before::Job> for Job {
    fn from(before::Job { n }: before::Job) -> Self {
        Self { n, why: "it is old".to_owned() }
    }
}

/// Number, attempt, failures and crashes of what was done.
type Ran = (u64, u32, u32, u32);

fn ran(n: u64, delivery: &Delivery) -> Ran {
    (n, delivery.attempt(), delivery.failures(), delivery.crashes())
}

#[derive(Clone)]
struct Old {
    done: Recorder<Ran>,
}

#[router]
impl Old {
    #[handler(idempotent, timeout = "10s", concurrency = 4)]
    async fn job(&self, job: before::Job, delivery: &Delivery) {
        self.done.record(ran(job.n, delivery));
    }
}

#[derive(Clone)]
struct New {
    done: Recorder<Ran>,
}

#[router]
impl New {
    #[handler(idempotent, timeout = "10s", concurrency = 4)]
    async fn job(&self, job: Job, delivery: &Delivery) {
        assert!(job.why == if job.n.is_multiple_of(2) { "it is old" } else { "it is new" });
        self.done.record(ran(job.n, delivery));
    }
}

/// Even ones are of the old version, and odd ones of the new.
async fn enqueue_both(bus: &Bus, numbers: std::ops::Range<u64>) {
    let mut batch = bus.enqueue_all::<Job>([]);
    for n in numbers {
        batch = if n.is_multiple_of(2) {
            batch.push(&before::Job { n })
        } else {
            batch.push(&Job { n, why: "it is new".to_owned() })
        };
    }
    assert!(batch.await.iter().all(Result::is_ok));
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("fleet:parcels", lease = "1s")]
struct Parcel {
    n: u64,
}

#[derive(Clone)]
struct Post {
    /// Once so many are done, it is done with none any more.
    most: usize,
    gauge: Gauge,
    done: Recorder<u64>,
}

#[router]
impl Post {
    #[handler(idempotent, timeout = "10s", concurrency = 4)]
    async fn parcel(&self, parcel: Parcel) {
        let _inside = self.gauge.enter();
        tokio::time::sleep(Duration::from_millis(5)).await;
        if self.done.len() >= self.most {
            std::future::pending::<()>().await;
        }
        self.done.record(parcel.n);
    }
}

mod long_ago {
    use super::*;

    /// As it was: an instance holds its tasks for the default of 30 s.
    #[derive(Debug, Message, Serialize, Deserialize)]
    #[queue("fleet:letters")]
    pub(super) struct Letter {
        pub(super) n: u64,
    }
}

/// The next version has a shorter lease.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("fleet:letters", lease = "1s")]
struct Letter {
    n: u64,
}

struct Slow {
    gate: Gate,
    done: Recorder<Ran>,
}

#[router]
impl Slow {
    #[handler(idempotent, timeout = "1m", concurrency = 1)]
    async fn letter(&self, letter: long_ago::Letter, delivery: &Delivery) {
        self.gate.pass().await;
        self.done.record(ran(letter.n, delivery));
    }
}

struct Quick {
    gate: Gate,
    done: Recorder<Ran>,
}

#[router]
impl Quick {
    #[handler(idempotent, timeout = "1m")]
    async fn letter(&self, letter: Letter, delivery: &Delivery) {
        self.gate.pass().await;
        self.done.record(ran(letter.n, delivery));
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("fleet:refused")]
struct Refused {
    n: u64,
    data: String,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum RefuseError {
    #[outcome(dead_letter)]
    #[error("no")]
    No,
}

struct Refuser;

#[router]
impl Refuser {
    #[handler(idempotent, timeout = "10s")]
    async fn refuse(&self, _refused: Refused) -> Result<(), RefuseError> {
        Err(RefuseError::No)
    }
}

on_each! {
    async fn old_and_new_instances_share_a_queue_and_no_task_suffers(world: World) {
        const TASKS: u64 = 200;
        let (old, new) = (world.bus().await, world.bus().await);
        let (by_old, by_new) = (Recorder::new(), Recorder::new());
        let queue = new.queue::<Job>();
        let leaving = old.serve(Old { done: by_old.clone() }).await.unwrap();
        enqueue_both(&new, 0..TASKS / 2).await;
        // The old one has had each of the new ones, and has not kept it.
        eventually(SOON, async || queue.counts().await.unwrap().ended.unknown >= TASKS / 4).await;
        by_old.wait_for(TASKS as usize / 4).await;
        let staying = new.serve(New { done: by_new.clone() }).await.unwrap();
        enqueue_both(&new, TASKS / 2..TASKS).await;
        // What comes back may go to the old one again, as long as it is there.
        eventually(SOON, async || by_new.all().iter().any(|(n, ..)| n % 2 == 1)).await;
        leaving.shutdown().await.unwrap();
        eventually(SOON, async || queue.counts().await.unwrap().ended.completed == TASKS).await;
        assert!(by_old.all().iter().all(|(n, ..)| n % 2 == 0));
        let mut all = [by_old.all(), by_new.all()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..TASKS).map(|n| (n, 1, 0, 0)).collect::<Vec<Ran>>(), "each once, and at its first attempt");
        let counts = queue.counts().await.unwrap();
        let attempts = (counts.ended.failed_attempts, counts.ended.crashed_attempts);
        assert_eq!((counts.dead, counts.ended.dead, counts.parked, attempts), (0, 0, 0, (0, 0)), "{counts:?}");
        staying.shutdown().await.unwrap();
    }

    async fn where_one_of_three_instances_is_gone_every_task_runs_and_none_has_more_than_its_places(world: World) {
        const TASKS: u64 = 600;
        let mut fleet: Vec<(Service, Post)> = Vec::new();
        for most in [8, usize::MAX, usize::MAX] {
            let post = Post { most, gauge: Gauge::default(), done: Recorder::new() };
            fleet.push((world.bus().await.serve(post.clone()).await.unwrap(), post));
        }
        let bus = world.bus().await;
        let parcels: Vec<Parcel> = (0..TASKS).map(|n| Parcel { n }).collect();
        assert!(bus.enqueue_all(&parcels).await.iter().all(Result::is_ok));
        let (service, gone) = fleet.remove(0);
        eventually(SOON, async || gone.gauge.inside() == 4 && gone.done.len() >= gone.most).await;
        drop(service);
        let queue = bus.queue::<Parcel>();
        // What it had is somebody else's once its lease is over.
        eventually(SOON, async || queue.counts().await.unwrap().ended.completed == TASKS).await;
        let mut all: Vec<u64> = gone.done.all();
        assert_eq!(gone.gauge.most(), 4);
        for (service, post) in fleet {
            assert_eq!(post.gauge.most(), 4);
            all.extend(post.done.all());
            service.shutdown().await.unwrap();
        }
        // What it was done with, and could not say so, ran again.
        assert!(all.len() <= TASKS as usize + 4, "{} runs", all.len());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..TASKS).collect::<Vec<_>>());
        let counts = queue.counts().await.unwrap();
        assert!((4..=8).contains(&counts.ended.crashed_attempts) && counts.dead == 0, "{counts:?}");
    }

    async fn an_instance_with_a_longer_lease_than_others_keeps_its_task_for_as_long_as_it_holds_it(world: World) {
        let bus = world.bus().await;
        let (gates, done) = ([(); 3].map(|()| Gate::closed()), Recorder::new());
        let slow = Slow { gate: gates[0].clone(), done: done.clone() };
        let before = world.bus().await.serve(slow).await.unwrap();
        let queue = bus.queue::<Letter>();
        let running = async |count| eventually(SOON, async || queue.running(9).await.unwrap().len() == count).await;
        Letter { n: 1 }.enqueue(&bus).await.unwrap();
        running(1).await;
        let quick = |gate: &Gate| Quick { gate: gate.clone(), done: done.clone() };
        let dies = world.bus().await.serve(quick(&gates[1])).await.unwrap();
        Letter { n: 2 }.enqueue(&bus).await.unwrap();
        running(2).await;
        drop(dies);
        gates[2].open();
        let after = world.bus().await.serve(quick(&gates[2])).await.unwrap();
        // Whoever takes it from one that is gone has looked at both.
        assert_eq!(done.wait_for(1).await, [(2, 2, 0, 1)]);
        gates[0].open();
        assert_eq!(done.wait_for(2).await[1], (1, 1, 0, 0));
        before.shutdown().await.unwrap();
        after.shutdown().await.unwrap();
        let ended = queue.counts().await.unwrap().ended;
        assert_eq!((ended.completed, ended.crashed_attempts), (2, 1), "{ended:?}");
    }

    async fn dead_letters_stay_within_their_bytes_and_the_newest_are_kept(world: World) {
        const LARGE: usize = 250_000;
        const BOUND: usize = 64 * 1024 * 1024;
        let bus = world.bus().await;
        let service = bus.serve(Refuser).await.unwrap();
        let queue = bus.queue::<Refused>();
        let data: Arc<str> = "x".repeat(LARGE).into();
        let mut enqueued = 0_u64;
        // Small ones among large ones, of which there are more than have room.
        while enqueued < 320 {
            let length = if enqueued.is_multiple_of(10) { 1 } else { LARGE };
            Refused { n: enqueued, data: data[..length].to_owned() }.enqueue(&bus).await.unwrap();
            enqueued += 1;
        }
        eventually(SOON, async || queue.counts().await.unwrap().ended.dead == enqueued).await;
        let letters = queue.dead_letters().limit(1_000).await.unwrap();
        let counts = queue.counts().await.unwrap();
        assert_eq!((counts.dead, counts.ended.dead_trimmed), (letters.len() as u64, enqueued - letters.len() as u64));
        let bytes: usize = letters.iter().map(|letter| letter.payload.len()).sum();
        assert!(bytes <= BOUND && bytes > BOUND - 2 * LARGE, "{bytes} bytes in {} letters", letters.len());
        // A few are worked on at once, so their order is nearly that in which they were enqueued.
        let oldest = letters.iter().map(|letter| letter.task().unwrap().n).min().unwrap();
        assert!(oldest + 64 >= counts.ended.dead_trimmed, "{oldest} is still there");
        service.shutdown().await.unwrap();
    }
}
