//! A broker in this process that behaves like Redis's publish/subscribe, with faults that a test can cause.
//!
//! Each bus is a connection with a registry of its own, as on Redis: overlapping subscriptions of one bus share it, and the
//! number of receivers counts connections and patterns, not local subscribers.
//!
//! | room | holds |
//! |--|--|
//! | `broker` | the server's part: who is connected, and whether it is up, stopped or frozen |
//! | `queues` | tasks that wait, leases, dead letters: with rooms of its own |
//! | `connection` | one bus's connection, as the broker sees it |
//!
//! It uses its neighbours in `transport` except `redis`, and the floors below. A publish runs in the publisher's own tokio task; there is no
//! reader.

pub(crate) mod broker;
pub(crate) mod connection;
pub(crate) mod queues;

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{timeout, timeout_at},
};

use crate::{
    config::Config,
    error::{BatchError, ConnectError, EnqueueError, PublishError, QueueError, SubscribeError},
    time::{deadline_after, now},
    transport::{
        contract::{Attachment, Broadcast, Claim, Detach, Lined, Link, Parcel, Published, Wanted},
        durable::{
            contract::{Durable, QueueSpec, Together},
            course::{Asker, Cancelling, Known, Note, Page, Progress, Seen},
            look::{Dead, Mend, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, NewTask, OnceKey, QueueName, Settled, Settlement, TaskState},
        },
        events::Events,
        health::{Health, HealthError},
        inbox::Inbox,
        memory::{
            broker::{Asked, Condition, MemoryBroker, Taken, give_up_after, stopped},
            connection::{Connection, confirm_all},
            queues::{
                access::{Access, Unanswered, crashed},
                keeper::MemoryKeeper,
                reader::MemoryReader,
                store::{Crashed, Message, Store},
            },
        },
        status::{GapCause, Status, SubscriptionSnapshot},
    },
};

/// One bus's connection to a broker.
pub(crate) struct Memory {
    broker: Arc<MemoryBroker>,
    connection: Arc<Connection>,
    /// Ends everything when the server is away for longer than the reconnect policy allows; aborted with the bus.
    _watch: JoinSet<()>,
}

/// How long a publish waits for a service that does not keep up, as the reader of a Redis connection does.
const PATIENCE: Duration = Duration::from_millis(100);

impl Memory {
    /// Connects to the broker of that name, or to a new one of its own where the name is empty.
    pub(crate) fn connect(name: &str, config: &Config) -> Self {
        let broker = if name.is_empty() { MemoryBroker::new() } else { MemoryBroker::named(name) };
        let connection = Arc::new(Connection::new(&broker, config));
        broker.lock().connections.push(Arc::clone(&connection));
        let mut watch = JoinSet::new();
        if let Some(limit) = config.reconnect.give_up_after {
            watch.spawn(give_up_after(limit, Arc::clone(&broker), Arc::clone(&connection)));
        }
        tracing::info!("connected within the process");
        Self { broker, connection, _watch: watch }
    }
}

impl Broadcast for Memory {
    async fn publish(&self, parcel: Parcel) -> Published {
        self.publish_one(self.deadline(), parcel).await
    }

    async fn publish_all(&self, parcels: Vec<Parcel>, lined: Option<Lined>) -> Vec<Published> {
        // One after the other, since one that has to wait must not be overtaken; all of them within one timeout.
        let deadline = self.deadline();
        let mut results = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            results.push(self.publish_one(deadline, parcel).await);
        }
        drop(lined);
        results
    }

    async fn publish_atomically(&self, mut parcels: Vec<Parcel>) -> Result<Vec<Option<u64>>, PublishError> {
        let count = parcels.len();
        let receivers = self.publish_together(self.deadline(), &mut parcels).await?;
        // A broker that was frozen meanwhile did not count.
        Ok(receivers.unwrap_or_else(|| vec![0; count]).into_iter().map(Some).collect())
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        let (attachment, id, attached) = {
            let state = self.broker.lock();
            let mut registry = self.connection.lock();
            let (id, attached) = registry.attach(inbox, names);
            let attachment = Attachment::new(Arc::clone(&self.connection) as Arc<dyn Detach>, id);
            if state.condition == Condition::Up {
                confirm_all(&mut registry);
            }
            (attachment, id, attached)
        };
        let timeout = self.connection.command_timeout;
        match tokio::time::timeout(timeout, attached).await {
            Ok(Ok(result)) => result.map(|()| attachment),
            Ok(Err(_)) => Err(SubscribeError::NotConnected { reason: "the memory broker is gone".to_owned() }),
            Err(_) => {
                let (channel, reason) = self.connection.lock().first_unconfirmed(id).unwrap_or_default();
                Err(SubscribeError::TimedOut { channel, timeout, reason })
            }
        }
    }

    async fn claim(&self, claim: Claim) -> Result<bool, PublishError> {
        let template = claim.template;
        self.connection.life.check(template)?;
        let late = |_| PublishError::TimedOut { template, timeout: self.connection.command_timeout };
        timeout_at(self.deadline(), self.broker.leaves_frozen()).await.map_err(late)?;
        self.broker.claim(claim.key, claim.holds, now()).ok_or_else(|| {
            let reason = "the memory broker is stopped".to_owned();
            PublishError::NotConnected { template, reason }
        })
    }
}

impl Link for Memory {
    fn status(&self) -> Status {
        if self.connection.life.ended().is_some() {
            return Status::Closed;
        }
        match self.broker.lock().condition {
            Condition::Up => Status::Connected,
            Condition::Stopped => Status::Reconnecting { cause: stopped(), server: None },
            Condition::Frozen { since } if since.elapsed() > self.connection.patience => {
                Status::Reconnecting { cause: GapCause::Timeout, server: None }
            }
            Condition::Frozen { .. } => Status::Connected,
        }
    }

    fn events(&self) -> &Events {
        &self.connection.events
    }

    fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        self.connection.lock().snapshots(Instant::now())
    }

    fn close(&self, reason: &str) {
        self.connection.close(&self.broker, reason);
    }

    async fn health(&self) -> Result<Health, HealthError> {
        if self.broker.lock().condition == Condition::Stopped {
            let source = io::Error::new(io::ErrorKind::ConnectionRefused, "the memory broker is stopped");
            return Err(ConnectError::Unreachable { address: "memory".to_owned(), source }.into());
        }
        let timeout = self.connection.command_timeout;
        tokio::time::timeout(timeout, self.ask()).await.map_err(|_| HealthError::TimedOut { timeout })
    }
}

impl Durable for Memory {
    type Reader = MemoryReader;
    type Keeper = MemoryKeeper;

    async fn enqueue(&self, tasks: Vec<NewTask>, atomic: bool) -> Vec<Result<Enqueued, EnqueueError>> {
        let templates: Vec<&'static str> = tasks.iter().map(|task| task.queue.template).collect();
        match self.access().ask(move |store, now| store.enqueue(tasks, atomic, now)).await {
            Ok(results) => results,
            Err(unanswered) => templates.iter().map(|template| Err(unanswered.of_enqueue(template))).collect(),
        }
    }

    async fn enqueue_and_publish(&self, tasks: Vec<NewTask>, parcels: Vec<Parcel>) -> Result<Together, BatchError> {
        let Some(queue) = tasks.first().map(|task| task.queue.template) else { return Ok(Together::default()) };
        let deadline = self.deadline();
        let failed = |unanswered: Unanswered| BatchError::from(unanswered.of_enqueue(queue));
        loop {
            if let Some(reason) = self.connection.life.ended() {
                return Err(failed(Unanswered::Closed(reason.to_owned())));
            }
            let (tasks, count) = (tasks.clone(), parcels.len());
            let messages = parcels.iter().map(|parcel| (parcel.reach, parcel.channel.clone(), parcel.payload.clone()));
            let messages: Vec<Message> = messages.collect();
            let question = move |store: &mut Store, now| store.enqueue_and_publish(tasks, messages, now);
            match self.broker.ask_and_publish(&parcels, question) {
                Ok(Asked::Now((enqueued, (receivers, full)))) => {
                    let enqueued = enqueued?;
                    be_patient_with(full).await;
                    return Ok((enqueued, receivers.into_iter().map(Some).collect()));
                }
                Ok(Asked::Later(answered)) => {
                    let late = |_| failed(Unanswered::Late(self.connection.command_timeout));
                    let answered = timeout_at(deadline, answered).await.map_err(late)?;
                    let enqueued = answered.map_err(|_| failed(Unanswered::Lost))??;
                    // A broker that was frozen meanwhile did not count.
                    return Ok((enqueued, vec![Some(0); count]));
                }
                Ok(Asked::Never) => return Err(failed(Unanswered::Stopped)),
                Err(blocked) => {
                    timeout_at(deadline, self.unblocked(&blocked)).await.map_err(|_| blocked_for_long(&parcels))?;
                }
            }
        }
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<(), QueueError> {
        let spec = queue.clone();
        self.ask_queue(&queue.name, move |store, _| store.declare(&spec)).await
    }

    async fn settle(&self, queue: &QueueName, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        let name = queue.clone();
        self.ask_queue(queue, move |store, now| store.settle(&name, settlements, None, now)).await
    }

    async fn begin(&self, queue: &QueueName, key: &OnceKey, id: &str, token: u64) -> Result<Begun, QueueError> {
        let (name, key, id) = (queue.clone(), key.clone(), id.to_owned());
        self.ask_queue(queue, move |store, now| store.begin(&name, &key, (&id, token), now)).await
    }

    fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> MemoryReader {
        MemoryReader::new(self.access(), queue, instance)
    }

    fn expect_use(&self) {}

    fn keeper(&self) -> MemoryKeeper {
        MemoryKeeper::new(self.access())
    }

    async fn counts(&self, queue: &QueueSpec) -> Result<QueueCounts, QueueError> {
        let (name, parts) = (queue.name.clone(), queue.parts.clone());
        self.ask_queue(&queue.name, move |store, now| Ok(store.queue(&name).counts(&parts, now))).await
    }

    async fn running(&self, queue: &QueueSpec, limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        let name = queue.name.clone();
        self.ask_queue(&queue.name, move |store, now| Ok(store.queue(&name).running(limit, now))).await
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<Worker>, QueueError> {
        let name = queue.clone();
        self.ask_queue(queue, move |store, now| Ok(store.queue(&name).workers(now))).await
    }

    async fn dead(&self, queue: &QueueName, before: Option<&str>, limit: usize) -> Result<Vec<Dead>, QueueError> {
        let (name, before) = (queue.clone(), before.map(str::to_owned));
        self.ask_queue(queue, move |store, _| Ok(store.queue(&name).dead_letters(before.as_deref(), limit))).await
    }

    async fn mend(&self, queue: &QueueName, entries: &[String], mend: Mend) -> Result<u64, QueueError> {
        let (name, entries) = (queue.clone(), entries.to_vec());
        let question = move |store: &mut Store, now| {
            let mended = store.queue(&name).mend(&entries, &mend, now);
            store.serve_blocked([&name].into_iter(), now);
            Ok(mended)
        };
        self.ask_queue(queue, question).await
    }

    async fn unpark(&self, queue: &QueueName, name: &str, version: u32) -> Result<u64, QueueError> {
        let (of, name) = (queue.clone(), name.to_owned());
        let question = move |store: &mut Store, now| {
            let known = store.queue(&of).unpark(&name, version, now);
            store.serve_blocked([&of].into_iter(), now);
            Ok(known)
        };
        self.ask_queue(queue, question).await
    }

    async fn note(&self, queue: &QueueName, instance: &str, notes: Vec<Note>) -> Result<Vec<Settled>, QueueError> {
        let (name, instance) = (queue.clone(), instance.to_owned());
        self.ask_queue(queue, move |store, now| store.note(&name, &instance, notes, now)).await
    }

    async fn progress(&self, queue: &QueueName, id: &str) -> Result<Option<Progress>, QueueError> {
        let (name, id) = (queue.clone(), id.to_owned());
        self.ask_queue(queue, move |store, _| Ok(store.queue(&name).progress(&id))).await
    }

    async fn ask(
        &self,
        queue: &QueueName,
        id: &str,
        asker: Option<Asker>,
        _until: tokio::time::Instant,
    ) -> Result<Known, QueueError> {
        let (name, id) = (queue.clone(), id.to_owned());
        self.ask_queue(queue, move |store, now| Ok(store.queue(&name).ask(&id, asker, now))).await
    }

    async fn forget(&self, queue: &QueueName, id: &str, asker: &Asker) -> Result<(), QueueError> {
        let (name, id, asker) = (queue.clone(), id.to_owned(), asker.clone());
        let forget = move |store: &mut Store, _| {
            store.queue(&name).course.forget(&id, &asker);
            Ok(())
        };
        self.ask_queue(queue, forget).await
    }

    async fn find(&self, queue: &QueueSpec, id: &str) -> Result<Option<Seen>, QueueError> {
        let (name, id) = (queue.name.clone(), id.to_owned());
        self.ask_queue(&queue.name, move |store, now| Ok(store.queue(&name).find(&id, now))).await
    }

    async fn list(
        &self,
        queue: &QueueSpec,
        state: TaskState,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page, QueueError> {
        let (spec, from) = (queue.clone(), from.map(str::to_owned));
        let list = move |store: &mut Store, now| {
            Ok(store.queue(&spec.name).list(&spec.parts, state, from.as_deref(), limit.max(1), now))
        };
        self.ask_queue(&queue.name, list).await
    }

    async fn cancel(&self, queue: &QueueSpec, id: &str) -> Result<Cancelling, QueueError> {
        let (spec, id) = (queue.clone(), id.to_owned());
        self.ask_queue(&queue.name, move |store, now| Ok(store.queue(&spec.name).cancel(&spec, &id, now))).await
    }

    async fn pause(&self, queue: &QueueName, pauses: bool) -> Result<bool, QueueError> {
        let name = queue.clone();
        self.ask_queue(queue, move |store, _| Ok(store.pause(&name, pauses))).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, QueueError> {
        let name = queue.clone();
        self.ask_queue(queue, move |store, _| Ok(store.queue(&name).is_paused)).await
    }

    async fn watch(&self, queue: &QueueName) -> Result<(), QueueError> {
        let name = queue.clone();
        let watch = move |store: &mut Store, now| {
            store.queue(&name).course.watch(now);
            Ok(())
        };
        self.ask_queue(queue, watch).await
    }
}

impl Memory {
    fn access(&self) -> Access {
        Access::new(&self.broker, &self.connection)
    }

    /// Asks the queues.
    async fn ask_queue<T: Send + 'static>(
        &self,
        queue: &QueueName,
        question: impl FnOnce(&mut Store, u64) -> Result<T, Crashed> + Send + 'static,
    ) -> Result<T, QueueError> {
        let answer = self.access().ask(question).await;
        answer.map_err(|unanswered| unanswered.of_queue(queue.template))?.map_err(|Crashed| crashed(queue.template))
    }

    fn deadline(&self) -> tokio::time::Instant {
        deadline_after(self.connection.command_timeout)
    }

    async fn publish_one(&self, deadline: tokio::time::Instant, parcel: Parcel) -> Published {
        let receivers = self.publish_together(deadline, &mut [parcel]).await?;
        Ok(receivers.map(|receivers| receivers.into_iter().sum()))
    }

    /// Publishes all or none; how many received each, where that is known at once.
    async fn publish_together(
        &self,
        deadline: tokio::time::Instant,
        parcels: &mut [Parcel],
    ) -> Result<Option<Vec<u64>>, PublishError> {
        let Some(&Parcel { template, .. }) = parcels.first() else { return Ok(Some(Vec::new())) };
        let late = |_| PublishError::TimedOut { template, timeout: self.connection.command_timeout };
        let (receivers, full) = loop {
            self.connection.life.check(template)?;
            parcels.iter_mut().for_each(|parcel| parcel.write_time_left(now()));
            match self.broker.publish(parcels) {
                Taken::Now { receivers, wishes } => break (receivers, wishes.read()),
                Taken::Blocked(inbox) => timeout_at(deadline, self.unblocked(&inbox)).await.map_err(late)?,
                Taken::Never => {
                    let reason = "the memory broker is stopped".to_owned();
                    return Err(PublishError::NotConnected { template, reason });
                }
                Taken::Later => {
                    return timeout_at(deadline, self.broker.leaves_frozen()).await.map(|()| None).map_err(late);
                }
            }
        };
        be_patient_with(full).await;
        Ok(Some(receivers))
    }

    /// Waits until the inbox takes more, or something else is to be said.
    async fn unblocked(&self, inbox: &Inbox) {
        tokio::select! {
            _ = self.connection.life.over() => {}
            () = inbox.has_space() => {}
            _ = self.broker.reaches(|condition| condition != Condition::Up) => {}
        }
    }

    /// The health of the memory broker: it has no settings that could be wrong, so only the round trip is measured. A frozen broker does not
    /// answer.
    async fn ask(&self) -> Health {
        let start = Instant::now();
        self.broker.leaves_frozen().await;
        Health::new(start.elapsed(), self.status())
    }
}

/// A service that is stuck stalls its publishers for a moment only, as it would stall a connection; from then on it loses its oldest messages, and
/// counts them.
async fn be_patient_with(full: Vec<Arc<Inbox>>) {
    for inbox in full.into_iter().filter(|inbox| !inbox.blocks()) {
        if timeout(PATIENCE, inbox.has_space()).await.is_err() {
            inbox.stop_waiting();
        }
    }
}

/// Nothing of an atomic batch was sent.
fn blocked_for_long(parcels: &[Parcel]) -> PublishError {
    let reason = "a service that publishers wait for took no more messages in time".to_owned();
    PublishError::Overloaded { template: parcels.first().map_or("", |parcel| parcel.template), reason }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.broker.lock().connections.retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").finish_non_exhaustive()
    }
}
