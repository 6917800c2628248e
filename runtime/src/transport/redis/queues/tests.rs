//! What is Redis's own of queues; `durable/tests` has what both transports promise.

mod ahead;
mod basics;
mod bounds;
mod clocks;
mod course;
mod faults;
mod index;
mod kept;
mod ledger;
mod not_polled;
mod only_new;
mod waiting;
mod with_others;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    config::{Config, Reconnect},
    error::EnqueueError,
    time::{LONGEST, deadline_after},
    transport::{
        durable::{
            contract::{Durable, QueueSpec, Reader, Take, Taken},
            look::DeadLetterBounds,
            record::Record,
            task::{Due, Enqueued, Entry, NewTask, QueueName, Settlement, Verdict, Why},
        },
        redis::{Redis, queues::RedisReader, tests::server::Server},
    },
};

pub(super) const TEMPLATE: &str = "tasks:<priority>";
/// The base of its keys.
pub(super) const BASE: &str = "shop:tidings:queues:{tasks:<priority>}:";

fn config() -> Config {
    Config {
        namespace: Some("shop".into()),
        reconnect: Reconnect::default()
            .first_pause(Duration::from_millis(10))
            .longest_pause(Duration::from_millis(100)),
        ..Config::default()
    }
}

async fn connected(server: &Server) -> Redis {
    Redis::connect(&server.url(), &config()).await.unwrap()
}

fn name() -> QueueName {
    QueueName { template: TEMPLATE, namespace: "shop:".into() }
}

fn spec() -> QueueSpec {
    QueueSpec {
        name: name(),
        parts: vec!["tasks:high".into(), "tasks:low".into()],
        lease: Duration::from_millis(300),
        at_most_once: false,
        dead: DeadLetterBounds::DEFAULT,
        results: None,
    }
}

/// Until when one looks who has all the time.
fn later() -> Instant {
    deadline_after(LONGEST)
}

fn task(id: &str) -> NewTask {
    NewTask {
        queue: name(),
        channel: "tasks:high".into(),
        name: "Task",
        version: 1,
        id: id.into(),
        payload: format!("payload of {id}").into(),
        due: Due::Now,
        expires_in: None,
        unique: None,
        max_length: None,
    }
}

async fn enqueue(redis: &Redis, task: NewTask) -> Result<Enqueued, EnqueueError> {
    redis.enqueue(vec![task], false).await.pop().unwrap()
}

fn take(want: usize) -> Take {
    Take { want, order: vec![(0, want), (1, want)], ..Take::default() }
}

fn settlement(entry: &Entry, verdict: Verdict) -> Settlement {
    Settlement {
        at: entry.at.clone(),
        id: Arc::clone(&entry.id),
        unique: entry.unique.clone(),
        once: None,
        verdict,
        beside: None,
    }
}

fn done(entry: &Entry) -> Settlement {
    settlement(entry, Verdict::Done { follow_ups: Vec::new() })
}

/// The record of a task that moves.
fn moved(entry: &Entry) -> Record {
    Record { owners: entry.token(), enqueued_at: entry.enqueued_at(), ..entry.record.clone() }
}

fn again(entry: &Entry, why: Why, after: Option<Duration>) -> Settlement {
    settlement(entry, Verdict::Again { why, after, record: moved(entry) })
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_ref()).collect()
}

async fn taken(reader: &mut RedisReader, want: usize) -> Taken {
    reader.take(take(want)).await.unwrap()
}

async fn reader(redis: &Redis) -> RedisReader {
    redis.declare(&spec()).await.unwrap();
    redis.reader(spec(), "instance-1".into())
}
