//! Every duration of queues takes nothing, a nanosecond and `Duration::MAX`, which means for ever; and every time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidings::{DrainError, Enqueue, Message, NoError, Outcome, ResultError, TaskState, router};
use tidings_tests::{Recorder, World, eventually, on_each};

use crate::support::{SOON, Step};

const DURATIONS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// What its handler does with a duration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Does {
    Works,
    /// Fails, and says after how long it is to be tried again.
    Waits(Duration),
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("durations:jobs", lease = "10s", results = "1h")]
#[reply(u64)]
struct Job {
    n: u64,
    does: Does,
}

/// Enqueued by a handler.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("durations:follow-ups")]
struct FollowUp {
    n: u64,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum Busy {
    #[outcome(retry_after = after)]
    #[error("busy")]
    Busy { after: Duration },
}

struct Worker {
    seen: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "10s")]
    async fn job(&self, job: Job) -> Result<u64, Busy> {
        self.seen.record(job.n);
        match job.does {
            Does::Waits(after) if after == Duration::MAX || self.seen.all().len() < 3 => Err(Busy::Busy { after }),
            _ => Ok(2 * job.n),
        }
    }

    #[handler(idempotent, timeout = "10s")]
    async fn follow_up(&self, follow_up: FollowUp) {
        self.seen.record(follow_up.n);
    }
}

/// Enqueues what waits for no time, for the shortest, and for ever.
struct Relay;

#[router]
impl Relay {
    #[handler]
    async fn step(&self, step: Step) -> Enqueue<FollowUp> {
        let new = |n| Enqueue::new(FollowUp { n });
        let [zero, nano, ever] = DURATIONS.map(|time| new(step.n).delay(time).deduplicate(format!("{time:?}"), time));
        zero.and(nano.expires_in(Duration::MAX)).and(ever.expires_in(Duration::ZERO))
    }
}

fn job(n: u64) -> Job {
    Job { n, does: Does::Works }
}

async fn serve(world: &World, bus: &tidings::Bus) -> (tidings::Service, Recorder<u64>) {
    let seen = Recorder::new();
    let service = bus.serve(Worker { seen: seen.clone() }).await.unwrap();
    world.settle().await;
    (service, seen)
}

/// The state of the only task that there is of a kind.
async fn states<M: tidings::Queue>(bus: &tidings::Bus) -> Vec<TaskState> {
    let mut states = Vec::new();
    for state in [TaskState::Waiting, TaskState::Delayed, TaskState::Running] {
        states.extend(bus.queue::<M>().tasks(state).await.unwrap().tasks.iter().map(|task| task.state));
    }
    states
}

on_each! {
    async fn a_task_may_be_due_at_any_time(world: World) {
        let bus = world.bus().await;
        let (_service, seen) = serve(&world, &bus).await;
        let far = UNIX_EPOCH + Duration::from_secs(1 << 60);
        for (n, enqueueing) in [
            job(0).enqueue(&bus).delay(Duration::ZERO),
            job(1).enqueue(&bus).delay(Duration::from_nanos(1)),
            job(2).enqueue(&bus).at(UNIX_EPOCH),
            job(3).enqueue(&bus).at(SystemTime::now()),
        ].into_iter().enumerate() {
            let enqueued = enqueueing.await.unwrap();
            assert_eq!(enqueued.result::<u64, NoError>(&bus).within(SOON).await.unwrap(), 2 * n as u64);
        }
        assert_eq!(seen.all(), [0, 1, 2, 3]);
        job(4).enqueue(&bus).delay(Duration::MAX).await.unwrap();
        job(5).enqueue(&bus).at(far).await.unwrap();
        job(6).enqueue(&bus).delay(Duration::MAX).expires_in(Duration::MAX).deduplicate("k", Duration::MAX).await.unwrap();
        job(7).enqueue(&bus).await.unwrap();
        eventually(SOON, async || seen.all().contains(&7)).await;
        eventually(SOON, async || states::<Job>(&bus).await == [TaskState::Delayed; 3]).await;
        assert_eq!(seen.all(), [0, 1, 2, 3, 7]);
    }

    async fn a_task_may_wait_for_any_time_before_it_is_too_old(world: World) {
        let bus = world.bus().await;
        let mut enqueued = Vec::new();
        for time in DURATIONS {
            enqueued.push((time, job(1).enqueue(&bus).expires_in(time).await.unwrap()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (_service, _) = serve(&world, &bus).await;
        for (time, enqueued) in enqueued {
            let result = enqueued.result::<u64, NoError>(&bus).within(SOON).await;
            match time == Duration::MAX {
                true => assert_eq!(result.unwrap(), 2),
                false => assert!(matches!(result, Err(ResultError::Expired { .. })), "{time:?}: {result:?}"),
            }
        }
    }

    async fn a_key_may_be_kept_for_any_time(world: World) {
        let bus = world.bus().await;
        for time in DURATIONS {
            let enqueue = async || job(1).enqueue(&bus).deduplicate(format!("{time:?}"), time).await.unwrap();
            assert_eq!(enqueue().await.was_there, None, "{time:?}");
            // At least until the task has ended.
            assert_eq!(enqueue().await.was_there, Some(TaskState::Waiting), "{time:?}");
        }
    }

    async fn a_handler_may_have_its_task_wait_for_any_time(world: World) {
        for time in DURATIONS {
            let bus = world.bus_in(&format!("n{}", time.as_nanos() % 1_000), |builder| builder).await;
            let (service, _) = serve(&world, &bus).await;
            let waits = Job { n: 1, does: Does::Waits(time) };
            let enqueued = waits.enqueue(&bus).await.unwrap();
            if time == Duration::MAX {
                eventually(SOON, async || states::<Job>(&bus).await == [TaskState::Delayed]).await;
            } else {
                assert_eq!(enqueued.result::<u64, NoError>(&bus).within(SOON).await.unwrap(), 2);
            }
            service.shutdown().await.unwrap();
        }
    }

    async fn what_a_handler_enqueues_may_wait_for_any_time(world: World) {
        let bus = world.bus().await;
        let _relay = bus.serve(Relay).await.unwrap();
        let (_service, seen) = serve(&world, &bus).await;
        Step { line: 1, n: 7 }.publish(&bus).await.unwrap();
        eventually(SOON, async || seen.all() == [7, 7]).await;
        eventually(SOON, async || states::<FollowUp>(&bus).await == [TaskState::Delayed]).await;
    }

    async fn a_service_may_park_after_any_time(world: World) {
        for time in DURATIONS {
            let bus = world.bus().await;
            let seen = Recorder::new();
            let service = bus.serve(Worker { seen: seen.clone() }).park_after(time).await.unwrap();
            job(1).enqueue(&bus).await.unwrap();
            assert_eq!(seen.wait_for(1).await, [1]);
            service.shutdown().await.unwrap();
        }
    }

    async fn whoever_looks_at_a_queue_may_wait_for_any_time(world: World) {
        let bus = world.bus().await;
        let jobs = bus.queue::<Job>();
        let enqueued = job(1).enqueue(&bus).await.unwrap();
        for time in [Duration::ZERO, Duration::from_nanos(1)] {
            let result = enqueued.result::<u64, NoError>(&bus).within(time).await;
            assert!(matches!(result, Err(ResultError::TimedOut { .. } | ResultError::NotFoundInTime { .. })), "{result:?}");
            let drained = jobs.wait_until_empty(time).await;
            assert!(matches!(drained, Err(DrainError::TimedOut { .. })), "{drained:?}");
            let drained = jobs.wait_until_idle(time).await;
            assert!(matches!(drained, Err(DrainError::TimedOut { .. })), "{drained:?}");
        }
        let waiting = async {
            tokio::join!(
                enqueued.result::<u64, NoError>(&bus).within(Duration::MAX).into_future(),
                jobs.wait_until_empty(Duration::MAX),
                jobs.wait_until_idle(Duration::MAX),
            )
        };
        let (waited, (_service, _)) = tokio::join!(tokio::time::timeout(SOON, waiting), serve(&world, &bus));
        let (result, empty, idle) = waited.unwrap();
        assert_eq!(result.unwrap(), 2);
        assert!(empty.is_ok() && idle.is_ok());
    }

    async fn whoever_asks_for_services_may_wait_for_any_time(world: World) {
        let bus = world.bus().await;
        let (_service, _) = serve(&world, &bus).await;
        for time in DURATIONS {
            let groups = tokio::time::timeout(SOON, bus.services().within(time).into_future()).await.unwrap().unwrap();
            assert!(time != Duration::MAX || groups.len() == 1, "{groups:?}");
        }
    }
}
