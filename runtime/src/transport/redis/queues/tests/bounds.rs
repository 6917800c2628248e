//! What is kept, how long, and what may be done.

use std::time::Duration;

use super::*;
use crate::{
    error::QueueError,
    transport::{
        contract::Link,
        durable::{
            contract::Keeper,
            course::{Asker, Cancelling, Known, Note, Progress, ResultBounds},
            look::Mend,
            task::{DeadReason, TaskState, Unique},
        },
        health::HealthWarning,
        redis::access::QUEUE_COMMANDS,
    },
};

async fn buried(redis: &Redis, reader: &mut RedisReader, payload: Vec<u8>) {
    enqueue(redis, NewTask { payload, ..task("a") }).await.unwrap();
    let entry = taken(reader, 1).await.entries.remove(0);
    let dead = Verdict::Dead { record: moved(&entry), reason: DeadReason::Failed, instance: "i".into() };
    redis.settle(&name(), vec![settlement(&entry, dead)]).await.unwrap();
}

#[tokio::test]
async fn dead_letters_stay_within_their_bounds_and_what_leaves_is_counted() {
    let server = Server::start();
    let redis = connected(&server).await;
    let bounds = |count, millis, bytes| QueueSpec {
        dead: DeadLetterBounds { count, age: Duration::from_millis(millis), bytes },
        ..spec()
    };
    let few = bounds(5, 1_000_000, 1_000);
    redis.declare(&few).await.unwrap();
    let (mut reader, mut keeper) = (redis.reader(few.clone(), "instance-1".into()), redis.keeper());
    let seen = async |spec: &QueueSpec| {
        let counts = redis.counts(spec).await.unwrap();
        (counts.dead, counts.ended.dead, counts.ended.dead_trimmed)
    };
    for _ in 0..12 {
        buried(&redis, &mut reader, vec![b'x'; 100]).await;
    }
    assert_eq!(seen(&few).await, (5, 12, 7));
    for _ in 0..3 {
        buried(&redis, &mut reader, vec![b'x'; 450]).await;
    }
    assert_eq!(seen(&few).await, (2, 15, 13), "of 900 bytes");
    let letters = redis.dead(&name(), None, 10).await.unwrap();
    assert_eq!(redis.mend(&name(), &[letters[0].entry.clone()], Mend::Delete).await.unwrap(), 1);
    buried(&redis, &mut reader, vec![b'x'; 500]).await;
    assert_eq!(seen(&few).await, (2, 16, 13), "what was deleted counts no more");
    let short = bounds(5, 1, 1_000);
    redis.declare(&short).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    keeper.tidy(&short, None).await.unwrap();
    assert_eq!(seen(&few).await, (0, 16, 15));
}

#[tokio::test]
async fn dead_letters_of_which_there_are_many_are_trimmed_at_once_a_thousand_a_script() {
    const MANY: usize = 2_100;
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    let short = QueueSpec { dead: DeadLetterBounds { age: Duration::from_millis(1), ..spec().dead }, ..spec() };
    let scripts = || {
        let stats = server.text("INFO commandstats");
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        calls.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    // Known to the server from now on.
    keeper.tidy(&spec(), None).await.unwrap();
    assert!(redis.enqueue((0..MANY).map(|n| task(&n.to_string())).collect(), false).await.iter().all(Result::is_ok));
    let entries = taken(&mut reader, MANY).await.entries;
    let buried = entries.iter().map(|entry| {
        let dead = Verdict::Dead { record: moved(entry), reason: DeadReason::Failed, instance: "i".into() };
        settlement(entry, dead)
    });
    redis.settle(&name(), buried.collect()).await.unwrap();
    assert_eq!(redis.counts(&spec()).await.unwrap().dead, MANY as u64);
    redis.declare(&short).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    for (trims, dead) in [(3, 0), (1, 0)] {
        let before = scripts();
        keeper.tidy(&short, None).await.unwrap();
        assert_eq!(scripts() - before, trims);
        assert_eq!(redis.counts(&short).await.unwrap().dead, dead);
    }
}

#[tokio::test]
async fn consumers_leave_with_their_instances_but_for_those_that_have_tasks() {
    let server = Server::start();
    let redis = connected(&server).await;
    let spec = QueueSpec { lease: Duration::from_millis(20), ..spec() };
    let mut first = reader(&redis).await;
    let mut second = redis.reader(spec.clone(), "instance-2".into());
    let mut third = redis.reader(spec.clone(), "instance-3".into());
    let mut keeper = redis.keeper();
    second.wait(Duration::from_millis(1)).await.unwrap();
    enqueue(&redis, task("a")).await.unwrap();
    enqueue(&redis, task("b")).await.unwrap();
    let entries = taken(&mut first, 1).await.entries;
    taken(&mut third, 1).await;
    for instance in ["instance-1", "instance-2", "instance-3"] {
        keeper.keep(&name(), instance, "{}", &[]).await.unwrap();
    }
    let consumers = || {
        let found = server.run(&format!("XINFO CONSUMERS {BASE}new:tasks:high tidings"));
        let found: Vec<std::collections::HashMap<String, redis::Value>> = redis::from_redis_value(found).unwrap();
        let mut names: Vec<String> =
            found.into_iter().map(|mut one| redis::from_redis_value(one.remove("name").unwrap()).unwrap()).collect();
        names.sort();
        names
    };
    keeper.tidy(&spec, Some("instance-1")).await.unwrap();
    assert!(consumers().contains(&"instance-1".to_owned()), "it has a task");
    redis.settle(&name(), entries.iter().map(done).collect()).await.unwrap();
    keeper.tidy(&spec, Some("instance-1")).await.unwrap();
    assert!(!consumers().contains(&"instance-1".to_owned()));
    tokio::time::sleep(11 * spec.lease).await;
    keeper.tidy(&spec, None).await.unwrap();
    assert_eq!(consumers(), ["instance-3"], "of those that are silent, it alone has a task");
    let workers: Vec<_> = redis.workers(&name()).await.unwrap().into_iter().map(|worker| worker.instance).collect();
    assert_eq!(workers, ["instance-3"]);
    assert_eq!(ids(&keeper.pending(&spec, "instance-3").await.unwrap()), ["b"]);
}

#[tokio::test]
async fn nothing_is_left_of_tasks_that_are_done() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    let unique = |number: u32| Unique { key: number.to_string(), window: Duration::from_millis(1) };
    for round in 0..20_u32 {
        let one = |number: u32| {
            let due = if number.is_multiple_of(2) { Due::Now } else { Due::In(Duration::from_millis(1)) };
            NewTask { due, unique: Some(unique(number)), ..task(&format!("{round}-{number}")) }
        };
        assert!(redis.enqueue((0..50).map(one).collect(), false).await.iter().all(Result::is_ok));
        let (mut left, mut settlements) = (50, Vec::new());
        while left > 0 || !settlements.is_empty() {
            let next = reader.take(Take { settlements, ..take(16) }).await.unwrap();
            left -= next.entries.len();
            settlements = next.entries.iter().map(done).collect();
        }
    }
    tokio::time::sleep(Duration::from_millis(3)).await;
    let keys: Vec<String> = redis::from_redis_value(server.run("KEYS *")).unwrap();
    let mut rest: Vec<_> = keys.iter().filter_map(|key| key.strip_prefix(BASE)).collect();
    rest.sort_unstable();
    let expected =
        ["back:tasks:high", "back:tasks:low", "counts", "layout", "new:tasks:high", "new:tasks:low", "parts", "wake"];
    assert_eq!((rest.as_slice(), keys.len()), (&expected[..], expected.len()));
    for stream in ["back:tasks:high", "new:tasks:high"] {
        assert_eq!(server.run(&format!("XLEN {BASE}{stream}")), redis::Value::Int(0));
    }
    assert_eq!(redis.counts(&spec()).await.unwrap().ended.completed, 1_000);
}

#[tokio::test]
async fn an_entry_that_somebody_deleted_is_no_task_any_more() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    enqueue(&redis, task("a")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    server.run(&format!("XDEL {BASE}new:tasks:high {}", entry.at.entry));
    assert!(keeper.pending(&spec(), "instance-1").await.unwrap().is_empty());
    assert_eq!(
        keeper.keep(&name(), "instance-1", "{}", std::slice::from_ref(&entry.at)).await.unwrap().lost,
        [entry.at]
    );
    let counts = redis.counts(&spec()).await.unwrap();
    assert_eq!((counts.parts["tasks:high"].running, counts.parts["tasks:high"].waiting), (0, 0));
    assert_eq!(server.text(&format!("HGET {BASE}counts lost")), "1");
}

#[tokio::test]
async fn what_the_access_rules_refuse_shows_when_a_queue_is_declared_with_a_rule_that_allows_it() {
    let server = Server::start();
    let (keys, channels) = ("~shop:tidings:queues:*", "&shop:tidings:*");
    let spec = || QueueSpec { results: Some(ResultBounds::for_nanos(1_000_000_000)), ..spec() };
    server.run(&format!("ACL SETUSER shop on nopass resetkeys {keys} resetchannels {channels} {QUEUE_COMMANDS}"));
    let url = format!("redis://shop:x@127.0.0.1:{}", server.port);
    let redis = Redis::connect(&url, &config()).await.unwrap();
    let rule_of = async || match redis.declare(&spec()).await {
        Err(QueueError::Refused { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    redis.declare(&spec()).await.unwrap();
    for command in QUEUE_COMMANDS.split_whitespace().filter(|command| !command.contains('|')) {
        server.run("SCRIPT FLUSH");
        server.run(&format!("ACL SETUSER shop -{}", &command[1..]));
        let rule = rule_of().await;
        assert!(rule.split(' ').any(|allowed| allowed == command), "{command}: {rule}");
        server.run(&rule);
        redis.declare(&spec()).await.unwrap();
    }
    server.run("ACL SETUSER shop resetchannels");
    let rule = rule_of().await;
    assert_eq!(rule, format!("ACL SETUSER shop +publish {channels}"));
    redis.declare(&QueueSpec { results: None, ..spec() }).await.unwrap();
    server.run(&rule);
    server.run("ACL SETUSER shop resetkeys ~other:*");
    let rule = rule_of().await;
    assert_eq!(rule, format!("ACL SETUSER shop {keys}"));
    let refused = enqueue(&redis, task("a")).await;
    assert!(matches!(&refused, Err(EnqueueError::Refused { rule, .. }) if *rule == format!("ACL SETUSER shop {keys}")));
    server.run(&rule);
    redis.declare(&spec()).await.unwrap();
    what_is_declared_is_allowed(&redis, spec()).await;
}

/// Whatever a queue with results does runs under the rules that declaring it has proven.
async fn what_is_declared_is_allowed(redis: &Redis, spec: QueueSpec) {
    let spec = || spec.clone();
    let (mut reader, mut keeper) = (redis.reader(spec(), "instance-1".into()), redis.keeper());
    let delayed = NewTask { due: Due::In(Duration::from_secs(100)), ..task("b") };
    assert!(redis.enqueue(vec![task("a"), delayed], false).await.iter().all(Result::is_ok));
    reader.waker().wake();
    reader.wait(Duration::from_secs(20)).await.unwrap();
    let entries = taken(&mut reader, 1).await.entries;
    keeper.keep(&name(), "instance-1", "{}", &[entries[0].at.clone()]).await.unwrap();
    keeper.overdue(&spec(), Duration::MAX, 1).await.unwrap();
    keeper.pending(&spec(), "instance-1").await.unwrap();
    redis.settle(&name(), vec![again(&entries[0], Why::Failed, None)]).await.unwrap();
    let entries = taken(&mut reader, 1).await.entries;
    let dead = Verdict::Dead { record: moved(&entries[0]), reason: DeadReason::Failed, instance: "i".into() };
    redis.settle(&name(), vec![settlement(&entries[0], dead)]).await.unwrap();
    let letters = redis.dead(&name(), None, 1).await.unwrap();
    redis.mend(&name(), &[letters[0].entry.clone()], Mend::Replay).await.unwrap();
    redis.counts(&spec()).await.unwrap();
    redis.running(&spec(), 1).await.unwrap();
    redis.workers(&name()).await.unwrap();
    redis.unpark(&name(), "Task", 1).await.unwrap();
    redis.watch(&name()).await.unwrap();
    redis.pause(&name(), true).await.unwrap();
    redis.is_paused(&name()).await.unwrap();
    redis.pause(&name(), false).await.unwrap();
    reader.rest(Duration::from_millis(1)).await.unwrap();
    let asker = Asker { channel: "shop:tidings:x".into(), payload: Vec::new(), within: Duration::from_secs(1) };
    assert!(matches!(redis.ask(&name(), "a", Some(asker.clone()), later()).await.unwrap(), Known::Open(_)));
    redis.forget(&name(), "a", &asker).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let note = Note { at: entry.at.clone(), id: Arc::clone(&entry.id), progress: Progress::default(), is_again: false };
    redis.note(&name(), "instance-1", vec![note]).await.unwrap();
    assert!(redis.progress(&name(), "a").await.unwrap().is_some());
    for state in [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked, TaskState::Dead] {
        redis.list(&spec(), state, None, 1).await.unwrap();
    }
    redis.find(&spec(), "b").await.unwrap().unwrap();
    for id in ["a", "b"] {
        assert!(matches!(redis.cancel(&spec(), id).await.unwrap(), Cancelling::Cancelled(_)));
    }
    keeper.tidy(&spec(), Some("instance-1")).await.unwrap();
}

#[tokio::test]
async fn health_warns_of_a_server_that_may_lose_tasks_where_queues_are_used() {
    let server = Server::start();
    let redis = connected(&server).await;
    assert!(redis.health().await.unwrap().is_well());
    redis.declare(&spec()).await.unwrap();
    let warnings = redis.health().await.unwrap().warnings;
    assert_eq!(warnings, [HealthWarning::NoAppendOnlyFile, HealthWarning::NoSnapshots]);
    // Whoever only looks is warned too, and whoever will.
    let expecting = connected(&server).await;
    expecting.expect_use();
    assert_eq!(expecting.health().await.unwrap().warnings, warnings);
    let looking = connected(&server).await;
    looking.counts(&spec()).await.unwrap();
    assert_eq!(looking.health().await.unwrap().warnings, warnings);
    server.run("CONFIG SET maxmemory-policy allkeys-lru");
    server.run("CONFIG SET appendonly yes");
    let warnings = redis.health().await.unwrap().warnings;
    assert_eq!(warnings, [HealthWarning::NoSnapshots, HealthWarning::Evicts { policy: "allkeys-lru".into() }]);
    assert!(warnings[1].to_string().contains("CONFIG SET maxmemory-policy noeviction"));
}
