//! Where queues live: on one server all of them together, on a cluster each on the node that has its slot.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::chain,
    time::deadline_after,
    transport::{
        durable::task::{NewTask, QueueName, Settlement, Unique, Verdict},
        redis::{
            cluster::slot,
            connector::Connector,
            line::lock,
            queues::{
                connection::{Context, Shared},
                failure::Failure,
            },
            topology::Endpoint,
        },
    },
};

/// For so long a follow-up in another place is added once.
const FOLLOWED: Duration = Duration::from_secs(60 * 60);

/// The connections that a bus shares for its queues. On one server that is one; on a cluster one for each node that has a queue.
pub(super) struct Homes {
    pub(super) context: Arc<Context>,
    by_node: Mutex<HashMap<Option<Endpoint>, Arc<Shared>>>,
    /// Parts of queues, by their streams, that their queues are known to have been told of.
    pub(super) parts: Mutex<HashSet<String>>,
}

impl Homes {
    pub(super) fn new(context: Context) -> Self {
        let (by_node, parts) = Default::default();
        Self { context: Arc::new(context), by_node, parts }
    }

    pub(super) fn of(&self, queue: &QueueName) -> Home<'_> {
        Home { homes: self, slot: self.context.slot(queue) }
    }

    pub(super) fn close(&self) {
        lock(&self.by_node).values().for_each(|shared| shared.close());
    }

    /// The connection to a node, or to the only server. One to a node that has left the map is given up when there is a new one.
    pub(super) fn shared(&self, node: Option<Endpoint>) -> Arc<Shared> {
        let mut by_node = lock(&self.by_node);
        if let Some(shared) = by_node.get(&node) {
            return Arc::clone(shared);
        }
        let context = match (&node, self.context.connector.cluster()) {
            (Some(node), Some(cluster)) => {
                let slots = cluster.changes();
                let slots = slots.borrow();
                let present = slots.nodes();
                by_node.retain(|known, _| known.as_ref().is_some_and(|known| present.contains(&known)));
                Arc::new(self.context.at_node(node.clone()))
            }
            _ => Arc::clone(&self.context),
        };
        let shared = Arc::new(Shared::new(context));
        by_node.insert(node, Arc::clone(&shared));
        shared
    }

    /// Tasks by where they go, each with its place among them.
    pub(super) fn apart(&self, tasks: Vec<NewTask>) -> Vec<(Home<'_>, Vec<usize>, Vec<NewTask>)> {
        let mut apart: Vec<(Home<'_>, Vec<usize>, Vec<NewTask>)> = Vec::new();
        for (at, task) in tasks.into_iter().enumerate() {
            let home = self.of(&task.queue);
            match apart.iter_mut().find(|(found, ..)| found.slot == home.slot) {
                Some((_, places, tasks)) => {
                    places.push(at);
                    tasks.push(task);
                }
                None => apart.push((home, vec![at], vec![task])),
            }
        }
        apart
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

/// Where a queue lives: on the only server, or with whoever has its slot.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) homes: &'a Homes,
    slot: u16,
}

impl Home<'_> {
    /// Sends commands together, within the command timeout: an answer for each, errors of the server among them. A script that the server does
    /// not know is sent again with its text.
    ///
    /// # Cancel safety
    ///
    /// Once it was polled, the commands may be carried out or not.
    pub(super) async fn ask_all(&self, commands: Pipeline) -> Result<Vec<Value>, Failure> {
        let Context { connector, settings, life, .. } = &*self.homes.context;
        if let Some(reason) = life.ended() {
            return Err(Failure::Closed(reason.to_owned()));
        }
        let deadline = Instant::now() + settings.command_timeout;
        let mut answers = self.ask_until(deadline, &commands).await?;
        if connector.cluster().is_some() {
            self.ask_again(deadline, &commands, &mut answers).await?;
        }
        Ok(answers)
    }

    pub(super) async fn ask(&self, command: Cmd) -> Result<Value, Failure> {
        let mut alone = Pipeline::with_capacity(1);
        alone.add_command(command);
        let mut answers = self.ask_all(alone).await?;
        Failure::check(answers.pop().unwrap_or_default())
    }

    pub(super) async fn ask_until(&self, deadline: Instant, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        self.shared(deadline).await?.ask_until(deadline, commands).await
    }

    /// The connection to whoever has the slot, once there is one: another node may get it meanwhile.
    async fn shared(&self, deadline: Instant) -> Result<Arc<Shared>, Failure> {
        let Self { homes, slot } = *self;
        let Some(cluster) = homes.context.connector.cluster() else { return Ok(homes.shared(None)) };
        let mut slots = cluster.changes();
        loop {
            let owner = slots.borrow().owner(slot).cloned();
            let changed = slots.wait_for(|slots| slots.owner(slot) != owner.as_ref());
            let Some(node) = &owner else {
                cluster.outdated();
                if timeout_at(deadline, changed).await.is_err() {
                    return Err(Failure::NotConnected(format!("no node of the cluster has slot {slot}")));
                }
                continue;
            };
            let shared = homes.shared(Some(node.clone()));
            tokio::select! {
                biased;
                ready = shared.ready(deadline) => return ready.map(|()| shared),
                _ = changed => {}
            }
        }
    }
}

impl Context {
    /// Where a queue lives; nothing is looked up where there is no cluster.
    pub(super) fn slot(&self, queue: &QueueName) -> u16 {
        if self.connector.cluster().is_some() { slot(queue.base().as_bytes()) } else { 0 }
    }

    /// The node that has a queue, as far as it is known; `None` where there is only one server.
    pub(super) async fn node(&self, queue: &QueueName) -> Result<Option<Endpoint>, Failure> {
        let Some(cluster) = self.connector.cluster() else { return Ok(None) };
        let slots = cluster.slots(deadline_after(self.settings.command_timeout)).await;
        let slots = slots.map_err(|error| Failure::NotConnected(chain(&error)))?;
        let slot = self.slot(queue);
        let Some(node) = slots.owner(slot) else {
            cluster.outdated();
            return Err(Failure::NotConnected(format!("no node of the cluster has slot {slot}")));
        };
        Ok(Some(node.clone()))
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
