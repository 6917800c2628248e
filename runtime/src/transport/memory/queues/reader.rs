//! Takes tasks for one instance.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    error::QueueError,
    time::LONGEST,
    transport::{
        durable::contract::{QueueSpec, Reader, Take, Taken, Waited, WakeReader},
        memory::queues::{
            access::{Access, crashed, lost},
            blocked::Cut,
            store::{Crashed, Store},
        },
    },
};

/// Takes tasks for one instance.
pub(crate) struct MemoryReader {
    access: Access,
    queue: Arc<QueueSpec>,
    instance: Arc<str>,
    /// How many cuts the connection has seen, where there is one.
    connected: Option<u64>,
    connections: u64,
    /// Whether an operation was given up, and its connection with it.
    given_up: Arc<AtomicBool>,
    wake: Arc<Wake>,
}

/// What ends a wait from elsewhere.
#[derive(Debug, Default)]
struct Wake {
    is_wanted: AtomicBool,
    told: Notify,
}

impl WakeReader for Wake {
    fn wake(&self) {
        self.is_wanted.store(true, Ordering::Release);
        self.told.notify_one();
    }
}

impl Wake {
    fn take(&self) -> bool {
        self.is_wanted.swap(false, Ordering::AcqRel)
    }

    async fn wanted(&self) {
        while !self.take() {
            self.told.notified().await;
        }
    }
}

impl MemoryReader {
    pub(crate) fn new(access: Access, queue: QueueSpec, instance: Arc<str>) -> Self {
        Self {
            access,
            queue: Arc::new(queue),
            instance,
            connected: None,
            connections: 0,
            given_up: Arc::default(),
            wake: Arc::default(),
        }
    }

    fn template(&self) -> &'static str {
        self.queue.name.template
    }

    /// Asks over the reader's own connection: one that was cut is noticed by whoever uses it next, and another one is made then.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&mut Store, u64) -> T + Send + 'static,
    ) -> Result<T, QueueError> {
        let template = self.template();
        if self.given_up.swap(false, Ordering::AcqRel) {
            self.connected = None;
        }
        let cuts = self.access.broker.cuts();
        match self.connected {
            Some(seen) if seen == cuts => {}
            Some(_) => {
                self.connected = None;
                return Err(lost(template));
            }
            None if self.access.broker.is_stopped() => {}
            None => {
                self.connected = Some(cuts);
                self.connections += 1;
            }
        }
        let giving_up = GivesUp { access: &self.access, queue: &self.queue, ticket: None, told: Some(&self.given_up) };
        self.access.heard().await;
        let answer = self.access.ask(question).await;
        giving_up.ended();
        answer.map_err(|unanswered| {
            self.connected = None;
            unanswered.of_queue(template)
        })
    }

    /// Waits for what the store says to whoever has this ticket, until it is woken or the time is over.
    async fn block(&mut self, longest: Duration, ticket: Ticket) -> Result<Waited, QueueError> {
        let template = self.template();
        if self.wake.take() {
            return Ok(Waited::default());
        }
        let (queue, instance) = (Arc::clone(&self.queue), Arc::clone(&self.instance));
        let (answer, mut answered) = oneshot::channel();
        let ticket = self.ask(move |store, now| ticket(store, &queue, &instance, answer, now)).await?;
        let ticket = ticket.map_err(|_| crashed(template))?;
        let giving_up =
            GivesUp { access: &self.access, queue: &self.queue, ticket: Some(ticket), told: Some(&self.given_up) };
        let outcome = tokio::select! {
            biased;
            outcome = &mut answered => Some(outcome),
            () = self.wake.wanted() => None,
            () = tokio::time::sleep(longest.min(LONGEST)) => None,
            _ = self.access.connection.life.over() => None,
        };
        self.access.heard().await;
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                let queue = Arc::clone(&self.queue);
                // Whoever is served meanwhile has its answer.
                let leaves = move |store: &mut Store, _| {
                    let queue = store.queue(&queue.name);
                    queue.waiting.leave(ticket).then_some(queue.is_paused)
                };
                match self.access.ask(leaves).await {
                    Ok(Some(is_paused)) => Ok(Ok(Waited { entries: Vec::new(), is_paused })),
                    Ok(None) => answered.await,
                    Err(unanswered) => return Err(unanswered.of_queue(template)),
                }
            }
        };
        giving_up.ended();
        match outcome {
            Ok(Ok(waited)) => Ok(waited),
            Ok(Err(Cut::Crashed)) => Err(crashed(template)),
            Ok(Err(Cut::Lost)) | Err(_) => {
                self.connected = None;
                Err(lost(template))
            }
        }
    }
}

/// How a reader gets the ticket with which it waits.
type Ticket = fn(&mut Store, &QueueSpec, &Arc<str>, oneshot::Sender<Result<Waited, Cut>>, u64) -> Result<u64, Crashed>;

impl Reader for MemoryReader {
    async fn take(&mut self, take: Take) -> Result<Taken, QueueError> {
        let template = self.template();
        let (queue, instance) = (Arc::clone(&self.queue), Arc::clone(&self.instance));
        let taken = self.ask(move |store, now| store.take(&queue, &instance, take, now)).await?;
        taken.map_err(|_| crashed(template))
    }

    async fn wait(&mut self, longest: Duration) -> Result<Waited, QueueError> {
        self.block(longest, Store::wait).await
    }

    async fn rest(&mut self, longest: Duration) -> Result<(), QueueError> {
        self.block(longest, |store, queue, instance, answer, _| store.rest(queue, instance, answer)).await.map(drop)
    }

    fn waker(&self) -> Arc<dyn WakeReader> {
        Arc::clone(&self.wake) as Arc<dyn WakeReader>
    }

    fn connections(&self) -> u64 {
        self.connections
    }
}

impl fmt::Debug for MemoryReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, instance, connections, .. } = self;
        formatter
            .debug_struct("MemoryReader")
            .field("queue", &queue.name.template)
            .field("instance", instance)
            .field("connections", connections)
            .finish_non_exhaustive()
    }
}

/// An operation of a reader that may be dropped before it is over: its connection goes with it, and nothing is brought to it any more. What it was
/// given already stays with its instance.
struct GivesUp<'a> {
    access: &'a Access,
    queue: &'a QueueSpec,
    ticket: Option<u64>,
    told: Option<&'a AtomicBool>,
}

impl GivesUp<'_> {
    fn ended(mut self) {
        self.told = None;
    }
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        let Some(told) = self.told else { return };
        told.store(true, Ordering::Release);
        if let Some(ticket) = self.ticket {
            self.access.broker.leave(&self.queue.name, ticket);
        }
    }
}
