//! Strict priorities hold on every way by which a task comes, and comes back.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Delivery, Message, Outcome, ShutdownError, router};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::SOON;

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    High,
    Low,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum What {
    Work,
    /// Fail, and be tried again.
    Fail,
    /// Ask for a later time.
    Snooze,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("priorities:<rank>:jobs", strict = rank, lease = "1s")]
struct Job {
    rank: Rank,
    n: u64,
    what: What,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum JobError {
    #[outcome(retry)]
    #[error("not yet")]
    NotYet,
    #[outcome(retry_after = after)]
    #[error("later")]
    Later { after: Duration },
}

/// What happens, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LowBegins,
    /// A high one begins for the so-manieth time.
    HighBegins(u64, u32),
    /// It is due for the so-manieth time, at the latest.
    HighIsDue(u64, u32),
}

#[derive(Clone)]
struct Worker {
    steps: Recorder<Step>,
    hangs: bool,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "30s", retries = 3, backoff = "1ms..2ms", concurrency = 2)]
    async fn job(&self, job: Job, delivery: &Delivery) -> Result<(), JobError> {
        if self.hangs {
            return std::future::pending().await;
        }
        let time = delivery.failures() + delivery.snoozes() + delivery.hand_backs();
        if job.rank == Rank::Low {
            self.steps.record(Step::LowBegins);
            // For longer than it takes until a high one is tried again.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Ok(());
        }
        self.steps.record(Step::HighBegins(job.n, time));
        if time >= 2 || matches!(job.what, What::Work) {
            return Ok(());
        }
        self.steps.record(Step::HighIsDue(job.n, time + 1));
        let later = JobError::Later { after: Duration::from_millis(2) };
        Err(if matches!(job.what, What::Fail) { JobError::NotYet } else { later })
    }
}

/// The most low ones that began while one high one was due.
fn most_before_a_high_one(steps: &[Step]) -> usize {
    let (mut begun, mut due, mut most) = (HashMap::<u64, u32>::new(), HashMap::<(u64, u32), usize>::new(), 0);
    for step in steps {
        match *step {
            Step::HighBegins(n, time) => {
                begun.insert(n, time);
                due.remove(&(n, time));
            }
            // It may have begun before it could be said that it is due.
            Step::HighIsDue(n, time) if begun.get(&n).is_some_and(|begun| *begun >= time) => {}
            Step::HighIsDue(n, time) => drop(due.insert((n, time), 0)),
            Step::LowBegins => {
                due.values_mut().for_each(|lows| *lows += 1);
                most = most.max(due.values().copied().max().unwrap_or_default());
            }
        }
    }
    assert!(due.is_empty(), "never begun: {due:?}");
    most
}

on_each! {
    async fn no_low_task_begins_while_a_high_one_is_due_but_for_what_is_in_hand(world: World) {
        const LOW: u64 = 600;
        const HIGH: u64 = 90;
        const HANDED_BACK: u64 = 2;
        let (bus, other) = (world.bus().await, world.bus().await);
        let steps = Recorder::new();
        let high = |n, what| Job { rank: Rank::High, n, what };
        // One instance has two high ones in hand, and has no place for more.
        let mut holds = Some(other.serve(Worker { steps: steps.clone(), hangs: true }).await.unwrap());
        for n in 0..HANDED_BACK {
            high(HIGH + n, What::Work).enqueue(&bus).await.unwrap();
        }
        let queue = bus.queue::<Job>();
        eventually(SOON, async || queue.running(10).await.unwrap().len() == 2).await;
        let lows: Vec<Job> = (0..LOW).map(|n| Job { rank: Rank::Low, n, what: What::Work }).collect();
        assert!(bus.enqueue_all(&lows).await.iter().all(Result::is_ok));
        let service = bus.serve(Worker { steps: steps.clone(), hangs: false }).await.unwrap();
        steps.wait_for(1).await;
        let mut delays = JoinSet::new();
        for n in 0..HIGH {
            let what = [What::Work, What::Fail, What::Snooze][n as usize % 3];
            if n % 2 == 0 {
                let delay = Duration::from_millis(5 + n % 20);
                high(n, what).enqueue(&bus).delay(delay).await.unwrap();
                let steps = steps.clone();
                delays.spawn(async move {
                    tokio::time::sleep(delay).await;
                    steps.record(Step::HighIsDue(n, 0));
                });
            } else {
                high(n, what).enqueue(&bus).await.unwrap();
                steps.record(Step::HighIsDue(n, 0));
            }
            if n == HIGH / 2 {
                let missed = holds.take().unwrap().shutdown_within(Duration::ZERO).await;
                assert!(matches!(missed, Err(ShutdownError::DeadlineMissed { handed_back: 2, .. })), "{missed:?}");
                // What it has given back is due.
                (0..HANDED_BACK).for_each(|given| steps.record(Step::HighIsDue(HIGH + given, 1)));
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        while delays.join_next().await.is_some() {}
        eventually(SOON, async || queue.counts().await.unwrap().ended.completed == LOW + HIGH + HANDED_BACK).await;
        let steps = steps.all();
        let place = |wanted: &dyn Fn(&Step) -> bool| steps.iter().rposition(wanted).unwrap();
        let last_high = place(&|step| matches!(step, Step::HighBegins(..)));
        assert!(last_high < place(&|step| *step == Step::LowBegins), "there were low ones all the time");
        // In each of the two places one that was just taken, and one more in the 2 ms until a high one is tried again.
        let most = most_before_a_high_one(&steps);
        assert!(most <= 4, "{most} low ones began while a high one was due: {steps:?}");
        service.shutdown().await.unwrap();
    }
}
