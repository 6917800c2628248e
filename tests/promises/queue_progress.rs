//! How far a task has come is seen while it runs, and the next attempt goes on from there.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Context, Delivery, Extract, Message, Progress, ProgressError, QueueEvent, Service, TaskView, router,
};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, SOON, handler};

/// What a task has its handler do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Does {
    /// Reports, waits until that is noted, and then for the gate.
    Reports,
    /// Leaves a checkpoint, and fails without having waited for anything.
    Fails,
    /// Leaves a checkpoint that is noted, and then waits for the gate.
    Waits,
    /// Reports, and leaves checkpoints after it, each of which is noted.
    Saves,
    /// Reports a million times.
    Floods,
    /// Keeps its thread for longer than its lease, the first time.
    Blocks,
    /// Says what cannot be kept.
    IsHostile,
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("progress:jobs", lease = "1s", payload_limit = 4096)]
struct Job {
    does: Does,
}

#[derive(Clone)]
struct Worker {
    gate: Gate,
    /// The attempt, what an attempt before has left, and what went wrong.
    seen: Recorder<(u32, Option<u64>, Option<String>)>,
}

impl Worker {
    fn new() -> Self {
        Self { gate: Gate::closed(), seen: Recorder::new() }
    }
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "500ms", retries = 3, backoff = "10ms..20ms", concurrency = 4, spawn)]
    async fn short(&self, job: Short, progress: Progress, delivery: &Delivery) -> Result<(), ProgressError> {
        assert_eq!(job.does, Does::Blocks);
        if delivery.attempt() == 1 {
            progress.report(0.1, "first");
            std::thread::sleep(Duration::from_secs(4));
            progress.report(0.9, "stale");
            progress.checkpoint(&666)?;
            let flushed = progress.flush().await;
            self.seen.record((666, None, flushed.err().map(|error| error.to_string())));
            return Ok(());
        }
        progress.report(0.2, "second");
        progress.flush().await?;
        self.seen.record((delivery.attempt(), progress.saved().await?, None));
        self.gate.pass().await;
        Ok(())
    }

    #[handler(idempotent, timeout = "60s", retries = 3, backoff = "10ms..20ms", concurrency = 4)]
    async fn job(&self, job: Job, progress: Progress, delivery: &Delivery) -> Result<(), ProgressError> {
        let saved = progress.saved::<u64>().await?;
        let attempt = delivery.attempt() + delivery.hand_backs();
        match job.does {
            Does::Reports => {
                for percent in 0..=50 {
                    progress.report(f64::from(percent) / 100.0, format!("{percent} %"));
                }
                progress.flush().await?;
            }
            Does::Fails if attempt < 3 => {
                progress.checkpoint(&(saved.unwrap_or_default() + 7))?;
                self.seen.record((attempt, saved, None));
                panic!("as it should");
            }
            Does::Waits => {
                progress.checkpoint(&(saved.unwrap_or_default() + 7))?;
                progress.flush().await?;
            }
            Does::Saves => {
                if attempt == 1 {
                    progress.report(0.5, "half");
                    progress.flush().await?;
                }
                for page in 0..3 {
                    progress.checkpoint(&(saved.unwrap_or_default() + page))?;
                    progress.flush().await?;
                }
                assert!(attempt > 1, "as it should");
                self.seen.record((attempt, saved, None));
                self.gate.pass().await;
                progress.report(1.0, "all");
                return progress.flush().await;
            }
            Does::Floods => {
                for number in 1..=1_000_000_u32 {
                    progress.report(f64::from(number) / 1e6, "flood");
                    if number.is_multiple_of(1_000) {
                        tokio::task::yield_now().await;
                    }
                }
                progress.report(1.0, "last");
                progress.flush().await?;
            }
            Does::IsHostile => {
                progress.report(f64::NAN, "x".repeat(4 * 1024 * 1024));
                progress.checkpoint(&1)?;
                let error = progress.checkpoint(&"x".repeat(5_000)).unwrap_err();
                assert!(matches!(error, ProgressError::TooLarge { size: 5_002, limit: 4_096, .. }), "{error}");
                progress.flush().await?;
                assert_eq!(progress.saved::<u64>().await?, Some(1));
            }
            Does::Fails | Does::Blocks => {}
        }
        self.seen.record((attempt, saved, None));
        if job.does != Does::Fails {
            self.gate.pass().await;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("progress:short", lease = "1s")]
struct Short {
    does: Does,
}

async fn serve(bus: &Bus, worker: &Worker) -> Service {
    bus.serve(worker.clone()).await.unwrap()
}

async fn enqueue(bus: &Bus, does: Does) -> String {
    Job { does }.enqueue(bus).await.unwrap().id
}

async fn find(bus: &Bus, id: &str) -> Option<TaskView<Job>> {
    bus.queue::<Job>().find(id).await.unwrap()
}

on_each! {
    async fn progress_is_seen_while_the_task_runs_and_forgotten_with_its_end(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let mut events = bus.queue::<Job>().events().await.unwrap();
        let service = serve(&bus, &worker).await;
        let id = enqueue(&bus, Does::Reports).await;
        worker.seen.wait_for(1).await;
        let progress = find(&bus, &id).await.unwrap().progress.unwrap();
        assert_eq!((progress.fraction, progress.text.as_str()), (Some(0.5), "50 %"));
        let told = async {
            loop {
                if let QueueEvent::Progress { task, fraction, text, .. } = events.next().await.unwrap() {
                    assert_eq!(task.id, id);
                    if text == "50 %" {
                        return fraction;
                    }
                }
            }
        };
        assert_eq!(tokio::time::timeout(SOON, told).await.unwrap(), Some(0.5));
        worker.gate.open();
        eventually(SOON, async || find(&bus, &id).await.is_none()).await;
        service.shutdown().await.unwrap();
    }

    async fn the_next_attempt_goes_on_from_the_checkpoint_of_one_that_failed(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let service = serve(&bus, &worker).await;
        enqueue(&bus, Does::Fails).await;
        worker.seen.wait_for(3).await;
        assert_eq!(worker.seen.all(), [(1, None, None), (2, Some(7), None), (3, Some(14), None)]);
        eventually(SOON, async || handler(&service, "job").handled == 1).await;
        service.shutdown().await.unwrap();
    }

    async fn it_goes_on_after_a_crash_and_after_a_shutdown(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let first = world.bus().await;
        let one = serve(&first, &worker).await;
        let id = enqueue(&bus, Does::Waits).await;
        worker.seen.wait_for(1).await;
        drop((one, first));
        let second = world.bus().await;
        let two = serve(&second, &worker).await;
        worker.seen.wait_for(2).await;
        // Its time to stop is over before the task is done.
        two.shutdown_within(Duration::from_millis(50)).await.unwrap_err();
        let three = serve(&bus, &worker).await;
        worker.seen.wait_for(3).await;
        assert_eq!(worker.seen.all(), [(1, None, None), (2, Some(7), None), (3, Some(14), None)]);
        worker.gate.open();
        eventually(SOON, async || find(&bus, &id).await.is_none()).await;
        three.shutdown().await.unwrap();
    }

    async fn a_checkpoint_alone_tells_watchers_nothing_and_leaves_the_last_report(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let mut events = bus.queue::<Job>().events().await.unwrap();
        let service = serve(&bus, &worker).await;
        let id = enqueue(&bus, Does::Saves).await;
        let mut told = Vec::new();
        let all = async {
            loop {
                match events.next().await.unwrap() {
                    QueueEvent::Progress { text, .. } if text == "all" => return,
                    QueueEvent::Progress { text, .. } => told.push(text),
                    QueueEvent::Failed { .. } => {
                        // The second attempt has left its checkpoints, and reported nothing yet.
                        worker.seen.wait_for(1).await;
                        let progress = find(&bus, &id).await.unwrap().progress.unwrap();
                        assert_eq!(progress.text, "half");
                        worker.gate.open();
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(SOON, all).await.unwrap();
        assert_eq!(told, ["half"]);
        service.shutdown().await.unwrap();
    }

    async fn a_million_reports_are_a_few_notes_and_the_last_is_there(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let mut events = bus.queue::<Job>().events().await.unwrap();
        let service = serve(&bus, &worker).await;
        let start = Instant::now();
        let id = enqueue(&bus, Does::Floods).await;
        worker.seen.wait_for(1).await;
        let allowed = start.elapsed().as_millis() / 100 + 2;
        let progress = find(&bus, &id).await.unwrap().progress.unwrap();
        assert_eq!((progress.fraction, progress.text.as_str()), (Some(1.0), "last"));
        let mut notes = 0;
        let told = async {
            loop {
                if let QueueEvent::Progress { text, .. } = events.next().await.unwrap() {
                    notes += 1;
                    if text == "last" {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(SOON, told).await.unwrap();
        assert!(notes <= allowed, "{notes} notes in the time of {allowed}");
        worker.gate.open();
        service.shutdown().await.unwrap();
    }

    async fn an_owner_that_has_lost_its_task_writes_nothing(world: World) {
        let (first, second, worker) = (world.bus().await, world.bus().await, Worker::new());
        let _one = serve(&first, &worker).await;
        let id = Short { does: Does::Blocks }.enqueue(&first).await.unwrap().id;
        eventually(SOON, async || second.queue::<Short>().find(&id).await.unwrap().unwrap().instance.is_some()).await;
        let _two = serve(&second, &worker).await;
        worker.seen.wait_until("the second attempt", |seen| seen.iter().any(|&(attempt, ..)| attempt == 2)).await;
        // The first one ends its block meanwhile, and is stopped at its next await, or told that it is over.
        let start = Instant::now();
        eventually(SOON, async || {
            let found = second.queue::<Short>().find(&id).await.unwrap();
            let Some(progress) = found.and_then(|task| task.progress) else { return true };
            assert_ne!(progress.text, "stale");
            start.elapsed() > Duration::from_secs(3)
        })
        .await;
        assert!(worker.seen.all().iter().all(|(attempt, _, error)| *attempt != 666 || error.is_some()));
        assert!(worker.seen.all().iter().all(|(_, saved, _)| saved.is_none()));
        worker.gate.open();
    }

    async fn what_cannot_be_kept_is_cut_or_refused(world: World) {
        let (bus, worker) = (world.bus().await, Worker::new());
        let service = serve(&bus, &worker).await;
        let id = enqueue(&bus, Does::IsHostile).await;
        worker.seen.wait_for(1).await;
        let progress = find(&bus, &id).await.unwrap().progress.unwrap();
        assert_eq!((progress.fraction, progress.text.len()), (None, Progress::LONGEST_TEXT));
        worker.gate.open();
        service.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_delivery_that_is_no_task_has_no_progress() {
    let bus = Bus::connect("memory:").await.unwrap();
    let delivery = Delivery::testing("progress:jobs").build();
    let context = Context::new(&delivery, &bus, &());
    let error = <Progress as Extract<Job, ()>>::extract(&context).unwrap_err();
    assert!(error.to_string().contains("is no task"), "{error}");
}
