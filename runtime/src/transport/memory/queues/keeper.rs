//! Keeps leases.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use crate::{
    error::QueueError,
    transport::{
        durable::{
            contract::{Heartbeat, Keeper, Overdue, QueueSpec},
            task::{Entry, EntryAt, QueueName, Settled, Settlement},
        },
        memory::queues::{
            access::{Access, crashed, lost},
            store::{Crashed, Store},
        },
    },
};

/// Keeps the leases of one process.
///
/// Whoever has connected again must not take tasks from others at once, whose leases are over only because nobody could renew them. So after its
/// connection was cut the next [`keep`](Keeper::keep) of each queue says so, and until then nothing is reclaimed.
pub(crate) struct MemoryKeeper {
    access: Access,
    /// Of how many cuts each queue knows.
    told: HashMap<QueueName, u64>,
    /// Of this process: where one of them has crashed, nothing of it reaches the broker.
    instances: Vec<Arc<str>>,
}

impl MemoryKeeper {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, told: HashMap::new(), instances: Vec::new() }
    }

    /// Whether the queue knows that the connection was cut, if it was.
    fn check(&mut self, queue: &QueueName) -> Result<(), QueueError> {
        let cuts = self.access.broker.cuts();
        if *self.told.entry(queue.clone()).or_insert(cuts) == cuts { Ok(()) } else { Err(lost(queue.template)) }
    }

    async fn ask<T: Send + 'static>(
        &self,
        queue: &QueueName,
        question: impl FnOnce(&mut Store, u64) -> Result<T, Crashed> + Send + 'static,
    ) -> Result<T, QueueError> {
        let instances = self.instances.clone();
        let lives = move |store: &mut Store, now| {
            instances.iter().try_for_each(|instance| store.lives(Some(instance)))?;
            question(store, now)
        };
        let answer = self.access.ask(lives).await;
        answer.map_err(|unanswered| unanswered.of_queue(queue.template))?.map_err(|Crashed| crashed(queue.template))
    }
}

impl Keeper for MemoryKeeper {
    async fn keep(
        &mut self,
        queue: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
    ) -> Result<Heartbeat, QueueError> {
        if !self.instances.iter().any(|own| **own == *instance) {
            self.instances.push(instance.into());
        }
        let (name, instance, about, held) = (queue.clone(), instance.to_owned(), about.to_owned(), held.to_vec());
        let lost = self.ask(queue, move |store, now| store.keep(&name, &instance, &about, &held, now)).await?;
        let is_anew = self.check(queue).is_err();
        if is_anew {
            self.told.insert(queue.clone(), self.access.broker.cuts());
        }
        Ok(Heartbeat { lost, is_anew })
    }

    async fn overdue(&mut self, queue: &QueueSpec, patience: Duration, limit: usize) -> Result<Overdue, QueueError> {
        self.check(&queue.name)?;
        let (name, lease) = (queue.name.clone(), queue.lease);
        self.ask(&queue.name, move |store, now| Ok(store.queue(&name).overdue(lease, patience, limit, now))).await
    }

    async fn pending(&mut self, queue: &QueueSpec, instance: &str) -> Result<Vec<Entry>, QueueError> {
        let (name, instance) = (queue.name.clone(), instance.to_owned());
        self.ask(&queue.name, move |store, _| Ok(store.queue(&name).pending(&instance))).await
    }

    async fn reclaim(&mut self, queue: &QueueSpec, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        self.check(&queue.name)?;
        let (name, lease) = (queue.name.clone(), queue.lease);
        self.ask(&queue.name, move |store, now| store.settle(&name, settlements, Some(lease), now)).await
    }

    async fn tidy(&mut self, queue: &QueueSpec, leaving: Option<&str>) -> Result<(), QueueError> {
        let spec = queue.clone();
        let leaving = leaving.map(str::to_owned);
        let tidy = move |store: &mut Store, now| {
            let queue = store.queue(&spec.name);
            queue.bound(&spec);
            queue.tidy(spec.lease, leaving.as_deref(), now);
            Ok(())
        };
        self.ask(&queue.name, tidy).await
    }
}

impl fmt::Debug for MemoryKeeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryKeeper").field("instances", &self.instances).finish_non_exhaustive()
    }
}
