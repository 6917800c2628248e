//! Results, progress, cancelling, pausing and looking for tasks, where it is Redis's own.

use std::time::Duration;

use super::*;
use crate::transport::durable::{
    contract::Keeper,
    course::{Announcement, Asker, Beside, Cancelling, Known, Note, Progress, Reported, ResultBounds},
    look::Mend,
    task::{DeadReason, Settled, TaskState},
};

fn kept() -> QueueSpec {
    QueueSpec { results: Some(ResultBounds::for_nanos(3_600_000_000_000)), ..spec() }
}

fn with_result(entry: &Entry, result: &str) -> Settlement {
    let beside = Beside { result: Some(result.as_bytes().to_vec()), ..Beside::default() };
    Settlement { beside: Some(Arc::new(beside)), ..done(entry) }
}

async fn state_of(redis: &Redis, id: &str) -> Option<TaskState> {
    redis.find(&spec(), id).await.unwrap().map(|seen| seen.state)
}

#[tokio::test]
async fn a_task_is_found_by_its_id_wherever_it_is() {
    let server = Server::start();
    let redis = connected(&server).await;
    redis.declare(&kept()).await.unwrap();
    let mut reader = redis.reader(kept(), "instance-1".into());
    for id in ["a", "b", "c", "d", "e"] {
        enqueue(&redis, task(id)).await.unwrap();
    }
    assert_eq!(state_of(&redis, "a").await, Some(TaskState::Waiting));
    let entries = taken(&mut reader, 4).await.entries;
    let seen = redis.find(&spec(), "a").await.unwrap().unwrap();
    assert_eq!((seen.state, seen.instance.as_deref()), (TaskState::Running, Some("instance-1")));
    assert_eq!((seen.payload.as_ref(), seen.name.as_deref()), (&b"payload of a"[..], Some("Task")));
    let dead = Verdict::Dead { record: moved(&entries[2]), reason: DeadReason::Failed, instance: "i".into() };
    redis
        .settle(
            &name(),
            vec![
                again(&entries[0], Why::Failed, None),
                again(&entries[1], Why::Failed, Some(Duration::from_secs(60))),
                settlement(&entries[2], dead),
                settlement(&entries[3], Verdict::Park { record: moved(&entries[3]) }),
            ],
        )
        .await
        .unwrap();
    let expected = [
        ("a", TaskState::Waiting),
        ("b", TaskState::Delayed),
        ("c", TaskState::Dead),
        ("d", TaskState::Parked),
        ("e", TaskState::Waiting),
    ];
    for (id, state) in expected {
        assert_eq!(state_of(&redis, id).await, Some(state), "{id}");
        let page = redis.list(&spec(), state, None, 10).await.unwrap();
        assert!(page.tasks.iter().any(|seen| seen.id == id), "{id}: {page:?}");
    }
    assert_eq!(state_of(&redis, "f").await, None);
    let letters = redis.dead(&name(), None, 1).await.unwrap();
    redis.mend(&name(), &[letters[0].entry.clone()], Mend::Replay).await.unwrap();
    redis.unpark(&name(), "Task", 1).await.unwrap();
    assert_eq!(state_of(&redis, "c").await, Some(TaskState::Waiting));
    assert_eq!(state_of(&redis, "d").await, Some(TaskState::Waiting));
    server.run(&format!("XADD {BASE}new:tasks:low 1-1 payload x"));
    let foreign = server.text(&format!("XADD {BASE}new:tasks:low * payload x"));
    assert_eq!(state_of(&redis, &foreign).await, Some(TaskState::Waiting));
    assert_eq!(redis.cancel(&spec(), &foreign).await.unwrap(), Cancelling::Cancelled(TaskState::Waiting));
    assert_eq!(state_of(&redis, &foreign).await, None);
}

#[tokio::test]
async fn results_are_kept_and_whoever_asks_is_told() {
    let server = Server::start();
    let redis = connected(&server).await;
    redis.declare(&kept()).await.unwrap();
    let mut reader = redis.reader(kept(), "instance-1".into());
    for id in ["a", "b", "c"] {
        enqueue(&redis, task(id)).await.unwrap();
    }
    let asker =
        Asker { channel: "shop:replies".into(), payload: b"\x01done".to_vec(), within: Duration::from_secs(60) };
    assert_eq!(redis.ask(&name(), "a", Some(asker.clone()), later()).await.unwrap(), Known::Open(TaskState::Waiting));
    assert_eq!(redis.ask(&name(), "b", Some(asker.clone()), later()).await.unwrap(), Known::Open(TaskState::Waiting));
    redis.forget(&name(), "b", &asker).await.unwrap();
    assert_eq!(redis.ask(&name(), "x", Some(asker.clone()), later()).await.unwrap(), Known::Nothing);
    assert_eq!(server.run(&format!("HLEN {BASE}askers")), redis::Value::Int(1));
    let entries = taken(&mut reader, 3).await.entries;
    assert_eq!(redis.ask(&name(), "a", None, later()).await.unwrap(), Known::Open(TaskState::Running));
    let announced = Beside {
        announcement: Some(Announcement { channel: "shop:done".into(), payload: b"!".to_vec() }),
        ..Beside::default()
    };
    let announced = Settlement { beside: Some(Arc::new(announced)), ..done(&entries[2]) };
    let settlements = vec![with_result(&entries[0], "{\"a\":1}"), with_result(&entries[1], ""), announced];
    let settled = reader.take(Take { settlements: settlements.clone(), ..take(1) }).await.unwrap().settled;
    assert_eq!(settled, [Settled::Counted; 3]);
    assert_eq!(redis.settle(&name(), settlements).await.unwrap(), [Settled::Stale; 3]);
    let Known::Ended(ended) = redis.ask(&name(), "a", Some(asker), later()).await.unwrap() else { panic!() };
    assert_eq!((ended.state, ended.result.as_ref()), (TaskState::Completed, &b"{\"a\":1}"[..]));
    let Known::Ended(ended) = redis.ask(&name(), "b", None, later()).await.unwrap() else { panic!() };
    assert!(ended.result.is_empty() && ended.at > 0);
    assert_eq!(redis.ask(&name(), "c", None, later()).await.unwrap(), Known::Nothing);
    assert_eq!(server.run(&format!("EXISTS {BASE}askers")), redis::Value::Int(0));
    assert_eq!(redis.counts(&spec()).await.unwrap().results, 2);
    assert_eq!(redis.cancel(&spec(), "a").await.unwrap(), Cancelling::Ended(TaskState::Completed));
}

#[tokio::test]
async fn progress_is_noted_by_the_owner_alone_and_ends_with_the_task() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let note = |progress: Progress| Note { at: entry.at.clone(), id: Arc::clone(&entry.id), progress, is_again: false };
    let reported = |fraction, text: &str| Some(Reported { fraction, text: text.to_owned() });
    let first = Progress { reported: reported(Some(0.5), "half"), checkpoint: Some(b"7".to_vec()) };
    assert_eq!(redis.note(&name(), "instance-1", vec![note(first.clone())]).await.unwrap(), [Settled::Counted]);
    assert_eq!(redis.note(&name(), "instance-2", vec![note(Progress::default())]).await.unwrap(), [Settled::Stale]);
    assert_eq!(redis.progress(&name(), "a").await.unwrap(), Some(first.clone()));
    let second = Progress { reported: reported(None, "more"), checkpoint: None };
    redis.note(&name(), "instance-1", vec![note(second.clone())]).await.unwrap();
    let both = Progress { checkpoint: first.checkpoint, ..second };
    assert_eq!(redis.progress(&name(), "a").await.unwrap(), Some(both.clone()));
    assert_eq!(redis.find(&spec(), "a").await.unwrap().unwrap().progress, Some(both.clone()));
    let last = Progress { reported: reported(Some(0.75), ""), checkpoint: None };
    let beside = Beside { progress: Some(last.clone()), ..Beside::default() };
    let settlement = Settlement { beside: Some(Arc::new(beside)), ..again(&entry, Why::Failed, None) };
    redis.settle(&name(), vec![settlement]).await.unwrap();
    let kept = redis.progress(&name(), "a").await.unwrap().unwrap();
    assert_eq!((kept.reported, kept.checkpoint), (last.reported, both.checkpoint));
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    redis.settle(&name(), vec![done(&entry)]).await.unwrap();
    assert_eq!(redis.progress(&name(), "a").await.unwrap(), None);
}

#[tokio::test]
async fn a_queue_that_is_paused_gives_nothing_and_rests_until_it_goes_on() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    redis.keeper().keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    assert!(!redis.pause(&name(), true).await.unwrap());
    assert!(redis.pause(&name(), true).await.unwrap());
    enqueue(&redis, task("a")).await.unwrap();
    let next = taken(&mut reader, 1).await;
    assert!(next.entries.is_empty() && next.is_paused);
    assert!(redis.is_paused(&name()).await.unwrap() && redis.counts(&spec()).await.unwrap().is_paused);
    let mut waited = reader.wait(Duration::from_secs(5)).await.unwrap();
    while waited.entries.is_empty() {
        waited = reader.wait(Duration::from_secs(5)).await.unwrap();
    }
    assert!(waited.is_paused);
    redis.settle(&name(), vec![again(&waited.entries[0], Why::HandedBack, None)]).await.unwrap();
    // What paused it has left something that wakes.
    for _ in 0..4 {
        reader.rest(Duration::from_millis(20)).await.unwrap();
        assert!(taken(&mut reader, 1).await.is_paused);
    }
    let start = std::time::Instant::now();
    let name = name();
    let (rested, was) = tokio::join!(reader.rest(Duration::from_secs(60)), redis.pause(&name, false));
    rested.unwrap();
    assert!(was.unwrap() && start.elapsed() < Duration::from_secs(4));
    let next = taken(&mut reader, 1).await;
    assert_eq!((ids(&next.entries), next.is_paused), (vec!["a"], false));
}
