//! One inbox for all answers of a bus, and who waits for which.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    bus::handle::Bus,
    codec::answers::AnswerFor,
    error::SubscribeError,
    transport::{
        contract::Attachment,
        frame::Frame,
        inbox::{Direct, Inbox, Item},
        status::NameKind,
    },
};

/// The inbox of a bus's answers. It lives as long as the bus, on the subscription connection that everything else shares.
pub(crate) struct Replies {
    /// With the namespace.
    channel: String,
    waiters: Arc<Waiters>,
    _attachment: Attachment,
}

#[derive(Default)]
struct Waiters {
    by_id: Mutex<HashMap<u64, Recipient>>,
    /// Keyed at random, so that nobody can guess the id of a request that was not sent to them.
    ids: RandomState,
    next: AtomicU64,
    /// Answers that nobody waits for any more, or ever did.
    unexpected: AtomicU64,
}

/// What a waiter gets.
pub(crate) enum Arrived {
    Answer(Frame),
    ConnectionLost,
}

/// Who waits.
enum Recipient {
    ForOne(oneshot::Sender<Arrived>),
    ForMany(mpsc::Sender<Arrived>),
}

/// Answers that one waiter for many has not taken yet. Beyond that they are counted as unexpected: a waiter that is polled takes
/// them faster than a connection brings them.
const MANY: usize = 1_024;
/// Larger answers keep their read buffer, of whose 128 KiB they are half or more: copying them would keep the lock for longer than it saves
/// memory.
const COPIED: usize = 64 * 1024;

impl Replies {
    /// Subscribes to a channel that nobody else has, and waits for the confirmation: an answer must not come before it.
    pub(crate) async fn open(bus: &Bus, name: &str) -> Result<Self, SubscribeError> {
        let local = format!("tidings:replies:{name}");
        let channel = bus.channel(|channel| channel.literal(&local));
        let waiters = Arc::new(Waiters::default());
        let inbox = Arc::new(Inbox::direct(Arc::clone(&waiters) as Arc<dyn Direct>));
        let attachment = bus.attach(inbox, vec![(local, NameKind::Channel)]).await?;
        Ok(Self { channel, waiters, _attachment: attachment })
    }

    /// The channel for answers, with the namespace.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits for one answer.
    pub(crate) fn wait_for_one(&self) -> Waiter<oneshot::Receiver<Arrived>> {
        let (done, arrived) = oneshot::channel();
        self.register(Recipient::ForOne(done), arrived)
    }

    /// Waits for answers until the waiter is dropped.
    pub(crate) fn wait_for_many(&self) -> Waiter<mpsc::Receiver<Arrived>> {
        let (done, arrived) = mpsc::channel(MANY);
        self.register(Recipient::ForMany(done), arrived)
    }

    fn register<T>(&self, waiting: Recipient, arrived: T) -> Waiter<T> {
        let number = self.waiters.next.fetch_add(1, Ordering::Relaxed);
        let id = self.waiters.ids.hash_one(number);
        self.waiters.lock().insert(id, waiting);
        Waiter { id, correlation_id: format!("{id:016x}"), arrived, waiters: Arc::clone(&self.waiters) }
    }

    /// How many requests wait for an answer.
    pub(crate) fn pending(&self) -> usize {
        self.waiters.lock().len()
    }

    /// How many answers came that nobody waited for: late, double or forged.
    pub(crate) fn unexpected(&self) -> u64 {
        self.waiters.unexpected.load(Ordering::Relaxed)
    }
}

impl Direct for Waiters {
    fn take(&self, item: Item) -> Option<Item> {
        match item {
            Item::Frame(frame) => match AnswerFor::of_head(frame.payload()) {
                Some(answer_for) => self.answer(answer_for, frame),
                None => return Some(Item::Frame(frame)),
            },
            // An answer that is too large has no id that could be read; whoever waits for it times out.
            Item::Oversized { .. } => self.note_unexpected(),
            Item::Gap(_) | Item::Refused(_) | Item::Ended(_) => self.connection_lost(),
            Item::Lagged(_) => {}
        }
        None
    }

    fn read(&self, item: Item) {
        if let Some(Item::Frame(frame)) = self.take(item) {
            self.answer(AnswerFor::of_whole(frame.payload()), frame);
        }
    }
}

impl Waiters {
    fn answer(&self, answer_for: AnswerFor, mut frame: Frame) {
        let AnswerFor::Waiter(id) = answer_for else { return self.note_unexpected() };
        // The waiter may hold the answer for long, and shall not hold the whole read buffer.
        if frame.size() <= COPIED {
            frame.compact();
        }
        let mut by_id = self.lock();
        let taken = match by_id.get(&id) {
            Some(Recipient::ForMany(waiter)) => waiter.try_send(Arrived::Answer(frame)).is_ok(),
            Some(Recipient::ForOne(_)) => match by_id.remove(&id) {
                Some(Recipient::ForOne(waiter)) => waiter.send(Arrived::Answer(frame)).is_ok(),
                _ => false,
            },
            None => false,
        };
        drop(by_id);
        if !taken {
            self.note_unexpected();
        }
    }

    /// Tells everybody who waits: whether their requests were handled is unknown.
    fn connection_lost(&self) {
        for (_, waiting) in self.lock().drain() {
            // A waiter that has gone in this moment, or that is flooded, learns it from its closed channel.
            match waiting {
                Recipient::ForOne(waiter) => drop(waiter.send(Arrived::ConnectionLost)),
                Recipient::ForMany(waiter) => drop(waiter.try_send(Arrived::ConnectionLost)),
            }
        }
    }

    fn note_unexpected(&self) {
        self.unexpected.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("an answer arrived that nobody waits for");
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Recipient>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for answers. Dropping it forgets the wait.
pub(crate) struct Waiter<T> {
    id: u64,
    pub(crate) correlation_id: String,
    arrived: T,
    waiters: Arc<Waiters>,
}

impl Waiter<oneshot::Receiver<Arrived>> {
    pub(crate) async fn answer(&mut self) -> Arrived {
        (&mut self.arrived).await.unwrap_or(Arrived::ConnectionLost)
    }
}

impl Waiter<mpsc::Receiver<Arrived>> {
    pub(crate) async fn next(&mut self) -> Arrived {
        self.arrived.recv().await.unwrap_or(Arrived::ConnectionLost)
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

impl Bus {
    /// The inbox for answers: subscribed and confirmed before the first request leaves.
    pub(crate) async fn replies(&self) -> Result<&Replies, SubscribeError> {
        let name = self.shared.id_prefix.trim_end_matches('-');
        self.shared.replies.get_or_try_init(|| Replies::open(self, name)).await
    }
}
