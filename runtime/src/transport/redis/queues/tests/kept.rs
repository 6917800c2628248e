//! What is kept of tasks that have ended stays within its bounds, and each task ends once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::*;
use crate::transport::{
    durable::{
        contract::Keeper,
        course::{Announcement, Asker, Beside, Cancelling, Known, ResultBounds},
        look::Mend,
        task::{DeadReason, Settled, TaskState},
    },
    redis::{access::QUEUE_COMMANDS, tests::server::DEADLINE},
};

const HOUR: u64 = 3_600_000_000_000;

fn bounded(bounds: ResultBounds) -> QueueSpec {
    QueueSpec { results: Some(bounds), ..spec() }
}

fn with_result(settlement: Settlement, result: Vec<u8>) -> Settlement {
    Settlement { beside: Some(Arc::new(Beside { result: Some(result), ..Beside::default() })), ..settlement }
}

fn number(server: &Server, command: &str) -> u64 {
    let (command, key) = command.split_once(' ').unwrap();
    redis::from_redis_value(server.run(&format!("{command} {BASE}{key}"))).unwrap()
}

/// Of the bytes of results: what the queue counts, and what there is once somebody has looked.
async fn bytes(server: &Server, redis: &Redis) -> (u64, u64) {
    redis.ask(&name(), "none", None, later()).await.unwrap();
    let kept: Vec<Vec<u8>> = redis::from_redis_value(server.run(&format!("HVALS {BASE}results"))).unwrap();
    (number(server, "HGET counts results_held"), kept.iter().map(|value| value.len() as u64).sum())
}

/// Enqueues so many, and settles them with results of these sizes, a few at a time.
async fn end_all(redis: &Redis, reader: &mut RedisReader, from: usize, all: usize, size: impl Fn(usize) -> usize) {
    for from in (from..from + all).step_by(5_000) {
        let tasks = (from..from + 5_000).map(|number| NewTask { payload: Vec::new(), ..task(&format!("{number:06}")) });
        assert!(redis.enqueue(tasks.collect(), false).await.iter().all(Result::is_ok));
        let (mut left, mut settlements) = (5_000, Vec::new());
        while left > 0 || !settlements.is_empty() {
            let next = reader.take(Take { settlements, ..take(1 + left % 200) }).await.unwrap();
            left -= next.entries.len();
            let end = |entry: &Entry| with_result(done(entry), vec![b'r'; size(entry.id.parse().unwrap())]);
            settlements = next.entries.iter().map(end).collect();
        }
    }
}

#[tokio::test]
async fn results_stay_within_count_bytes_and_age_however_many_there_are() {
    // A million in the long form of the faults.
    let half = if std::env::var("TIDINGS_FAULTS").is_ok_and(|form| form == "long") { 500_000 } else { 100_000 };
    let server = Server::start();
    let redis = connected(&server).await;
    let few = bounded(ResultBounds::for_nanos(HOUR).count(3_000).bytes(1 << 40));
    redis.declare(&few).await.unwrap();
    let (mut reader, mut keeper) = (redis.reader(few.clone(), "instance-1".into()), redis.keeper());
    let is_kept = async |number: usize| {
        let known = redis.ask(&name(), &format!("{number:06}"), None, later()).await.unwrap();
        matches!(known, Known::Ended(_))
    };
    end_all(&redis, &mut reader, 0, half, |number| number % 7).await;
    let results = redis.counts(&few).await.unwrap().results;
    assert!((2_900..=3_000).contains(&results), "{results}");
    assert!(is_kept(half - 1).await && is_kept(half - 2_800).await && !is_kept(half - 3_001).await);
    let small = bounded(ResultBounds::for_nanos(HOUR).count(1 << 40).bytes(4_000_000));
    redis.declare(&small).await.unwrap();
    end_all(&redis, &mut reader, half, half, |number| if number % 200 == 0 { 65_536 } else { 1 }).await;
    let (counted, real) = bytes(&server, &redis).await;
    assert!(counted == real && real <= 4_000_000 && real > 3_000_000, "{counted} {real}");
    let results = number(&server, "HLEN results");
    assert_eq!(results, number(&server, "HGET counts results_listed"));
    assert!(is_kept(2 * half - 1).await && !is_kept(half + half / 2).await);
    // Too large for itself.
    end_all(&redis, &mut reader, 2 * half, 5_000, |number| if number == 2 * half + 4_999 { 5_000_000 } else { 0 })
        .await;
    // What one call leaves, because it would take long, the next one removes.
    keeper.tidy(&small, None).await.unwrap();
    assert_eq!((bytes(&server, &redis).await, number(&server, "HLEN results")), ((0, 0), 0));
    let short = bounded(ResultBounds::for_nanos(50_000_000).count(1 << 40));
    redis.declare(&short).await.unwrap();
    end_all(&redis, &mut reader, 2 * half + 5_000, 5_000, |_| 10).await;
    let until = Instant::now() + DEADLINE;
    while is_kept(2 * half + 9_999).await {
        assert!(Instant::now() < until);
    }
    keeper.tidy(&short, None).await.unwrap();
    assert_eq!((bytes(&server, &redis).await, number(&server, "HLEN results")), ((0, 0), 0));
    let keys = ["results", "results_batches", "results_order", "results_new"];
    assert_eq!(keys.map(|key| number(&server, &format!("EXISTS {key}"))), [0; 4]);
}

#[tokio::test]
async fn whoever_has_no_time_looks_once_and_the_next_one_goes_on_from_there() {
    let server = Server::start();
    let redis = connected(&server).await;
    let many = bounded(ResultBounds::for_nanos(HOUR));
    redis.declare(&many).await.unwrap();
    let mut reader = redis.reader(many, "instance-1".into());
    end_all(&redis, &mut reader, 0, 5_000, |_| 10).await;
    let waiting = (5_000..8_000).map(|number| task(&format!("{number:06}"))).collect();
    assert!(redis.enqueue(waiting, false).await.iter().all(Result::is_ok));
    let over = tokio::time::Instant::now();
    let look = async |id: &str| {
        let left = number(&server, "HGET counts results_fresh");
        let known = redis.ask(&name(), id, None, over).await.unwrap();
        (known, left - number(&server, "HGET counts results_fresh"))
    };
    let mut filed = 0;
    loop {
        let (known, more) = look("000007").await;
        assert!(more <= 1_200, "{more} in one look");
        filed += more;
        match known {
            Known::More => assert!(more > 0),
            Known::Ended(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(filed >= 4_000, "{filed}");
    // Where tasks that wait are is noted in such steps too.
    let mut looks = 0;
    while let (Known::More, _) = look("007999").await {
        looks += 1;
        assert!(looks <= 8);
    }
    assert_eq!(look("007999").await.0, Known::Open(TaskState::Waiting));
    assert!(looks >= 2, "{looks}");
}

#[tokio::test]
async fn a_result_of_a_task_that_has_ended_anew_stays_when_the_one_before_would_leave() {
    let server = Server::start();
    let redis = connected(&server).await;
    let few = bounded(ResultBounds::for_nanos(HOUR).count(10));
    redis.declare(&few).await.unwrap();
    let mut reader = redis.reader(few, "instance-1".into());
    enqueue(&redis, task("again")).await.unwrap();
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    let dead = Verdict::Dead { record: moved(&entry), reason: DeadReason::Failed, instance: "i".into() };
    redis.settle(&name(), vec![with_result(settlement(&entry, dead), b"1".to_vec())]).await.unwrap();
    let end_one = async |reader: &mut RedisReader, id: &str| {
        enqueue(&redis, task(id)).await.unwrap();
        let entry = taken(reader, 1).await.entries.remove(0);
        redis.settle(&name(), vec![with_result(done(&entry), b"2".to_vec())]).await.unwrap();
    };
    for number in 0..5 {
        end_one(&mut reader, &number.to_string()).await;
    }
    let letter = redis.dead(&name(), None, 1).await.unwrap().remove(0);
    redis.mend(&name(), &[letter.entry], Mend::Replay).await.unwrap();
    assert_eq!(redis.ask(&name(), "again", None, later()).await.unwrap(), Known::Open(TaskState::Waiting));
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    redis.settle(&name(), vec![with_result(done(&entry), b"3".to_vec())]).await.unwrap();
    for number in 5..13 {
        end_one(&mut reader, &number.to_string()).await;
        let Known::Ended(ended) = redis.ask(&name(), "again", None, later()).await.unwrap() else { panic!("{number}") };
        assert_eq!((ended.state, ended.result.as_ref()), (TaskState::Completed, &b"3"[..]));
    }
    let (counted, real) = bytes(&server, &redis).await;
    assert_eq!((counted, number(&server, "HLEN results")), (real, 10));
}

#[tokio::test]
async fn results_are_filed_by_whoever_asks_for_one_and_leave_within_their_bounds_before_and_after() {
    let server = Server::start();
    let redis = connected(&server).await;
    let bounds = bounded(ResultBounds::for_nanos(HOUR).count(7_000));
    redis.declare(&bounds).await.unwrap();
    let mut reader = redis.reader(bounds.clone(), "instance-1".into());
    let there = async || (redis.counts(&bounds).await.unwrap().results, number(&server, "HLEN results"));
    end_all(&redis, &mut reader, 0, 5_000, |_| 5).await;
    assert_eq!(there().await, (5_000, 0), "nobody has asked");
    let ended = async |number: usize| match redis.ask(&name(), &format!("{number:06}"), None, later()).await.unwrap() {
        Known::Ended(ended) => Some(ended.result.len()),
        _ => None,
    };
    assert_eq!(ended(4_999).await, Some(5));
    assert_eq!(there().await, (5_000, 5_000));
    // Some are filed then, and some are not: the oldest leave, wherever they are.
    end_all(&redis, &mut reader, 5_000, 5_000, |_| 6).await;
    let (results, filed) = there().await;
    assert!((6_800..=7_000).contains(&results) && filed < 2_001, "{results} {filed}");
    assert_eq!((ended(0).await, ended(2_900).await, ended(9_999).await), (None, None, Some(6)));
    assert_eq!(there().await, (results, results));
    end_all(&redis, &mut reader, 10_000, 20_000, |_| 7).await;
    let (results, filed) = there().await;
    assert!((6_800..=7_000).contains(&results) && filed == 0, "{results} {filed}");
    let (counted, real) = bytes(&server, &redis).await;
    assert_eq!((counted, there().await), (real, (results, results)));
    assert_eq!((ended(29_999).await, ended(22_900).await), (Some(7), None));
}

#[tokio::test]
async fn a_task_that_is_replayed_has_no_result_whether_that_was_filed_or_not() {
    let server = Server::start();
    let redis = connected(&server).await;
    redis.declare(&bounded(ResultBounds::for_nanos(HOUR))).await.unwrap();
    let mut reader = redis.reader(bounded(ResultBounds::for_nanos(HOUR)), "instance-1".into());
    for is_filed in [false, true, false] {
        enqueue(&redis, task("a")).await.unwrap();
        let entry = taken(&mut reader, 1).await.entries.remove(0);
        let dead = Verdict::Dead { record: moved(&entry), reason: DeadReason::Failed, instance: "i".into() };
        redis.settle(&name(), vec![with_result(settlement(&entry, dead), b"1".to_vec())]).await.unwrap();
        if is_filed {
            let Known::Ended(ended) = redis.ask(&name(), "a", None, later()).await.unwrap() else {
                panic!("it has ended")
            };
            assert_eq!((ended.state, ended.result.as_ref()), (TaskState::Dead, &b"1"[..]));
        }
        let letter = redis.dead(&name(), None, 1).await.unwrap().remove(0);
        redis.mend(&name(), &[letter.entry], Mend::Replay).await.unwrap();
        assert_eq!(redis.ask(&name(), "a", None, later()).await.unwrap(), Known::Open(TaskState::Waiting));
        let entry = taken(&mut reader, 1).await.entries.remove(0);
        redis.settle(&name(), vec![with_result(done(&entry), b"2".to_vec())]).await.unwrap();
        let Known::Ended(ended) = redis.ask(&name(), "a", None, later()).await.unwrap() else { panic!("it has ended") };
        assert_eq!((ended.state, ended.result.as_ref()), (TaskState::Completed, &b"2"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_cancels_that_race_with_completion_each_has_one_outcome() {
    const ROUNDS: usize = 10_000;
    const TOGETHER: usize = 50;
    let server = Server::start();
    let (redis, other) = (connected(&server).await, connected(&server).await);
    let spec = bounded(ResultBounds::for_nanos(HOUR));
    redis.declare(&spec).await.unwrap();
    let mut reader = redis.reader(spec.clone(), "instance-1".into());
    let (mut completed, mut cancelled) = (0, 0);
    for round in 0..ROUNDS / TOGETHER {
        let names: Vec<String> = (0..TOGETHER).map(|number| format!("{round}-{number}")).collect();
        assert!(redis.enqueue(names.iter().map(|id| task(id)).collect(), false).await.iter().all(Result::is_ok));
        let mut entries = taken(&mut reader, TOGETHER).await.entries;
        let settlements = entries.iter().map(|entry| with_result(done(entry), b"7".to_vec())).collect();
        // From both ends.
        let cancel = async {
            let mut outcomes = BTreeMap::new();
            for id in names.iter().rev() {
                outcomes.insert(id.clone(), other.cancel(&spec, id).await.unwrap());
            }
            outcomes
        };
        let settle = async {
            for _ in 0..round % 40 {
                tokio::task::yield_now().await;
                redis.is_paused(&name()).await.unwrap();
            }
            redis.settle(&name(), settlements).await.unwrap()
        };
        let (outcomes, settled) = tokio::join!(cancel, settle);
        for (entry, settled) in entries.drain(..).zip(settled) {
            let (was, state) = match settled {
                Settled::Counted => (Cancelling::Ended(TaskState::Completed), TaskState::Completed),
                Settled::Stale => (Cancelling::Cancelled(TaskState::Running), TaskState::Cancelled),
            };
            assert_eq!(outcomes[entry.id.as_ref()], was, "{}", entry.id);
            let Known::Ended(ended) = redis.ask(&name(), &entry.id, None, later()).await.unwrap() else {
                panic!("{}", entry.id)
            };
            assert_eq!(ended.state, state);
            if settled == Settled::Counted { completed += 1 } else { cancelled += 1 }
        }
    }
    let counts = redis.counts(&spec).await.unwrap();
    assert_eq!((counts.ended.completed, counts.ended.cancelled, counts.outstanding()), (completed, cancelled, 0));
    assert!(completed > 100 && cancelled > 100, "{completed} and {cancelled}");
}

#[tokio::test]
async fn what_the_access_rules_do_not_let_publish_is_counted_and_fails_nothing() {
    let server = Server::start();
    let rules = format!("on nopass resetchannels resetkeys ~shop:tidings:queues:* {QUEUE_COMMANDS}");
    server.run(&format!("ACL SETUSER shop {rules}"));
    let redis = Redis::connect(&format!("redis://shop:x@127.0.0.1:{}", server.port), &config()).await.unwrap();
    let mut reader = reader(&redis).await;
    redis.watch(&name()).await.unwrap();
    for id in ["a", "b"] {
        enqueue(&redis, task(id)).await.unwrap();
        let asker = Asker { channel: "shop:inbox".into(), payload: Vec::new(), within: Duration::from_secs(60) };
        redis.ask(&name(), id, Some(asker), later()).await.unwrap();
    }
    let entries = taken(&mut reader, 2).await.entries;
    let announcement = Some(Announcement { channel: "shop:done".into(), payload: Vec::new() });
    let beside = Some(Arc::new(Beside { announcement, ..Beside::default() }));
    let announced = Settlement { beside, ..done(&entries[0]) };
    let next = reader.take(Take { settlements: vec![announced], ..take(1) }).await.unwrap();
    assert_eq!(next.settled, [Settled::Counted]);
    assert_eq!(redis.cancel(&spec(), "b").await.unwrap(), Cancelling::Cancelled(TaskState::Running));
    // Of each task that it was taken, how it ended, and whoever asks; an announcement; and whoever has what was cancelled.
    assert_eq!(number(&server, "HGET counts unpublished"), 8);
    assert_eq!(number(&server, "HLEN askers"), 0);
}
