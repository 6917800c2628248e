//! The rival for queues, used as its user would.

use std::ops::Range;

use oxana::Storage;
use serde::{Deserialize, Serialize};

use crate::{
    measure::{Begun, Report, TAKEN},
    order::Order,
    publish::{LARGE, batches},
};

#[derive(oxana::Registry)]
struct ComponentRegistry(oxana::ComponentRegistry<Nothing>);

#[derive(Clone, Debug)]
struct Nothing;

#[derive(Debug, Serialize, Deserialize, oxana::Job)]
struct OrderJob {
    order: Order,
}

#[derive(Debug)]
enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

#[derive(oxana::Worker)]
#[oxana(context = Nothing, error = Never)]
struct OrderWorker;

impl OrderWorker {
    async fn process(&self, job: OrderJob, _context: &oxana::JobContext) -> Result<(), Never> {
        TAKEN.add(job.order.checksum());
        Ok(())
    }
}

#[derive(Serialize, oxana::Queue)]
#[oxana(key = "many", concurrency = 64)]
struct Many;

#[derive(Serialize, oxana::Queue)]
#[oxana(key = "one", concurrency = 1)]
struct One;

pub fn storage(url: &str) -> Storage {
    Storage::builder().build_from_redis_url(url).expect("a storage")
}

/// Adds jobs, for a worker that does so many at once.
pub async fn fill(storage: &Storage, numbers: Range<u64>, at_once: u64) {
    let jobs: Vec<_> = numbers.map(|number| OrderJob { order: Order::new(number) }).collect();
    match at_once {
        1 => storage.enqueue_list(One, jobs).await.expect("enqueued"),
        _ => storage.enqueue_list(Many, jobs).await.expect("enqueued"),
    };
}

pub async fn drain(url: &str, messages: u64, at_once: u64) -> Report {
    let storage = storage(url);
    for numbers in batches(messages, LARGE) {
        fill(&storage, numbers, at_once).await;
    }
    let runtime = storage.runtime(Nothing).register::<ComponentRegistry>().exit_when_processed(messages);
    let begun = Begun::now();
    runtime.run().await.expect("it runs");
    begun.report(messages)
}
