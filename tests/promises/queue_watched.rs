//! Whoever watches a queue is told what happens in it, in order, and what was missed.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tidings::{Bounds, DeadReason, EndReason, Message, Outcome, Progress, QueueEvent, QueueEvents, TaskState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, SOON};

/// What is to become of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Fate {
    Succeeds,
    FailsFirst,
    IsRefused,
    IsDiscarded,
    Reports,
    Waits,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:fates")]
struct Task {
    fate: Fate,
}

#[derive(Debug, thiserror::Error, Outcome)]
enum TaskError {
    #[error("no disk")]
    #[outcome(retry)]
    Disk,
    #[error("no image")]
    #[outcome(dead_letter)]
    Image,
    #[error("no need")]
    #[outcome(discard)]
    Need,
}

struct Worker {
    failed: AtomicU32,
    gate: Gate,
    done: Recorder<()>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "30s", backoff = "1ms..2ms", concurrency = 4)]
    async fn task(&self, task: Task, progress: Progress) -> Result<(), TaskError> {
        match task.fate {
            Fate::FailsFirst if self.failed.fetch_add(1, Ordering::Relaxed) == 0 => return Err(TaskError::Disk),
            Fate::IsRefused => return Err(TaskError::Image),
            Fate::IsDiscarded => return Err(TaskError::Need),
            Fate::Reports => {
                progress.report(0.5, "half of it");
                progress.flush().await.map_err(|_| TaskError::Disk)?;
            }
            Fate::Waits => self.gate.pass().await,
            Fate::Succeeds | Fate::FailsFirst => {}
        }
        self.done.record(());
        Ok(())
    }
}

fn worker() -> (Worker, Gate, Recorder<()>) {
    let (gate, done) = (Gate::closed(), Recorder::new());
    (Worker { failed: AtomicU32::new(0), gate: gate.clone(), done: done.clone() }, gate, done)
}

async fn next(events: &mut QueueEvents) -> QueueEvent {
    let next = tokio::time::timeout(SOON, events.next()).await;
    next.expect("an event in time").expect("the watch goes on")
}

/// What happened to one task, until this says that it was the last.
async fn course(events: &mut QueueEvents, id: &str, is_last: impl Fn(&QueueEvent) -> bool) -> Vec<QueueEvent> {
    let mut course = Vec::new();
    loop {
        let event = next(events).await;
        assert_eq!(event.task().map(|task| task.id.as_str()), Some(id), "{event:?}");
        let is_last = is_last(&event);
        course.push(event);
        if is_last {
            return course;
        }
    }
}

on_each! {
    async fn the_events_of_a_task_come_in_order(world: World) {
        let (bus, watcher) = (world.bus().await, world.bus().await);
        let (worker, gate, _) = worker();
        let service = bus.serve(worker).await.unwrap();
        let tasks = watcher.queue::<Task>();
        let mut events = tasks.events().await.unwrap();
        let before = SystemTime::now();
        let id = Task { fate: Fate::FailsFirst }.enqueue(&bus).await.unwrap().id;
        let found = course(&mut events, &id, |event| matches!(event, QueueEvent::Completed { .. })).await;
        let [
            QueueEvent::Taken { task, .. },
            QueueEvent::Failed { error: Some(error), .. },
            QueueEvent::Taken { .. },
            QueueEvent::Completed { .. },
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((task.channel.as_str(), error.contains("no disk")), ("tasks:fates", true), "{error}");
        // Its first heartbeat may come a moment later.
        eventually(SOON, async || !tasks.workers().await.unwrap().is_empty()).await;
        assert_eq!(task.instance, Some(tasks.workers().await.unwrap()[0].instance.clone()));
        let early = before.duration_since(task.at).unwrap_or_default();
        assert!(early < SOON, "its time is the server's");

        let id = Task { fate: Fate::Reports }.enqueue(&bus).await.unwrap().id;
        let found = course(&mut events, &id, |event| matches!(event, QueueEvent::Completed { .. })).await;
        let [QueueEvent::Taken { .. }, QueueEvent::Progress { fraction, text, .. }, _] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((*fraction, text.as_str()), (Some(0.5), "half of it"));

        let id = Task { fate: Fate::IsRefused }.enqueue(&bus).await.unwrap().id;
        let found = course(&mut events, &id, |event| matches!(event, QueueEvent::Dead { .. })).await;
        let [QueueEvent::Taken { .. }, QueueEvent::Dead { reason, error: Some(error), .. }] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((*reason, error.contains("no image")), (Some(DeadReason::Refused), true), "{error}");

        let id = Task { fate: Fate::IsDiscarded }.enqueue(&bus).await.unwrap().id;
        let found = course(&mut events, &id, |event| matches!(event, QueueEvent::Discarded { .. })).await;
        assert_eq!(found.len(), 2, "{found:?}");

        let id = Task { fate: Fate::Waits }.enqueue(&bus).await.unwrap().id;
        assert!(matches!(next(&mut events).await, QueueEvent::Taken { .. }));
        tasks.cancel(&id).await.unwrap();
        course(&mut events, &id, |event| matches!(event, QueueEvent::Cancelled { .. })).await;
        gate.open();
        service.shutdown().await.unwrap();
    }

    async fn a_slow_watcher_loses_the_oldest_events_and_is_told_how_many(world: World) {
        let (bus, watcher) = (world.bus().await, world.bus().await);
        let (worker, _, _) = worker();
        let service = bus.serve(worker).await.unwrap();
        let tasks = watcher.queue::<Task>();
        let mut slow = tasks.events().buffer(Bounds::messages(10)).await.unwrap();
        let mut fast = tasks.events().await.unwrap();
        let many: Vec<Task> = (0..200).map(|_| Task { fate: Fate::Succeeds }).collect();
        assert!(bus.enqueue_all(&many).await.iter().all(Result::is_ok));
        for _ in 0..400 {
            let event = next(&mut fast).await;
            assert!(event.task().is_some(), "{event:?}");
        }
        assert_eq!(fast.lagged(), 0);
        let (mut seen, mut lost, mut last) = (0, 0, None);
        while seen + lost < 400 {
            match next(&mut slow).await {
                QueueEvent::Lagged(count) => lost += count,
                event => {
                    seen += 1;
                    last = Some(event);
                }
            }
        }
        assert_eq!((seen + lost, slow.lagged()), (400, lost));
        assert!(seen <= 20 && matches!(last, Some(QueueEvent::Completed { .. })), "{seen} {last:?}");
        // It did not hold up the work, and hears what comes.
        Task { fate: Fate::Succeeds }.enqueue(&bus).await.unwrap();
        assert!(matches!(next(&mut slow).await, QueueEvent::Taken { .. }));
        service.shutdown().await.unwrap();
    }

    async fn a_lost_connection_is_told_and_the_watch_goes_on(world: World) {
        let bus = world.bus().await;
        let (worker, _, done) = worker();
        let service = bus.serve(worker).await.unwrap();
        let mut events = bus.queue::<Task>().events().await.unwrap();
        world.disconnect().await;
        let gap = next(&mut events).await;
        assert!(matches!(gap, QueueEvent::Gap(_)), "{gap:?}");
        Task { fate: Fate::Succeeds }.enqueue(&bus).await.unwrap();
        done.wait_for(1).await;
        assert!(matches!(next(&mut events).await, QueueEvent::Taken { .. }));
        assert!(matches!(next(&mut events).await, QueueEvent::Completed { .. }));
        service.shutdown().await.unwrap();
        bus.close().await.unwrap();
        let end = next(&mut events).await;
        assert!(matches!(end, QueueEvent::Ended(EndReason::Closed)), "{end:?}");
        assert!(events.next().await.is_none());
    }

    async fn two_queues_and_two_namespaces_are_watched_apart(world: World) {
        let bus = world.bus_in("one", |builder| builder).await;
        let other = world.bus_in("two", |builder| builder).await;
        let mut events = bus.queue::<Task>().events().await.unwrap();
        let mut others = other.queue::<Task>().events().await.unwrap();
        let id = Task { fate: Fate::Succeeds }.enqueue(&bus).await.unwrap().id;
        let other_id = Task { fate: Fate::Succeeds }.enqueue(&other).await.unwrap().id;
        bus.queue::<Task>().cancel(&id).await.unwrap();
        other.queue::<Task>().cancel(&other_id).await.unwrap();
        for (events, id) in [(&mut events, &id), (&mut others, &other_id)] {
            let event = next(events).await;
            assert!(matches!(&event, QueueEvent::Cancelled { task, .. } if task.id == *id), "{event:?}");
        }
    }

    async fn what_is_enqueued_again_from_the_dead_letters_is_told_anew(world: World) {
        let bus = world.bus().await;
        let (worker, _, _) = worker();
        let service = bus.serve(worker).await.unwrap();
        let tasks = bus.queue::<Task>();
        let id = Task { fate: Fate::IsRefused }.enqueue(&bus).await.unwrap().id;
        let is_dead = async || tasks.find(&id).await.unwrap().is_some_and(|task| task.state == TaskState::Dead);
        eventually(SOON, is_dead).await;
        let mut events = tasks.events().await.unwrap();
        assert_eq!(tasks.replay_all().await.unwrap(), 1);
        let found = course(&mut events, &id, |event| matches!(event, QueueEvent::Dead { .. })).await;
        assert_eq!(found.len(), 2, "{found:?}");
        service.shutdown().await.unwrap();
    }
}
