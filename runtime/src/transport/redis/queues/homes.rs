//! Where queues live: on one server all of them together, on a cluster each on the node that has its slot.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::transport::{
    durable::task::{NewTask, QueueName, Settlement, Unique, Verdict},
    redis::{
        cluster::slot,
        connector::Connector,
        line::lock,
        queues::connection::{Context, Shared},
        topology::Endpoint,
    },
};

/// For so long a follow-up in another place is added once.
const FOLLOWED: Duration = Duration::from_secs(60 * 60);

/// The connections that a bus shares for its queues. On one server that is one; on a cluster one for each slot that has a queue.
pub(super) struct Homes {
    pub(super) context: Arc<Context>,
    by_slot: Mutex<HashMap<u16, Arc<Shared>>>,
}

impl Homes {
    pub(super) fn new(context: Context) -> Self {
        Self { context: Arc::new(context), by_slot: Mutex::default() }
    }

    pub(super) fn of(&self, queue: &QueueName) -> Arc<Shared> {
        let slot = self.context.slot(queue);
        let mut by_slot = lock(&self.by_slot);
        Arc::clone(by_slot.entry(slot).or_insert_with(|| Arc::new(Shared::new(Arc::new(self.context.at(slot))))))
    }

    pub(super) fn close(&self) {
        lock(&self.by_slot).values().for_each(|shared| shared.close());
    }

    /// Tasks by where they go, each with its place among them.
    pub(super) fn apart(&self, tasks: Vec<NewTask>) -> Vec<(Arc<Shared>, Vec<usize>, Vec<NewTask>)> {
        let mut apart: Vec<(u16, Vec<usize>, Vec<NewTask>)> = Vec::new();
        for (at, task) in tasks.into_iter().enumerate() {
            let slot = self.context.slot(&task.queue);
            match apart.iter_mut().find(|(found, ..)| *found == slot) {
                Some((_, places, tasks)) => {
                    places.push(at);
                    tasks.push(task);
                }
                None => apart.push((slot, vec![at], vec![task])),
            }
        }
        let home = |(_, places, tasks): (u16, Vec<usize>, Vec<NewTask>)| (self.of(&tasks[0].queue), places, tasks);
        apart.into_iter().map(home).collect()
    }

    /// Takes out the follow-ups that the step which settles cannot add, because their queues have other slots. Each gets a deduplication key, unless it
    /// has one: what is settled again, because an answer was lost or its task ran again, adds it once.
    pub(super) fn elsewhere(&self, queue: &QueueName, settlements: &mut [Settlement]) -> Vec<NewTask> {
        if self.context.connector.cluster().is_none() {
            return Vec::new();
        }
        let slot = self.context.slot(queue);
        let mut elsewhere = Vec::new();
        for Settlement { id, verdict, .. } in settlements {
            let Verdict::Done { follow_ups } = verdict else { continue };
            for (number, mut task) in std::mem::take(follow_ups).into_iter().enumerate() {
                if self.context.slot(&task.queue) == slot {
                    follow_ups.push(task);
                    continue;
                }
                let key = || Unique { key: format!("{}:{id}:{number}", queue.base()), window: FOLLOWED };
                task.unique.get_or_insert_with(key);
                // As in the step that settles: follow-ups have to go somewhere.
                task.max_length = None;
                elsewhere.push(task);
            }
        }
        elsewhere
    }
}

impl Context {
    /// Where a queue lives; nothing is looked up where there is no cluster.
    pub(super) fn slot(&self, queue: &QueueName) -> u16 {
        if self.connector.cluster().is_some() { slot(queue.base().as_bytes()) } else { 0 }
    }

    /// The same to whoever has the slot.
    pub(super) fn at(&self, slot: u16) -> Self {
        self.through(self.connector.at_slot(slot))
    }

    /// The same to this node of the cluster.
    pub(super) fn at_node(&self, node: Endpoint) -> Self {
        self.through(self.connector.at_node(node))
    }

    fn through(&self, connector: Connector) -> Self {
        Self {
            connector,
            settings: Arc::clone(&self.settings),
            life: Arc::clone(&self.life),
            is_publishing_refused: Arc::clone(&self.is_publishing_refused),
        }
    }
}
