//! The queues of whichever transport it is. All of it is boxed, for the reason that `transport::any` gives.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
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

impl AnyTransport {
    pub(crate) fn enqueue(
        &self,
        tasks: Vec<NewTask>,
        atomic: bool,
    ) -> BoxFuture<'_, Vec<Result<Enqueued, EnqueueError>>> {
        match self {
            Self::Memory(memory) => memory.enqueue(tasks, atomic).boxed(),
            Self::Redis(redis) => redis.enqueue(tasks, atomic).boxed(),
        }
    }

    pub(crate) fn enqueue_and_publish(
        &self,
        tasks: Vec<NewTask>,
        parcels: Vec<Parcel>,
    ) -> BoxFuture<'_, Result<Together, BatchError>> {
        match self {
            Self::Memory(memory) => memory.enqueue_and_publish(tasks, parcels).boxed(),
            Self::Redis(redis) => redis.enqueue_and_publish(tasks, parcels).boxed(),
        }
    }

    pub(crate) fn declare<'a>(&'a self, queue: &'a QueueSpec) -> BoxFuture<'a, Result<(), QueueError>> {
        match self {
            Self::Memory(memory) => memory.declare(queue).boxed(),
            Self::Redis(redis) => redis.declare(queue).boxed(),
        }
    }

    pub(crate) fn settle<'a>(
        &'a self,
        queue: &'a QueueName,
        settlements: Vec<Settlement>,
    ) -> BoxFuture<'a, Result<Vec<Settled>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.settle(queue, settlements).boxed(),
            Self::Redis(redis) => redis.settle(queue, settlements).boxed(),
        }
    }

    pub(crate) fn begin<'a>(
        &'a self,
        queue: &'a QueueName,
        key: &'a OnceKey,
        id: &'a str,
        token: u64,
    ) -> BoxFuture<'a, Result<Begun, QueueError>> {
        match self {
            Self::Memory(memory) => memory.begin(queue, key, id, token).boxed(),
            Self::Redis(redis) => redis.begin(queue, key, id, token).boxed(),
        }
    }

    pub(crate) fn counts<'a>(&'a self, queue: &'a QueueSpec) -> BoxFuture<'a, Result<QueueCounts, QueueError>> {
        match self {
            Self::Memory(memory) => memory.counts(queue).boxed(),
            Self::Redis(redis) => redis.counts(queue).boxed(),
        }
    }

    pub(crate) fn running<'a>(
        &'a self,
        queue: &'a QueueSpec,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunningTask>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.running(queue, limit).boxed(),
            Self::Redis(redis) => redis.running(queue, limit).boxed(),
        }
    }

    pub(crate) fn workers<'a>(&'a self, queue: &'a QueueName) -> BoxFuture<'a, Result<Vec<Worker>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.workers(queue).boxed(),
            Self::Redis(redis) => redis.workers(queue).boxed(),
        }
    }

    pub(crate) fn dead<'a>(
        &'a self,
        queue: &'a QueueName,
        before: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Dead>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.dead(queue, before, limit).boxed(),
            Self::Redis(redis) => redis.dead(queue, before, limit).boxed(),
        }
    }

    pub(crate) fn mend<'a>(
        &'a self,
        queue: &'a QueueName,
        entries: &'a [String],
        mend: Mend,
    ) -> BoxFuture<'a, Result<u64, QueueError>> {
        match self {
            Self::Memory(memory) => memory.mend(queue, entries, mend).boxed(),
            Self::Redis(redis) => redis.mend(queue, entries, mend).boxed(),
        }
    }

    pub(crate) fn unpark<'a>(
        &'a self,
        queue: &'a QueueName,
        name: &'a str,
        version: u32,
    ) -> BoxFuture<'a, Result<u64, QueueError>> {
        match self {
            Self::Memory(memory) => memory.unpark(queue, name, version).boxed(),
            Self::Redis(redis) => redis.unpark(queue, name, version).boxed(),
        }
    }

    pub(crate) fn note<'a>(
        &'a self,
        queue: &'a QueueName,
        instance: &'a str,
        notes: Vec<Note>,
    ) -> BoxFuture<'a, Result<Vec<Settled>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.note(queue, instance, notes).boxed(),
            Self::Redis(redis) => redis.note(queue, instance, notes).boxed(),
        }
    }

    pub(crate) fn progress<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Progress>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.progress(queue, id).boxed(),
            Self::Redis(redis) => redis.progress(queue, id).boxed(),
        }
    }

    pub(crate) fn ask<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a str,
        asker: Option<Asker>,
        until: Instant,
    ) -> BoxFuture<'a, Result<Known, QueueError>> {
        match self {
            Self::Memory(memory) => memory.ask(queue, id, asker, until).boxed(),
            Self::Redis(redis) => redis.ask(queue, id, asker, until).boxed(),
        }
    }

    pub(crate) fn forget<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a str,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        match self {
            Self::Memory(memory) => memory.forget(queue, id, asker).boxed(),
            Self::Redis(redis) => redis.forget(queue, id, asker).boxed(),
        }
    }

    pub(crate) fn find<'a>(
        &'a self,
        queue: &'a QueueSpec,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Seen>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.find(queue, id).boxed(),
            Self::Redis(redis) => redis.find(queue, id).boxed(),
        }
    }

    pub(crate) fn list<'a>(
        &'a self,
        queue: &'a QueueSpec,
        state: TaskState,
        from: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, QueueError>> {
        match self {
            Self::Memory(memory) => memory.list(queue, state, from, limit).boxed(),
            Self::Redis(redis) => redis.list(queue, state, from, limit).boxed(),
        }
    }

    pub(crate) fn cancel<'a>(
        &'a self,
        queue: &'a QueueSpec,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Cancelling, QueueError>> {
        match self {
            Self::Memory(memory) => memory.cancel(queue, id).boxed(),
            Self::Redis(redis) => redis.cancel(queue, id).boxed(),
        }
    }

    pub(crate) fn pause<'a>(&'a self, queue: &'a QueueName, pauses: bool) -> BoxFuture<'a, Result<bool, QueueError>> {
        match self {
            Self::Memory(memory) => memory.pause(queue, pauses).boxed(),
            Self::Redis(redis) => redis.pause(queue, pauses).boxed(),
        }
    }

    pub(crate) fn is_paused<'a>(&'a self, queue: &'a QueueName) -> BoxFuture<'a, Result<bool, QueueError>> {
        match self {
            Self::Memory(memory) => memory.is_paused(queue).boxed(),
            Self::Redis(redis) => redis.is_paused(queue).boxed(),
        }
    }

    pub(crate) fn watch<'a>(&'a self, queue: &'a QueueName) -> BoxFuture<'a, Result<(), QueueError>> {
        match self {
            Self::Memory(memory) => memory.watch(queue).boxed(),
            Self::Redis(redis) => redis.watch(queue).boxed(),
        }
    }

    pub(crate) fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> AnyReader {
        match self {
            Self::Memory(memory) => AnyReader::Memory(memory.reader(queue, instance)),
            Self::Redis(redis) => AnyReader::Redis(Box::new(redis.reader(queue, instance))),
        }
    }

    pub(crate) fn expect_use(&self) {
        match self {
            Self::Memory(memory) => memory.expect_use(),
            Self::Redis(redis) => redis.expect_use(),
        }
    }

    pub(crate) fn keeper(&self) -> AnyKeeper {
        match self {
            Self::Memory(memory) => AnyKeeper::Memory(memory.keeper()),
            Self::Redis(redis) => AnyKeeper::Redis(redis.keeper()),
        }
    }
}

impl AnyReader {
    pub(crate) fn take(&mut self, take: Take) -> BoxFuture<'_, Result<Taken, QueueError>> {
        match self {
            Self::Memory(memory) => memory.take(take).boxed(),
            Self::Redis(redis) => redis.take(take).boxed(),
        }
    }

    pub(crate) fn ahead(&self) -> Option<Arc<Ahead>> {
        match self {
            Self::Memory(memory) => memory.ahead(),
            Self::Redis(redis) => redis.ahead(),
        }
    }

    pub(crate) fn next(&mut self) -> BoxFuture<'_, Result<Taken, QueueError>> {
        match self {
            Self::Memory(memory) => memory.next().boxed(),
            Self::Redis(redis) => redis.next().boxed(),
        }
    }

    pub(crate) fn wait(&mut self, longest: Duration) -> BoxFuture<'_, Result<Waited, QueueError>> {
        match self {
            Self::Memory(memory) => memory.wait(longest).boxed(),
            Self::Redis(redis) => redis.wait(longest).boxed(),
        }
    }

    pub(crate) fn rest(&mut self, longest: Duration) -> BoxFuture<'_, Result<(), QueueError>> {
        match self {
            Self::Memory(memory) => memory.rest(longest).boxed(),
            Self::Redis(redis) => redis.rest(longest).boxed(),
        }
    }

    pub(crate) fn waker(&self) -> Arc<dyn WakeReader> {
        match self {
            Self::Memory(memory) => memory.waker(),
            Self::Redis(redis) => redis.waker(),
        }
    }

    pub(crate) fn connections(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.connections(),
            Self::Redis(redis) => redis.connections(),
        }
    }
}

impl AnyKeeper {
    pub(crate) fn keep<'a>(
        &'a mut self,
        queue: &'a QueueName,
        instance: &'a str,
        about: &'a str,
        held: &'a [EntryAt],
    ) -> BoxFuture<'a, Result<Heartbeat, QueueError>> {
        match self {
            Self::Memory(memory) => memory.keep(queue, instance, about, held).boxed(),
            Self::Redis(redis) => redis.keep(queue, instance, about, held).boxed(),
        }
    }

    pub(crate) fn overdue<'a>(
        &'a mut self,
        queue: &'a QueueSpec,
        patience: Duration,
        limit: usize,
    ) -> BoxFuture<'a, Result<Overdue, QueueError>> {
        match self {
            Self::Memory(memory) => memory.overdue(queue, patience, limit).boxed(),
            Self::Redis(redis) => redis.overdue(queue, patience, limit).boxed(),
        }
    }

    pub(crate) fn pending<'a>(
        &'a mut self,
        queue: &'a QueueSpec,
        instance: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Entry>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.pending(queue, instance).boxed(),
            Self::Redis(redis) => redis.pending(queue, instance).boxed(),
        }
    }

    pub(crate) fn reclaim<'a>(
        &'a mut self,
        queue: &'a QueueSpec,
        settlements: Vec<Settlement>,
    ) -> BoxFuture<'a, Result<Vec<Settled>, QueueError>> {
        match self {
            Self::Memory(memory) => memory.reclaim(queue, settlements).boxed(),
            Self::Redis(redis) => redis.reclaim(queue, settlements).boxed(),
        }
    }

    pub(crate) fn tidy<'a>(
        &'a mut self,
        queue: &'a QueueSpec,
        leaving: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        match self {
            Self::Memory(memory) => memory.tidy(queue, leaving).boxed(),
            Self::Redis(redis) => redis.tidy(queue, leaving).boxed(),
        }
    }
}
