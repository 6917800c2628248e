//! The queues of a memory broker.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{EnqueueError, QueueError},
    transport::{
        durable::{
            contract::{Durable, Keeper, Overdue, QueueSpec, Reader, Take, Taken, WakeReader},
            look::{Dead, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement},
        },
        memory::Memory,
    },
};

impl Durable for Memory {
    type Reader = MemoryReader;
    type Keeper = MemoryKeeper;

    async fn enqueue(&self, tasks: Vec<NewTask>, _atomic: bool) -> Vec<Result<Enqueued, EnqueueError>> {
        let missing =
            |task: &NewTask| Err(EnqueueError::Server { queue: task.queue.template, reason: MISSING.to_owned() });
        tasks.iter().map(missing).collect()
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<(), QueueError> {
        Err(missing(&queue.name))
    }

    async fn settle(&self, queue: &QueueName, _settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        Err(missing(queue))
    }

    async fn begin(&self, queue: &QueueName, _key: &OnceKey, _id: &str, _token: u64) -> Result<Begun, QueueError> {
        Err(missing(queue))
    }

    fn reader(&self, queue: QueueSpec, _instance: Arc<str>) -> MemoryReader {
        MemoryReader { queue }
    }

    fn keeper(&self) -> MemoryKeeper {
        MemoryKeeper {}
    }

    async fn counts(&self, queue: &QueueSpec) -> Result<QueueCounts, QueueError> {
        Err(missing(&queue.name))
    }

    async fn running(&self, queue: &QueueSpec, _limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        Err(missing(&queue.name))
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<Worker>, QueueError> {
        Err(missing(queue))
    }

    async fn dead(&self, queue: &QueueName, _before: Option<&str>, _limit: usize) -> Result<Vec<Dead>, QueueError> {
        Err(missing(queue))
    }

    async fn mend(&self, queue: &QueueName, _entries: &[String], _mend: Mend) -> Result<u64, QueueError> {
        Err(missing(queue))
    }

    async fn unpark(&self, queue: &QueueName, _name: &str, _version: u32) -> Result<u64, QueueError> {
        Err(missing(queue))
    }
}

const MISSING: &str = "queues are not built yet";

fn missing(queue: &QueueName) -> QueueError {
    QueueError::Server { queue: queue.template, reason: MISSING.to_owned() }
}

/// Takes tasks for one instance.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    queue: QueueSpec,
}

impl Reader for MemoryReader {
    async fn take(&mut self, _take: Take) -> Result<Taken, QueueError> {
        Err(missing(&self.queue.name))
    }

    async fn wait(&mut self, _longest: Duration) -> Result<Vec<Entry>, QueueError> {
        Err(missing(&self.queue.name))
    }

    fn waker(&self) -> Arc<dyn WakeReader> {
        Arc::new(Nobody)
    }

    fn connections(&self) -> u64 {
        0
    }
}

struct Nobody;

impl WakeReader for Nobody {
    fn wake(&self) {}
}

/// Keeps the leases of one process.
#[derive(Debug)]
pub(crate) struct MemoryKeeper {}

impl Keeper for MemoryKeeper {
    async fn keep(
        &mut self,
        queue: &QueueName,
        _instance: &str,
        _about: &str,
        _held: &[EntryAt],
    ) -> Result<Vec<EntryAt>, QueueError> {
        Err(missing(queue))
    }

    async fn overdue(&mut self, queue: &QueueSpec, _limit: usize) -> Result<Overdue, QueueError> {
        Err(missing(&queue.name))
    }

    async fn pending(&mut self, queue: &QueueSpec, _instance: &str) -> Result<Vec<Entry>, QueueError> {
        Err(missing(&queue.name))
    }

    async fn reclaim(&mut self, queue: &QueueSpec, _settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        Err(missing(&queue.name))
    }

    async fn tidy(&mut self, queue: &QueueSpec, _leaving: Option<&str>) -> Result<(), QueueError> {
        Err(missing(&queue.name))
    }
}
