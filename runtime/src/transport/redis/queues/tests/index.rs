//! Whoever looks for tasks by their ids finds what is there, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::transport::durable::{
    contract::Keeper,
    course::{Asker, Cancelling, Known},
    look::Mend,
    task::{DeadReason, TaskState},
};

/// Numbers that look random, the same ones in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn one<'a>(&mut self, of: &'a BTreeMap<String, TaskState>, state: TaskState) -> Option<&'a String> {
        let all: Vec<&String> = of.iter().filter(|(_, is)| **is == state).map(|(id, _)| id).collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len())]) }
    }
}

/// A queue, and what is to be in it.
struct Model {
    server: Server,
    redis: Redis,
    reader: RedisReader,
    tasks: BTreeMap<String, TaskState>,
    held: BTreeMap<String, Entry>,
    next: usize,
}

const LATER: Duration = Duration::from_secs(1_000);

impl Model {
    async fn step(&mut self, dice: &mut Dice) {
        match dice.below(10) {
            0..=2 => self.enqueue(dice).await,
            3 | 4 => {
                for entry in taken(&mut self.reader, 1 + dice.below(4)).await.entries {
                    let id = entry.id.to_string();
                    assert_eq!(self.tasks.insert(id.clone(), TaskState::Running), Some(TaskState::Waiting), "{id}");
                    self.held.insert(id, entry);
                }
            }
            5..=7 => self.settle(dice).await,
            8 => {
                let state = [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked];
                let state = state[dice.below(4)];
                let Some(id) = dice.one(&self.tasks, state).cloned() else { return };
                let was = self.tasks.remove(&id).unwrap();
                assert_eq!(self.redis.cancel(&spec(), &id).await.unwrap(), Cancelling::Cancelled(was), "{id}");
                self.held.remove(&id);
            }
            _ => self.mend(dice).await,
        }
    }

    async fn enqueue(&mut self, dice: &mut Dice) {
        self.next += 1;
        let id = self.next.to_string();
        let (id, state) = match dice.below(4) {
            0 => {
                let task = NewTask { due: Due::In(LATER), ..task(&id) };
                enqueue(&self.redis, task).await.unwrap();
                (id, TaskState::Delayed)
            }
            // Of another program.
            1 => (self.server.text(&format!("XADD {BASE}new:tasks:low * payload x")), TaskState::Waiting),
            _ => {
                let channel = if dice.below(2) == 0 { "tasks:high" } else { "tasks:low" };
                enqueue(&self.redis, NewTask { channel: channel.into(), ..task(&id) }).await.unwrap();
                (id, TaskState::Waiting)
            }
        };
        self.tasks.insert(id, state);
    }

    async fn settle(&mut self, dice: &mut Dice) {
        let Some(id) = dice.one(&self.tasks, TaskState::Running).cloned() else { return };
        let entry = self.held.remove(&id).unwrap();
        let dead = Verdict::Dead { record: moved(&entry), reason: DeadReason::Failed, instance: "i".into() };
        let (settlement, state) = match dice.below(6) {
            0 => (again(&entry, Why::Failed, None), Some(TaskState::Waiting)),
            1 => (again(&entry, Why::Failed, Some(LATER)), Some(TaskState::Delayed)),
            2 => (settlement(&entry, Verdict::Park { record: moved(&entry) }), Some(TaskState::Parked)),
            3 => (settlement(&entry, dead), Some(TaskState::Dead)),
            _ => (done(&entry), None),
        };
        self.redis.settle(&name(), vec![settlement]).await.unwrap();
        match state {
            Some(state) => self.tasks.insert(id, state),
            None => self.tasks.remove(&id),
        };
    }

    async fn mend(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => {
                self.redis.unpark(&name(), "Task", 1).await.unwrap();
                let parked = self.tasks.values_mut().filter(|state| **state == TaskState::Parked);
                parked.for_each(|state| *state = TaskState::Waiting);
            }
            1 => {
                let keys = ["index", "indexed"].map(|key| format!("{BASE}{key}")).join(" ");
                self.server.run(&format!("UNLINK {keys}"));
            }
            replays => {
                let letters = self.redis.dead(&name(), None, 100).await.unwrap();
                let Some(letter) = letters.first() else { return };
                let mend = if replays == 2 { Mend::Replay } else { Mend::Delete };
                self.redis.mend(&name(), std::slice::from_ref(&letter.entry), mend).await.unwrap();
                if replays == 2 {
                    self.tasks.insert(letter.id.clone(), TaskState::Waiting);
                } else {
                    self.tasks.remove(&letter.id);
                }
            }
        }
    }

    async fn is_as_it_says(&self, id: &str) {
        let expected = self.tasks.get(id).copied();
        let seen = self.redis.find(&spec(), id).await.unwrap();
        assert_eq!(seen.as_ref().map(|seen| (seen.id.as_str(), seen.state)), expected.map(|state| (id, state)));
        let known = self.redis.ask(&name(), id, None, later()).await.unwrap();
        match expected {
            None => assert_eq!(known, Known::Nothing, "{id}"),
            Some(TaskState::Dead) => assert!(matches!(known, Known::Ended(_)), "{id}: {known:?}"),
            Some(state) => assert_eq!(known, Known::Open(state), "{id}"),
        }
    }

    /// The ids of a state, a page after the other.
    async fn listed(&self, state: TaskState, limit: usize) -> Vec<String> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let page = self.redis.list(&spec(), state, next.as_deref(), limit).await.unwrap();
            assert!(page.tasks.iter().all(|seen| seen.state == state));
            found.extend(page.tasks.into_iter().map(|seen| seen.id));
            next = page.next;
            if next.is_none() {
                found.sort();
                return found;
            }
        }
    }
}

#[tokio::test]
async fn what_is_found_and_listed_is_what_there_is_whatever_happened_before() {
    for seed in 0..4 {
        let server = Server::start();
        let redis = connected(&server).await;
        let reader = reader(&redis).await;
        let (tasks, held) = Default::default();
        let mut model = Model { server, redis, reader, tasks, held, next: 0 };
        let mut dice = Dice(seed);
        for _ in 0..600 {
            model.step(&mut dice).await;
            let id = (1 + dice.below(model.next + 1)).to_string();
            model.is_as_it_says(&id).await;
        }
        for id in model.tasks.keys().cloned().chain((0..=model.next).map(|number| number.to_string())) {
            model.is_as_it_says(&id).await;
        }
        for state in [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked, TaskState::Dead] {
            let expected: Vec<_> =
                model.tasks.iter().filter(|(_, is)| **is == state).map(|(id, _)| id.clone()).collect();
            for limit in [1, 7, 400] {
                let mut found = model.listed(state, limit).await;
                found.dedup();
                assert_eq!(found, expected, "{state:?} by {limit}, seed {seed}");
            }
        }
    }
}

#[tokio::test]
async fn a_task_is_found_among_many_and_the_index_ends_with_its_use() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    for from in (0..5_000).step_by(1_000) {
        let tasks = (from..from + 1_000).map(|number| task(&number.to_string())).collect();
        redis.enqueue(tasks, false).await;
    }
    let size = || redis::from_redis_value::<usize>(server.run(&format!("HLEN {BASE}index"))).unwrap();
    assert_eq!(size(), 0, "nobody has looked for one");
    for id in ["4999", "0", "5000", "2500"] {
        assert_eq!(redis.find(&spec(), id).await.unwrap().is_some(), id != "5000");
    }
    assert_eq!(size(), 5_000);
    let entries = taken(&mut reader, 1_000).await.entries;
    redis.settle(&name(), entries.iter().map(done).collect()).await.unwrap();
    assert_eq!(size(), 4_000, "what has ended is not in it");
    // Another program took it and deleted it.
    let entry = taken(&mut reader, 1).await.entries.remove(0);
    server.run(&format!("XACK {BASE}new:tasks:high tidings {}", entry.at.entry));
    server.run(&format!("XDEL {BASE}new:tasks:high {}", entry.at.entry));
    assert!(redis.find(&spec(), &entry.id).await.unwrap().is_none());
    keeper.tidy(&spec(), None).await.unwrap();
    assert_eq!(size(), 3_999);
    server.run(&format!("HSET {BASE}indexed made 1 used 1"));
    keeper.tidy(&spec(), None).await.unwrap();
    assert_eq!(size(), 0);
    assert!(redis.find(&spec(), "4999").await.unwrap().is_some());
}

#[tokio::test]
async fn a_task_is_known_before_anybody_has_served_its_queue() {
    let server = Server::start();
    let redis = connected(&server).await;
    enqueue(&redis, task("a")).await.unwrap();
    assert_eq!(redis.ask(&name(), "a", None, later()).await.unwrap(), Known::Open(TaskState::Waiting));
    let delayed = NewTask { due: Due::In(LATER), ..task("b") };
    enqueue(&redis, delayed).await.unwrap();
    assert_eq!(redis.ask(&name(), "b", None, later()).await.unwrap(), Known::Open(TaskState::Delayed));
    assert_eq!(redis.cancel(&spec(), "a").await.unwrap(), Cancelling::Cancelled(TaskState::Waiting));
    assert!(redis.list(&spec(), TaskState::Running, None, 5).await.unwrap().tasks.is_empty());
}

#[tokio::test]
async fn a_place_in_a_list_that_is_none_of_ours_brings_nothing() {
    let server = Server::start();
    let redis = connected(&server).await;
    redis.declare(&spec()).await.unwrap();
    enqueue(&redis, task("a")).await.unwrap();
    for state in [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked, TaskState::Dead] {
        for hostile in
            ["", "x", "-inf +inf", "0 0", "99999999999999999999 18446744073709551615-18446744073709551615", "1 7"]
        {
            let page = redis.list(&spec(), state, Some(hostile), 3).await.unwrap();
            assert!(page.tasks.len() <= 1, "{state:?} {hostile}");
        }
    }
    assert!(redis.list(&spec(), TaskState::Completed, None, 3).await.unwrap().tasks.is_empty());
}

#[tokio::test]
async fn a_hundred_wait_for_a_task_at_most_and_none_longer_than_it_wanted_to() {
    let server = Server::start();
    let redis = connected(&server).await;
    redis.declare(&spec()).await.unwrap();
    enqueue(&redis, task("a")).await.unwrap();
    enqueue(&redis, task("b")).await.unwrap();
    let ask = async |id: &str, number: u8, within: u64| {
        let within = Duration::from_millis(within);
        let asker = Asker { channel: "shop:inbox".into(), payload: vec![number], within };
        redis.ask(&name(), id, Some(asker), later()).await.unwrap();
    };
    let heard = async |id: &str| {
        server.run("CONFIG RESETSTAT");
        redis.cancel(&spec(), id).await.unwrap();
        let stats = server.text("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_publish:")).unwrap_or("=0,").to_owned();
        line.split(['=', ',']).nth(1).unwrap().parse::<usize>().unwrap()
    };
    for number in 0..120 {
        ask("a", number, 60_000).await;
        ask("a", number, 60_000).await;
    }
    assert_eq!(heard("a").await, 100);
    ask("b", 1, 1).await;
    tokio::time::sleep(Duration::from_millis(3)).await;
    redis.keeper().tidy(&spec(), None).await.unwrap();
    assert_eq!(server.run(&format!("EXISTS {BASE}askers")), redis::Value::Int(0));
    ask("b", 1, 1).await;
    tokio::time::sleep(Duration::from_millis(3)).await;
    assert_eq!(heard("b").await, 0);
}
