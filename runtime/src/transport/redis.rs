//! The transport on a Redis server: one connection for subscriptions, one for commands. Only this folder knows Redis.
//!
//! | room | holds |
//! |--|--|
//! | `address`, `topology`, `login`, `settings` | where the server is, how to sign in, what the connections need of the configuration |
//! | `connector`, `retry` | which server a connection goes to; the pauses between attempts |
//! | `sentinels`, `followed` | which server is the master; a connection to it, which fails when it is the master no more |
//! | `cluster` | which node of a cluster has which slot |
//! | `door`, `race`, `tls`, `stream` | the way into a server, at whichever of its addresses answers first, encrypted or not |
//! | `capabilities`, `access`, `words` | what the greeting says of the server; what its access rules refuse; its errors without quotations |
//! | `wire`, `resp` | the buffers of a connection; RESP3 in the read buffer |
//! | `subscriber`, `live`, `session` | the connection for subscriptions: made anew when it is lost; its tokio task; its protocol without a socket |
//! | `shared` | what that tokio task shares with its callers |
//! | `shards` | on a cluster: connections for shard channels, each on the node that has its slot |
//! | `commands`, `pipeline`, `line` | a connection for commands: made anew when it is lost; its tokio task; commands of many callers, answered in order |
//! | `answer`, `publishing`, `asking` | the way of one answer to who awaits it; one message on its way; what is asked there |
//! | `host` | one tokio task for both connections of a bus |
//! | `scripted`, `script` | what goes as a script on that connection: claims and small atomic batches; scripts, and what EVALSHA calls them |
//! | `nodes` | on a cluster: connections for commands that belong to a slot, each on the node that has it |
//! | `queues/` | queues: streams, and scripts that make each step one |
//! | `admin`, `transactions`, `client` | health checks and large atomic batches, on connections of the `redis` crate |
//!
//! It uses its neighbours in `transport` except `memory`, and the floors below. No type of the `redis` crate is in the public interface.

pub(crate) mod access;
pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod answer;
pub(crate) mod asking;
pub(crate) mod capabilities;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod commands;
pub(crate) mod connector;
pub(crate) mod door;
pub(crate) mod followed;
pub(crate) mod host;
pub(crate) mod line;
pub(crate) mod live;
pub(crate) mod login;
pub(crate) mod nodes;
pub(crate) mod pipeline;
pub(crate) mod publishing;
pub(crate) mod queues;
pub(crate) mod race;
pub(crate) mod resp;
pub(crate) mod retry;
pub(crate) mod script;
pub(crate) mod scripted;
pub(crate) mod sentinels;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod shards;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod subscriber;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "redis/no_tls.rs"]
pub(crate) mod tls;
pub(crate) mod topology;
pub(crate) mod transactions;
pub(crate) mod wire;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    error::{BatchError, ConnectError, EnqueueError, PublishError, QueueError, SubscribeError},
    transport::{
        contract::{Attachment, Broadcast, Claim, Lined, Link, Name, Parcel, Published, Reach, Wanted},
        durable::{
            contract::{Durable, QueueSpec, Together},
            course::{Asker, Cancelling, Known, Note, Page, Progress, Seen},
            look::{Dead, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, NewTask, OnceKey, QueueName, Settled, Settlement, TaskState},
        },
        events::Events,
        health::{Health, HealthError},
        inbox::Inbox,
        life::Life,
        redis::{
            access::rule_for_names,
            admin::{Uses, health},
            commands::Commands,
            connector::Connector,
            host::Host,
            nodes::Nodes,
            publishing::Publishing,
            queues::{RedisKeeper, RedisReader, handle::Queues},
            scripted::Scripted,
            settings::Settings,
            shards::Shards,
            shared::Owner,
            subscriber::{Observer, Subscriber},
            transactions::{Transaction, Transactions},
        },
        status::{NameKind, Status, SubscriptionSnapshot},
    },
};

/// For so long an answer tries the node that has the slot of its channel, before it takes the way over any node: a slot that moves is found within a third of it,
/// and a busy server answers in less.
const ANSWERS: Duration = Duration::from_millis(300);

/// The only handle to the connections: dropping it ends their tokio tasks and every inbox.
pub(crate) struct Redis {
    commands: Commands,
    /// Where the server is a cluster: for what belongs to a slot.
    nodes: Option<Nodes>,
    subscriber: Subscriber,
    /// On a cluster: shard channels, each where its slot is.
    shards: Option<Shards>,
    transactions: Transactions,
    queues: Queues,
    /// For subscriptions that get a connection of their own.
    connector: Connector,
    settings: Arc<Settings>,
    events: Arc<Events>,
    /// Ends with the shared connection for subscriptions.
    life: Arc<Life>,
    /// Looks at subscriptions that have a connection of their own.
    further: Mutex<Vec<Observer>>,
}

impl Redis {
    /// Makes both connections, within the connect timeout.
    ///
    /// # Errors
    ///
    /// When the URL cannot be understood, or the server cannot be reached, refuses the credentials, is no Redis or a replica.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(crate) async fn connect(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let connector = Connector::new(url, config)?;
        let settings = Arc::new(Settings::new(config, connector.user()));
        let events = Events::new(Instant::now());
        let life = Arc::new(Life::default());
        let host = Host::start();
        let (commands, subscriber) = tokio::try_join!(
            Commands::start(connector.clone(), Arc::clone(&settings), Arc::clone(&life), Arc::clone(&host)),
            Subscriber::start(
                connector.clone(),
                Arc::clone(&settings),
                Arc::clone(&events),
                Owner::Bus(Arc::clone(&life)),
                &host,
            ),
        )?;
        // What has a slot is not on a node that is given as one server, but for a part of it.
        let whole = if subscriber.is_on_cluster() { connector.whole_cluster() } else { connector.clone() };
        let shards = Shards::start(&whole, &settings, &events, &life);
        let nodes = Nodes::new(&whole, &settings, &life);
        let further = Mutex::default();
        let transactions = Transactions::default();
        let queues = Queues::new(connector.clone(), Arc::clone(&settings), Arc::clone(&life));
        Ok(Self {
            commands,
            nodes,
            subscriber,
            shards,
            transactions,
            queues,
            connector,
            settings,
            events,
            life,
            further,
        })
    }
}

impl Redis {
    fn further(&self) -> MutexGuard<'_, Vec<Observer>> {
        let mut further = self.further.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections that are gone are removed here, so that the list does not grow.
        further.retain(|look| look().is_some());
        further
    }

    /// Publishes on the shard channel, on the node that has its slot; on the channel too, where that is what the parcel asks for.
    async fn publish_by_slot(&self, nodes: &Nodes, mut parcel: Parcel) -> Published {
        self.life.check(parcel.template)?;
        if parcel.reach == Reach::ShardChannel {
            return nodes.publish(&parcel).await;
        }
        parcel.reach = Reach::ShardChannel;
        if let Ok(published @ Ok(Some(1..))) = tokio::time::timeout(ANSWERS, nodes.offer(&parcel)).await {
            return published;
        }
        // It is another program's, or its shard channel is on its way to another node, or that node is gone, or stands still. A second answer harms nobody.
        parcel.reach = Reach::Channel;
        self.commands.publish(parcel).await
    }
}

impl Broadcast for Redis {
    fn publish(&self, parcel: Parcel) -> impl Future<Output = Published> + Send {
        match (&self.nodes, parcel.reach) {
            (Some(nodes), Reach::ShardChannel | Reach::ShardChannelFirst) => {
                Publishing::hindered(Box::pin(self.publish_by_slot(nodes, parcel)))
            }
            _ => self.commands.publish(parcel),
        }
    }

    async fn publish_all(&self, parcels: Vec<Parcel>, lined: Option<Lined>) -> Vec<Published> {
        if self.life.ended().is_some() {
            return parcels.iter().map(|parcel| self.life.check(parcel.template).map(|()| None)).collect();
        }
        match &self.nodes {
            Some(nodes) if parcels.iter().any(|parcel| parcel.reach == Reach::ShardChannel) => {
                nodes.publish_all(&self.commands, parcels, lined).await
            }
            _ => self.commands.publish_all(&parcels, lined).await,
        }
    }

    async fn publish_atomically(&self, parcels: Vec<Parcel>) -> Result<Vec<Option<u64>>, PublishError> {
        let Some(first) = parcels.first() else { return Ok(Vec::new()) };
        self.life.check(first.template)?;
        let deadline = tokio::time::Instant::now() + self.settings.command_timeout;
        self.commands.check_sizes(deadline, &parcels).await?;
        if let Scripted::Published(receivers) = self.commands.publish_together(deadline, &parcels).await? {
            return Ok(receivers);
        }
        let (connector, settings, template) = (self.connector.clone(), Arc::clone(&self.settings), first.template);
        let transaction = Transaction { connector, settings, deadline, template, parcels };
        let published = self.transactions.publish(transaction).await;
        if self.life.ended().is_some() {
            self.transactions.close();
        }
        published
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        let wanted: Vec<Name> = names.iter().map(|wanted| wanted.name.clone()).collect();
        let is_sharded = wanted.iter().any(|name| name.kind == NameKind::ShardChannel);
        let attached = match &self.shards {
            // Only subscriptions of the program's block, and those have no shard channels.
            _ if inbox.blocks() => self.attach_alone(inbox, names).await,
            Some(shards) if is_sharded => shards.attach(&self.subscriber, inbox, names).await,
            _ => self.subscriber.attach(inbox, names).await,
        };
        attached.map_err(|error| match error {
            // The server refuses one name at a time; what is missing is told of all.
            SubscribeError::Refused { channel, reason, .. } => {
                let rule = rule_for_names(&self.settings, &reason, wanted.iter());
                SubscribeError::Refused { channel, reason, rule }
            }
            other => other,
        })
    }

    fn has_slots(&self) -> bool {
        self.nodes.is_some()
    }

    async fn claim(&self, claim: Claim) -> Result<bool, PublishError> {
        self.life.check(claim.template)?;
        match &self.nodes {
            Some(nodes) => nodes.claim(&claim).await,
            None => self.commands.claim(&claim).await,
        }
    }
}

impl Redis {
    async fn attach_alone(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        let closed = |reason: &str| SubscribeError::Closed { reason: reason.to_owned() };
        if let Some(reason) = self.life.ended() {
            return Err(closed(reason));
        }
        // It stops reading when it is full, and must not stop anybody else's messages.
        let events = self.events.further(Instant::now());
        let (connector, settings, life) = (self.connector.clone(), Arc::clone(&self.settings), Arc::clone(&self.life));
        let (attachment, observer) = tokio::select! {
            reason = self.life.over() => return Err(closed(reason)),
            attached = Subscriber::attach_alone(connector, settings, events, life, inbox, names) => attached?,
        };
        self.further().push(observer);
        Ok(attachment)
    }
}

impl Link for Redis {
    fn status(&self) -> Status {
        let of_shards = || self.shards.as_ref().map_or(Status::Connected, Shards::status);
        let lost = || self.commands.lost().or_else(|| self.nodes.as_ref()?.lost());
        let reconnecting = |(cause, server)| Status::Reconnecting { cause, server };
        let of_commands = || lost().map_or(Status::Connected, reconnecting);
        match self.subscriber.status() {
            Status::Connected => {
                Some(of_shards()).filter(|status| *status != Status::Connected).unwrap_or_else(of_commands)
            }
            other => other,
        }
    }

    fn is_cluster(&self) -> bool {
        self.subscriber.is_on_cluster()
    }

    fn events(&self) -> &Events {
        &self.events
    }

    fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        let mut snapshots = match &self.shards {
            Some(shards) => shards.snapshots(&self.subscriber),
            None => self.subscriber.snapshots(),
        };
        snapshots.extend(self.further().iter().filter_map(|look| look()).flatten());
        snapshots
    }

    fn close(&self, reason: &str) {
        let had_ended = self.life.ended().is_some();
        self.subscriber.close(reason);
        self.shards.iter().for_each(|shards| shards.close(reason));
        self.commands.close(reason);
        self.nodes.iter().for_each(|nodes| nodes.close(reason));
        self.transactions.close();
        self.queues.close();
        if !had_ended {
            self.events.closed(reason, Instant::now());
        }
    }

    async fn health(&self) -> Result<Health, HealthError> {
        let uses = if self.queues.are_used() { Uses::Queues } else { Uses::Messages };
        health(&self.connector, &self.settings, self.status(), uses).await
    }
}

impl Durable for Redis {
    type Reader = RedisReader;
    type Keeper = RedisKeeper;

    async fn enqueue(&self, tasks: Vec<NewTask>, atomic: bool) -> Vec<Result<Enqueued, EnqueueError>> {
        self.queues.enqueue(&self.commands, tasks, atomic).await
    }

    async fn enqueue_and_publish(&self, tasks: Vec<NewTask>, parcels: Vec<Parcel>) -> Result<Together, BatchError> {
        let deadline = tokio::time::Instant::now() + self.settings.command_timeout;
        self.commands.check_sizes(deadline, &parcels).await?;
        self.queues.enqueue_and_publish(tasks, &parcels).await
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<(), QueueError> {
        self.queues.declare(queue).await
    }

    async fn settle(&self, queue: &QueueName, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        self.queues.settle(queue, settlements).await
    }

    async fn begin(&self, queue: &QueueName, key: &OnceKey, id: &str, token: u64) -> Result<Begun, QueueError> {
        self.queues.begin(queue, key, id, token).await
    }

    fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> RedisReader {
        self.queues.reader(queue, instance)
    }

    fn expect_use(&self) {
        self.queues.expect_use();
    }

    fn keeper(&self) -> RedisKeeper {
        self.queues.keeper()
    }

    async fn counts(&self, queue: &QueueSpec) -> Result<QueueCounts, QueueError> {
        self.queues.counts(queue).await
    }

    async fn running(&self, queue: &QueueSpec, limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        self.queues.running(queue, limit).await
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<Worker>, QueueError> {
        self.queues.workers(queue).await
    }

    async fn dead(&self, queue: &QueueName, before: Option<&str>, limit: usize) -> Result<Vec<Dead>, QueueError> {
        self.queues.dead(queue, before, limit).await
    }

    async fn mend(&self, queue: &QueueName, entries: &[String], mend: Mend) -> Result<u64, QueueError> {
        self.queues.mend(queue, entries, &mend).await
    }

    async fn unpark(&self, queue: &QueueName, name: &str, version: u32) -> Result<u64, QueueError> {
        self.queues.unpark(queue, name, version).await
    }

    async fn note(&self, queue: &QueueName, instance: &str, notes: Vec<Note>) -> Result<Vec<Settled>, QueueError> {
        self.queues.note(queue, instance, &notes).await
    }

    async fn progress(&self, queue: &QueueName, id: &str) -> Result<Option<Progress>, QueueError> {
        self.queues.progress(queue, id).await
    }

    async fn ask(
        &self,
        queue: &QueueName,
        id: &str,
        asker: Option<Asker>,
        until: tokio::time::Instant,
    ) -> Result<Known, QueueError> {
        self.queues.ask(queue, id, asker.as_ref(), until).await
    }

    async fn forget(&self, queue: &QueueName, id: &str, asker: &Asker) -> Result<(), QueueError> {
        self.queues.forget(queue, id, asker).await
    }

    async fn find(&self, queue: &QueueSpec, id: &str) -> Result<Option<Seen>, QueueError> {
        self.queues.find(queue, id).await
    }

    async fn list(
        &self,
        queue: &QueueSpec,
        state: TaskState,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page, QueueError> {
        self.queues.list(queue, state, from, limit).await
    }

    async fn cancel(&self, queue: &QueueSpec, id: &str) -> Result<Cancelling, QueueError> {
        self.queues.cancel(queue, id).await
    }

    async fn pause(&self, queue: &QueueName, pauses: bool) -> Result<bool, QueueError> {
        self.queues.pause(queue, pauses).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, QueueError> {
        self.queues.is_paused(queue).await
    }

    async fn watch(&self, queue: &QueueName) -> Result<(), QueueError> {
        self.queues.watch(queue).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redis").field("subscriber", &self.subscriber).finish_non_exhaustive()
    }
}
