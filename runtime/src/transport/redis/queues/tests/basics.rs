use std::time::{Duration, Instant};

use super::*;
use crate::transport::{
    durable::{
        contract::Keeper,
        look::Mend,
        task::{Begun, DeadReason, OnceKey, Settled, TaskState, Unique},
    },
    redis::tests::server::DEADLINE,
};

#[tokio::test]
async fn a_task_is_taken_by_one_reader_and_gone_when_it_is_done() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    enqueue(&redis, task("a")).await.unwrap();
    enqueue(&redis, NewTask { channel: "tasks:low".into(), ..task("b") }).await.unwrap();
    let mut other = redis.reader(spec(), "instance-2".into());
    let first = taken(&mut reader, 5).await;
    assert_eq!(ids(&first.entries), ["a", "b"]);
    assert_eq!(first.entries[0].payload.as_ref(), b"payload of a");
    assert_eq!((first.entries[0].name.as_deref(), first.entries[0].version), (Some("Task"), Some(1)));
    assert_eq!(first.next_due, None);
    assert!(taken(&mut other, 5).await.entries.is_empty());
    let settlements = first.entries.iter().map(done).collect();
    let next = reader.take(Take { settlements, ..take(1) }).await.unwrap();
    assert_eq!(next.settled, [Settled::Counted; 2]);
    let again = redis.settle(&name(), first.entries.iter().map(done).collect()).await.unwrap();
    assert_eq!(again, [Settled::Stale; 2]);
    assert_eq!(server.run(&format!("XLEN {BASE}new:tasks:high")), redis::Value::Int(0));
    let counts = redis.counts(&spec()).await.unwrap();
    assert_eq!(counts.ended.completed, 2);
}

#[tokio::test]
async fn every_verdict_is_carried_out() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    for id in ["retry", "later", "park", "dead", "discard", "expire", "follow"] {
        enqueue(&redis, task(id)).await.unwrap();
    }
    let entries = taken(&mut reader, 10).await.entries;
    let record = |at: usize| moved(&entries[at]);
    let verdicts = [
        Verdict::Again { why: Why::Failed, after: None, record: record(0) },
        Verdict::Again { why: Why::HandedBack, after: Some(Duration::from_millis(30)), record: record(1) },
        Verdict::Park { record: record(2) },
        Verdict::Dead { record: record(3), reason: DeadReason::Refused, instance: "instance-1".into() },
        Verdict::Discarded,
        Verdict::Expired,
        Verdict::Done { follow_ups: vec![task("followed")] },
    ];
    let settlements: Vec<_> = entries.iter().zip(verdicts).map(|(entry, verdict)| settlement(entry, verdict)).collect();
    assert_eq!(redis.settle(&name(), settlements.clone()).await.unwrap(), [Settled::Counted; 7]);
    assert_eq!(redis.settle(&name(), settlements).await.unwrap(), [Settled::Stale; 7]);
    let next = taken(&mut reader, 10).await;
    assert_eq!(ids(&next.entries), ["retry", "followed"]);
    assert!(next.entries[0].at.is_back && next.entries[0].token() == 2);
    assert_eq!(next.entries[0].enqueued_at(), entries[0].enqueued_at());
    assert!(next.next_due.is_some_and(|next| next <= Duration::from_millis(30)));
    let counts = redis.counts(&spec()).await.unwrap();
    assert_eq!((counts.parked, counts.dead), (1, 1));
    assert_eq!(counts.parts["tasks:high"].delayed + counts.parts["tasks:high"].running, 3);
    assert_eq!((counts.ended.completed, counts.ended.discarded, counts.ended.expired), (1, 1, 1));
    assert_eq!((counts.ended.failed_attempts, counts.ended.handed_back), (1, 1));

    let dead = redis.dead(&name(), None, 10).await.unwrap();
    assert_eq!(
        (dead[0].id.as_str(), dead[0].channel.as_str(), dead[0].reason),
        ("dead", "tasks:high", DeadReason::Refused)
    );
    assert_eq!((dead[0].instance.as_str(), dead[0].payload.as_ref()), ("instance-1", &b"payload of dead"[..]));
    assert!(redis.dead(&name(), Some(&dead[0].entry), 10).await.unwrap().is_empty());
    assert_eq!(redis.mend(&name(), &[dead[0].entry.clone(), "1-1".into()], Mend::Replay).await.unwrap(), 1);
    assert_eq!(redis.unpark(&name(), "Task", 0).await.unwrap(), 0);
    assert_eq!(redis.unpark(&name(), "Task", 1).await.unwrap(), 1);
    let mut found = Vec::new();
    let until = Instant::now() + DEADLINE;
    while found.len() < 3 && Instant::now() < until {
        found.extend(reader.wait(Duration::from_millis(10)).await.unwrap().entries);
        found.extend(taken(&mut reader, 10).await.entries);
    }
    let mut names = ids(&found);
    names.sort_unstable();
    assert_eq!(names, ["dead", "later", "park"]);
    assert!(found.iter().all(|entry| entry.token() == 2));
}

#[tokio::test]
async fn a_key_is_held_while_its_task_lives_and_until_its_window_is_over() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let unique = |id: &str, window: u64| NewTask {
        unique: Some(Unique { key: "k".into(), window: Duration::from_millis(window) }),
        ..task(id)
    };
    let state = async |id: &str| {
        let enqueued = enqueue(&redis, unique(id, 60_000)).await.unwrap();
        (enqueued.id, enqueued.was_there)
    };
    assert_eq!(enqueue(&redis, unique("a", 1)).await.unwrap().was_there, None);
    assert_eq!(state("b").await, ("a".into(), Some(TaskState::Waiting)));
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    assert_eq!(entry.unique.as_deref(), Some("k"));
    assert_eq!(state("b").await.1, Some(TaskState::Running));
    redis.settle(&name(), vec![again(&entry, Why::Failed, Some(Duration::from_millis(50)))]).await.unwrap();
    assert_eq!(state("b").await.1, Some(TaskState::Delayed));
    let mut entries = Vec::new();
    while entries.is_empty() {
        entries = taken(&mut reader, 1).await.entries;
    }
    assert_eq!(state("b").await.1, Some(TaskState::Running));
    redis.settle(&name(), vec![done(&entries[0])]).await.unwrap();
    // Its window was over long ago.
    assert_eq!(state("b").await, ("b".into(), None));
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    redis.settle(&name(), vec![done(&entry)]).await.unwrap();
    assert_eq!(state("c").await, ("b".into(), Some(TaskState::Completed)));
    assert!(matches!(server.run(&format!("PTTL {BASE}unique:k")), redis::Value::Int(1..=60_000)));
    server.run(&format!("DEL {BASE}unique:k"));
    assert_eq!(state("d").await, ("d".into(), None));
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let dead = Verdict::Dead { record: moved(&entry), reason: DeadReason::Failed, instance: "i".into() };
    redis.settle(&name(), vec![settlement(&entry, dead)]).await.unwrap();
    assert_eq!(state("e").await, ("e".into(), None), "a dead letter has freed it");
}

#[tokio::test]
async fn a_queue_takes_no_more_than_its_limit_and_a_batch_is_whole_or_not_at_all() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let limited = |id: &str| NewTask { max_length: Some(2), ..task(id) };
    let results = redis.enqueue(["a", "b", "c"].map(limited).into(), true).await;
    assert!(
        matches!(
            results[..],
            [
                Err(EnqueueError::Aborted { .. }),
                Err(EnqueueError::Aborted { .. }),
                Err(EnqueueError::QueueFull { max_length: 2, .. })
            ]
        ),
        "{results:?}"
    );
    assert!(taken(&mut reader, 5).await.entries.is_empty());
    let delayed = NewTask { due: Due::In(Duration::from_secs(60)), ..limited("b") };
    let results = redis.enqueue(vec![limited("a"), delayed, limited("c")], false).await;
    assert!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
    assert!(matches!(results[2], Err(EnqueueError::QueueFull { .. })), "{results:?}");
    assert_eq!(taken(&mut reader, 5).await.entries.len(), 1);
    enqueue(&redis, limited("c")).await.unwrap();
    assert!(enqueue(&redis, limited("d")).await.is_err());
}

#[tokio::test]
async fn leases_are_kept_by_their_owner_alone_and_end() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let mut keeper = redis.keeper();
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let held = [entry.at.clone()];
    assert!(keeper.keep(&name(), "instance-1", "{}", &held).await.unwrap().lost.is_empty());
    assert_eq!(keeper.keep(&name(), "instance-2", "{}", &held).await.unwrap().lost, held);
    assert_eq!(ids(&keeper.pending(&spec(), "instance-1").await.unwrap()), ["a"]);
    assert!(keeper.pending(&spec(), "instance-2").await.unwrap().is_empty());
    let overdue = keeper.overdue(&spec(), Duration::MAX, 10).await.unwrap();
    assert!(overdue.entries.is_empty());
    // A lease that is over has been so for a millisecond.
    let over = spec().lease + Duration::from_millis(1);
    assert!(overdue.next.is_some_and(|next| next <= over), "{overdue:?}");
    let early = keeper.reclaim(&spec(), vec![again(&entry, Why::Crashed, None)]).await.unwrap();
    assert_eq!(early, [Settled::Stale]);
    let until = Instant::now() + DEADLINE;
    let mut overdue = overdue;
    while overdue.entries.is_empty() && Instant::now() < until {
        tokio::time::sleep(overdue.next.unwrap()).await;
        overdue = keeper.overdue(&spec(), Duration::MAX, 10).await.unwrap();
    }
    assert_eq!((overdue.entries[0].owner.as_str(), overdue.entries[0].has_died), ("instance-1", true));
    assert_eq!(overdue.entries[0].entry.payload.as_ref(), b"payload of a");
    let running = redis.running(&spec(), 10).await.unwrap();
    assert_eq!((running[0].id.as_str(), running[0].instance.as_str()), ("a", "instance-1"));
    let settlements = vec![again(&overdue.entries[0].entry, Why::Crashed, None)];
    assert_eq!(keeper.reclaim(&spec(), settlements.clone()).await.unwrap(), [Settled::Counted]);
    assert_eq!(keeper.reclaim(&spec(), settlements).await.unwrap(), [Settled::Stale]);
    assert_eq!(redis.settle(&name(), vec![done(&entry)]).await.unwrap(), [Settled::Stale]);
    assert_eq!(keeper.keep(&name(), "instance-1", "{}", &held).await.unwrap().lost, held);
    let workers = redis.workers(&name()).await.unwrap();
    assert_eq!(workers.len(), 2);
    keeper.tidy(&spec(), Some("instance-2")).await.unwrap();
    assert_eq!(redis.workers(&name()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_runs_once_begins_once() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let key = OnceKey { key: "a".into(), window: Duration::from_secs(60) };
    let begin = async |token| redis.begin(&name(), &key, "a", token).await.unwrap();
    assert_eq!((begin(1).await, begin(1).await, begin(2).await), (Begun::Now, Begun::Now, Begun::Before));
    assert_eq!(redis.begin(&name(), &key, "b", 1).await.unwrap(), Begun::Elsewhere);
    let freed = Settlement { once: Some(key.clone()), ..again(&entry, Why::Failed, None) };
    redis.settle(&name(), vec![freed]).await.unwrap();
    assert_eq!(begin(2).await, Begun::Now);
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    redis.settle(&name(), vec![Settlement { once: Some(key.clone()), ..done(&entry) }]).await.unwrap();
    assert_eq!(begin(3).await, Begun::Done);
}

#[tokio::test]
async fn another_program_needs_no_more_than_xadd() {
    let server = Server::start();
    let redis = connected(&server).await;
    server.run(&format!("XADD {BASE}new:tasks:low * payload {{}} other field"));
    let mut reader = reader(&redis).await;
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    assert_eq!((entry.id.as_ref(), entry.payload.as_ref()), (entry.at.entry.as_ref(), &b"{}"[..]));
    assert_eq!((entry.name.as_ref(), entry.version, entry.token()), (None, None, 1));
    redis.settle(&name(), vec![again(&entry, Why::Failed, None)]).await.unwrap();
    let later = taken(&mut reader, 1).await.entries.remove(0);
    assert_eq!((&later.id, later.token(), later.payload.as_ref()), (&entry.id, 2, &b"{}"[..]));
}
