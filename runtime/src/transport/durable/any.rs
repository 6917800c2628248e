//! The queues of whichever transport it is.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{EnqueueError, QueueError},
    transport::{
        any::AnyTransport,
        durable::{
            contract::{Durable, Heartbeat, Keeper, Overdue, QueueSpec, Reader, Take, Taken, WakeReader},
            look::{Dead, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement},
        },
        memory::queues::{MemoryKeeper, MemoryReader},
        redis::queues::{RedisKeeper, RedisReader},
    },
};

/// Takes tasks for one instance.
#[derive(Debug)]
pub(crate) enum AnyReader {
    Memory(MemoryReader),
    Redis(RedisReader),
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

    fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> AnyReader {
        match self {
            Self::Memory(memory) => AnyReader::Memory(memory.reader(queue, instance)),
            Self::Redis(redis) => AnyReader::Redis(redis.reader(queue, instance)),
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

    async fn wait(&mut self, longest: Duration) -> Result<Vec<Entry>, QueueError> {
        match self {
            Self::Memory(memory) => memory.wait(longest).await,
            Self::Redis(redis) => redis.wait(longest).await,
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

    async fn overdue(&mut self, queue: &QueueSpec, limit: usize) -> Result<Overdue, QueueError> {
        match self {
            Self::Memory(memory) => memory.overdue(queue, limit).await,
            Self::Redis(redis) => redis.overdue(queue, limit).await,
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
