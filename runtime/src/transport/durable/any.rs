//! The queues of whichever transport it is.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    error::{BatchError, EnqueueError, QueueError},
    transport::{
        any::AnyTransport,
        contract::Parcel,
        durable::{
            contract::{
                Ahead, Durable, Heartbeat, Keeper, Overdue, QueueSpec, Reader, Take, Taken, Together, Waited,
                WakeReader,
            },
            course::{Asker, Cancelling, Known, Note, Page, Progress, Seen},
            look::{Dead, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement, TaskState},
        },
        memory::queues::{MemoryKeeper, MemoryReader},
        redis::queues::{RedisKeeper, RedisReader},
    },
};

/// Takes tasks for one instance.
#[derive(Debug)]
pub(crate) enum AnyReader {
    Memory(MemoryReader),
    Redis(Box<RedisReader>),
}

/// Keeps the leases of one process.
#[derive(Debug)]
pub(crate) enum AnyKeeper {
    Memory(MemoryKeeper),
    Redis(RedisKeeper),
}

impl Durable for AnyTransport {
    type Reader = AnyReader;
    type Keeper = AnyKeeper;

    async fn enqueue(&self, tasks: Vec<NewTask>, atomic: bool) -> Vec<Result<Enqueued, EnqueueError>> {
        match self {
            Self::Memory(memory) => memory.enqueue(tasks, atomic).await,
            Self::Redis(redis) => redis.enqueue(tasks, atomic).await,
        }
    }

    async fn enqueue_and_publish(&self, tasks: Vec<NewTask>, parcels: Vec<Parcel>) -> Result<Together, BatchError> {
        match self {
            Self::Memory(memory) => memory.enqueue_and_publish(tasks, parcels).await,
            Self::Redis(redis) => redis.enqueue_and_publish(tasks, parcels).await,
        }
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<(), QueueError> {
        match self {
            Self::Memory(memory) => memory.declare(queue).await,
            Self::Redis(redis) => redis.declare(queue).await,
        }
    }

    async fn settle(&self, queue: &QueueName, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        match self {
            Self::Memory(memory) => memory.settle(queue, settlements).await,
            Self::Redis(redis) => redis.settle(queue, settlements).await,
        }
    }

    async fn begin(&self, queue: &QueueName, key: &OnceKey, id: &str, token: u64) -> Result<Begun, QueueError> {
        match self {
            Self::Memory(memory) => memory.begin(queue, key, id, token).await,
            Self::Redis(redis) => redis.begin(queue, key, id, token).await,
        }
    }

    async fn counts(&self, queue: &QueueSpec) -> Result<QueueCounts, QueueError> {
        match self {
            Self::Memory(memory) => memory.counts(queue).await,
            Self::Redis(redis) => redis.counts(queue).await,
        }
    }

    async fn running(&self, queue: &QueueSpec, limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        match self {
            Self::Memory(memory) => memory.running(queue, limit).await,
            Self::Redis(redis) => redis.running(queue, limit).await,
        }
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<Worker>, QueueError> {
        match self {
            Self::Memory(memory) => memory.workers(queue).await,
            Self::Redis(redis) => redis.workers(queue).await,
        }
    }

    async fn dead(&self, queue: &QueueName, before: Option<&str>, limit: usize) -> Result<Vec<Dead>, QueueError> {
        match self {
            Self::Memory(memory) => memory.dead(queue, before, limit).await,
            Self::Redis(redis) => redis.dead(queue, before, limit).await,
        }
    }

    async fn mend(&self, queue: &QueueName, entries: &[String], mend: Mend) -> Result<u64, QueueError> {
        match self {
            Self::Memory(memory) => memory.mend(queue, entries, mend).await,
            Self::Redis(redis) => redis.mend(queue, entries, mend).await,
        }
    }

    async fn unpark(&self, queue: &QueueName, name: &str, version: u32) -> Result<u64, QueueError> {
        match self {
            Self::Memory(memory) => memory.unpark(queue, name, version).await,
            Self::Redis(redis) => redis.unpark(queue, name, version).await,
        }
    }

    async fn note(&self, queue: &QueueName, instance: &str, notes: Vec<Note>) -> Result<Vec<Settled>, QueueError> {
        match self {
            Self::Memory(memory) => memory.note(queue, instance, notes).await,
            Self::Redis(redis) => redis.note(queue, instance, notes).await,
        }
    }

    async fn progress(&self, queue: &QueueName, id: &str) -> Result<Option<Progress>, QueueError> {
        match self {
            Self::Memory(memory) => memory.progress(queue, id).await,
            Self::Redis(redis) => redis.progress(queue, id).await,
        }
    }

    async fn ask(
        &self,
        queue: &QueueName,
        id: &str,
        asker: Option<Asker>,
        until: Instant,
    ) -> Result<Known, QueueError> {
        match self {
            Self::Memory(memory) => memory.ask(queue, id, asker, until).await,
            Self::Redis(redis) => redis.ask(queue, id, asker, until).await,
        }
    }

    async fn forget(&self, queue: &QueueName, id: &str, asker: &Asker) -> Result<(), QueueError> {
        match self {
            Self::Memory(memory) => memory.forget(queue, id, asker).await,
            Self::Redis(redis) => redis.forget(queue, id, asker).await,
        }
    }

    async fn find(&self, queue: &QueueSpec, id: &str) -> Result<Option<Seen>, QueueError> {
        match self {
            Self::Memory(memory) => memory.find(queue, id).await,
            Self::Redis(redis) => redis.find(queue, id).await,
        }
    }

    async fn list(
        &self,
        queue: &QueueSpec,
        state: TaskState,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page, QueueError> {
        match self {
            Self::Memory(memory) => memory.list(queue, state, from, limit).await,
            Self::Redis(redis) => redis.list(queue, state, from, limit).await,
        }
    }

    async fn cancel(&self, queue: &QueueSpec, id: &str) -> Result<Cancelling, QueueError> {
        match self {
            Self::Memory(memory) => memory.cancel(queue, id).await,
            Self::Redis(redis) => redis.cancel(queue, id).await,
        }
    }

    async fn pause(&self, queue: &QueueName, pauses: bool) -> Result<bool, QueueError> {
        match self {
            Self::Memory(memory) => memory.pause(queue, pauses).await,
            Self::Redis(redis) => redis.pause(queue, pauses).await,
        }
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, QueueError> {
        match self {
            Self::Memory(memory) => memory.is_paused(queue).await,
            Self::Redis(redis) => redis.is_paused(queue).await,
        }
    }

    async fn watch(&self, queue: &QueueName) -> Result<(), QueueError> {
        match self {
            Self::Memory(memory) => memory.watch(queue).await,
            Self::Redis(redis) => redis.watch(queue).await,
        }
    }

    fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> AnyReader {
        match self {
            Self::Memory(memory) => AnyReader::Memory(memory.reader(queue, instance)),
            Self::Redis(redis) => AnyReader::Redis(Box::new(redis.reader(queue, instance))),
        }
    }

    fn expect_use(&self) {
        match self {
            Self::Memory(memory) => memory.expect_use(),
            Self::Redis(redis) => redis.expect_use(),
        }
    }

    fn keeper(&self) -> AnyKeeper {
        match self {
            Self::Memory(memory) => AnyKeeper::Memory(memory.keeper()),
            Self::Redis(redis) => AnyKeeper::Redis(redis.keeper()),
        }
    }
}

impl Reader for AnyReader {
    async fn take(&mut self, take: Take) -> Result<Taken, QueueError> {
        match self {
            Self::Memory(memory) => memory.take(take).await,
            Self::Redis(redis) => redis.take(take).await,
        }
    }

    fn ahead(&self) -> Option<Arc<Ahead>> {
        match self {
            Self::Memory(memory) => memory.ahead(),
            Self::Redis(redis) => redis.ahead(),
        }
    }

    async fn next(&mut self) -> Result<Taken, QueueError> {
        match self {
            Self::Memory(memory) => memory.next().await,
            Self::Redis(redis) => redis.next().await,
        }
    }

    async fn wait(&mut self, longest: Duration) -> Result<Waited, QueueError> {
        match self {
            Self::Memory(memory) => memory.wait(longest).await,
            Self::Redis(redis) => redis.wait(longest).await,
        }
    }

    async fn rest(&mut self, longest: Duration) -> Result<(), QueueError> {
        match self {
            Self::Memory(memory) => memory.rest(longest).await,
            Self::Redis(redis) => redis.rest(longest).await,
        }
    }

    fn waker(&self) -> Arc<dyn WakeReader> {
        match self {
            Self::Memory(memory) => memory.waker(),
            Self::Redis(redis) => redis.waker(),
        }
    }

    fn connections(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.connections(),
            Self::Redis(redis) => redis.connections(),
        }
    }
}

impl Keeper for AnyKeeper {
    async fn keep(
        &mut self,
        queue: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
    ) -> Result<Heartbeat, QueueError> {
        match self {
            Self::Memory(memory) => memory.keep(queue, instance, about, held).await,
            Self::Redis(redis) => redis.keep(queue, instance, about, held).await,
        }
    }

    async fn overdue(&mut self, queue: &QueueSpec, patience: Duration, limit: usize) -> Result<Overdue, QueueError> {
        match self {
            Self::Memory(memory) => memory.overdue(queue, patience, limit).await,
            Self::Redis(redis) => redis.overdue(queue, patience, limit).await,
        }
    }

    async fn pending(&mut self, queue: &QueueSpec, instance: &str) -> Result<Vec<Entry>, QueueError> {
        match self {
            Self::Memory(memory) => memory.pending(queue, instance).await,
            Self::Redis(redis) => redis.pending(queue, instance).await,
        }
    }

    async fn reclaim(&mut self, queue: &QueueSpec, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        match self {
            Self::Memory(memory) => memory.reclaim(queue, settlements).await,
            Self::Redis(redis) => redis.reclaim(queue, settlements).await,
        }
    }

    async fn tidy(&mut self, queue: &QueueSpec, leaving: Option<&str>) -> Result<(), QueueError> {
        match self {
            Self::Memory(memory) => memory.tidy(queue, leaving).await,
            Self::Redis(redis) => redis.tidy(queue, leaving).await,
        }
    }
}
