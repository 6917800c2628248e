//! The bounded buffer between a transport's reader and one subscription or service.
//!
//! The reader hands over a batch at a time, and the consumer takes a batch at a time: one lock for each, not for each message.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    config::Bounds,
    error::SubscribeError,
    transport::{frame::Frame, status::Gap},
};

/// So much of a payload that is too large is kept: enough to see whom an answer is for.
pub(crate) const HEAD_KEPT: usize = 1024;

/// What arrives in an inbox, in order.
#[derive(Debug)]
pub(crate) enum Item {
    Frame(Frame),
    /// A message larger than the payload limit; its bytes were skipped, not buffered, but for the first of them.
    Oversized {
        token: u32,
        channel: Vec<u8>,
        head: Vec<u8>,
        size: usize,
    },
    /// Messages may have been missed before this point.
    Gap(Gap),
    /// So many messages were dropped at this point, because the buffer was full.
    Lagged(u64),
    /// The server refused to renew the subscription to a name; it is tried again at the next reconnection.
    Refused(SubscribeError),
    /// The transport has given up, for this reason: nothing follows.
    Ended(String),
}

/// What a full inbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Drops the oldest messages, and counts them.
    DropOldest,
    /// Drops what arrives, and counts it.
    DropNewest,
    /// Drops nothing: the reader waits for [`Inbox::has_space`] for as long as it takes.
    Block,
    /// Wish the reader to wait for [`Inbox::has_space`]; takes what it is given all the same. If the reader loses patience, it drops
    /// the oldest until it was empty once.
    Wait,
}

/// Holds what has arrived for one subscription or service, within its bounds, until it is taken.
pub(crate) struct Inbox {
    bounds: Bounds,
    when_full: WhenFull,
    state: Mutex<Contents>,
    space: Notify,
    caught_up: Notify,
    direct: Option<Arc<dyn Direct>>,
    /// What a direct inbox has put off.
    unread: Mutex<Vec<Item>>,
    /// The template of each token's messages, where it is known.
    templates: Vec<&'static str>,
    /// Whether it is shown to the program.
    is_listed: bool,
    /// Whether it started to drop messages since [`fell_behind`](Inbox::fell_behind) was last asked.
    fell_behind: AtomicBool,
}

/// What has gone through an inbox.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: usize,
    pub(crate) last: Option<Instant>,
}

/// Takes items in the reader's tokio task, instead of a consumer in one of its own: for what is quick and never waits.
pub(crate) trait Direct: Send + Sync {
    /// Takes an item while the registry is locked. What has to be looked at for longer is given back.
    fn take(&self, item: Item) -> Option<Item>;

    /// Takes what [`take`](Self::take) gave back, and what came behind it, when nothing is locked.
    fn read(&self, item: Item);
}

/// What inboxes ask of the reader, once the registry is unlocked.
#[derive(Debug, Default)]
#[must_use = "what was put off is to be read, and inboxes may ask to wait"]
pub(crate) struct Wishes {
    /// They want the reader to wait.
    full: Vec<Arc<Inbox>>,
    /// Their consumers have not taken what came before.
    behind: Vec<Arc<Inbox>>,
    /// They have put something off.
    unread: Vec<Arc<Inbox>>,
}

impl Wishes {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.full.append(&mut other.full);
        self.behind.append(&mut other.behind);
        self.unread.append(&mut other.unread);
    }

    /// Hands a batch to an inbox, and notes what it asks for.
    pub(crate) fn push(&mut self, inbox: &Arc<Inbox>, batch: &mut Vec<Item>) {
        match inbox.push(batch) {
            Wish::Nothing => {}
            Wish::ToWait => self.full.push(Arc::clone(inbox)),
            Wish::ToGiveWay => self.behind.push(Arc::clone(inbox)),
            Wish::ToRead => self.unread.push(Arc::clone(inbox)),
        }
    }

    /// The inboxes whose consumers have not taken what came before.
    pub(crate) fn take_behind(&mut self) -> Vec<Arc<Inbox>> {
        std::mem::take(&mut self.behind)
    }

    /// Reads what was put off; returns the inboxes that want the reader to wait.
    pub(crate) fn read(self) -> Vec<Arc<Inbox>> {
        self.unread.iter().for_each(|inbox| inbox.read());
        self.full
    }
}

/// What an inbox asks of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    /// To wait before it puts more in.
    ToWait,
    /// To let the consumer catch up, where more is to come at once.
    ToGiveWay,
    /// To let it read what it has put off.
    ToRead,
}

#[derive(Debug, Default)]
struct Contents {
    items: VecDeque<Item>,
    bytes: usize,
    messages: usize,
    /// Messages dropped in front of the first item.
    lagged: u64,
    /// How many items of each batch are there: each batch may hold a read buffer of its own.
    batches: VecDeque<usize>,
    consumer: Option<Waker>,
    /// The reader no longer waits, until the inbox was empty once.
    impatient: bool,
    /// Nothing is put in any more.
    detached: bool,
    /// Nor is anything to come.
    closed: bool,
    traffic: Traffic,
    /// Whether the dropping has been noted; cleared when the inbox was empty once.
    behind: bool,
}

/// From so many batches on, frames are copied out of their read buffers. 16 buffers of 128 KiB are the 2 MiB that an
/// inbox may hold beyond its bound in bytes.
const BATCHES_BEFORE_COPYING: usize = 16;

impl Inbox {
    pub(crate) fn new(bounds: Bounds, when_full: WhenFull) -> Self {
        Self {
            bounds,
            when_full,
            state: Mutex::default(),
            space: Notify::new(),
            caught_up: Notify::new(),
            direct: None,
            unread: Mutex::default(),
            templates: Vec::new(),
            is_listed: true,
            fell_behind: AtomicBool::new(false),
        }
    }

    /// Tells the template of the messages of each token.
    pub(crate) fn with_templates(mut self, templates: Vec<&'static str>) -> Self {
        self.templates = templates;
        self
    }

    /// One that is no subscription of the program's, and is not shown as one.
    pub(crate) fn unlisted(mut self) -> Self {
        self.is_listed = false;
        self
    }

    /// An inbox that holds nothing: every item is taken at once, in the reader's tokio task.
    pub(crate) fn direct(direct: Arc<dyn Direct>) -> Self {
        let bounds = Bounds { messages: 0, bytes: 0 };
        Self { direct: Some(direct), ..Self::new(bounds, WhenFull::DropOldest) }
    }

    /// Whether it holds nothing, and what comes has no order that matters.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Puts a batch in, in order, and empties `batch`.
    pub(crate) fn push(&self, batch: &mut Vec<Item>) -> Wish {
        if let Some(direct) = &self.direct {
            let mut unread = self.unread();
            for item in batch.drain(..) {
                // What comes behind something that was put off is put off too: order is kept.
                let put_off = if unread.is_empty() { direct.take(item) } else { Some(item) };
                unread.extend(put_off);
            }
            return if unread.is_empty() { Wish::Nothing } else { Wish::ToRead };
        }
        let mut state = self.lock();
        if state.closed || state.detached {
            batch.clear();
            return Wish::Nothing;
        }
        let (messages, dropped) = (state.traffic.messages, state.traffic.dropped);
        let copy = state.batches.len() >= BATCHES_BEFORE_COPYING;
        let before = state.items.len();
        state.items.reserve(batch.len());
        for mut item in batch.drain(..) {
            if copy && let Item::Frame(frame) = &mut item {
                frame.compact();
            }
            match self.when_full {
                WhenFull::DropNewest => state.push_or_drop(item, self.bounds),
                _ => state.push(item),
            }
        }
        let added = state.items.len() - before;
        if added > 0 {
            state.batches.push_back(added);
        }
        let waits = self.blocks() || self.when_full == WhenFull::Wait && !state.impatient;
        if !waits && self.when_full != WhenFull::DropNewest {
            state.drop_oldest(self.bounds);
        }
        let wish = match waits {
            true if state.exceeds(self.bounds) => Wish::ToWait,
            true if state.is_behind() => Wish::ToGiveWay,
            _ => Wish::Nothing,
        };
        if state.traffic.messages > messages {
            state.traffic.last = Some(Instant::now());
        }
        if state.traffic.dropped > dropped && !std::mem::replace(&mut state.behind, true) {
            self.fell_behind.store(true, Ordering::Relaxed);
        }
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
        wish
    }

    /// A direct inbox reads what it has put off.
    fn read(&self) {
        let unread = std::mem::take(&mut *self.unread());
        if let Some(direct) = &self.direct {
            unread.into_iter().for_each(|item| direct.read(item));
        }
    }

    /// Moves up to `limit` items to the end of `items`; `Ready(false)` when the inbox is closed and empty.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>, items: &mut VecDeque<Item>, limit: usize) -> Poll<bool> {
        let mut state = self.lock();
        if state.lagged > 0 {
            items.push_back(Item::Lagged(std::mem::take(&mut state.lagged)));
        } else if state.items.is_empty() {
            if state.closed {
                return Poll::Ready(false);
            }
            state.consumer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if items.is_empty() && state.items.len() <= limit {
            state.take_all(items);
        } else {
            state.take(items, limit);
        }
        let (space, caught_up) = (!state.exceeds(self.bounds), !state.is_behind());
        // A batch that was dropped down to the bounds is no sign of a consumer that has caught up; an empty buffer is.
        if state.messages == 0 {
            state.impatient = false;
            state.behind = false;
        }
        drop(state);
        if space && matches!(self.when_full, WhenFull::Wait | WhenFull::Block) {
            self.space.notify_waiters();
            if caught_up {
                self.caught_up.notify_waiters();
            }
        }
        Poll::Ready(true)
    }

    /// What has gone through; nothing is known of an inbox that holds nothing.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        let state = self.lock();
        self.direct.is_none().then(|| Traffic { waiting: state.messages, ..state.traffic })
    }

    /// Whether it is a subscription of the program's.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The template of a token's messages, where it is known.
    pub(crate) fn template(&self, token: u32) -> Option<&'static str> {
        self.templates.get(token as usize).copied()
    }

    /// Whether it started to drop messages since the last question, and had caught up before.
    pub(crate) fn fell_behind(&self) -> bool {
        self.fell_behind.load(Ordering::Relaxed) && self.fell_behind.swap(false, Ordering::Relaxed)
    }

    /// Whether it drops nothing, however long the reader has to wait.
    pub(crate) fn blocks(&self) -> bool {
        self.when_full == WhenFull::Block
    }

    /// Whether the reader has to wait before it may put more in.
    pub(crate) fn is_blocked(&self) -> bool {
        let state = self.lock();
        self.blocks() && state.is_full(self.bounds)
    }

    /// Completes once the inbox is within its bounds again, detached or closed.
    pub(crate) async fn has_space(&self) {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            // Registered before the check, so that a notification between the two is not missed.
            space.as_mut().enable();
            if !self.lock().is_full(self.bounds) {
                return;
            }
            space.await;
        }
    }

    /// Completes once the consumer has taken all but what came last, or nobody takes anything any more.
    pub(crate) async fn has_caught_up(&self) {
        loop {
            let caught_up = self.caught_up.notified();
            tokio::pin!(caught_up);
            // As in `has_space`.
            caught_up.as_mut().enable();
            if !self.lock().is_waited_for() {
                return;
            }
            caught_up.await;
        }
    }

    /// The reader has waited for long enough: from now on the inbox drops its oldest messages when it is full, and counts them,
    /// until the consumer has emptied it. Nothing happens when there is space.
    pub(crate) fn stop_waiting(&self) {
        let mut state = self.lock();
        state.impatient = state.exceeds(self.bounds);
    }

    /// Nothing wants to be put in any more: whoever waits for space need not, and what is there can still be taken.
    pub(crate) fn detached(&self) {
        self.lock().detached = true;
        self.space.notify_waiters();
        self.caught_up.notify_waiters();
    }

    /// Ends the inbox: nothing more goes in, and the consumer sees the end after what is there.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let consumer = state.consumer.take();
        drop(state);
        self.space.notify_waiters();
        self.caught_up.notify_waiters();
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    fn unread(&self) -> MutexGuard<'_, Vec<Item>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // No code that can panic runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes with which an item counts as a message. Gaps and refusals are news, not load.
fn load(item: &Item) -> Option<usize> {
    match item {
        Item::Frame(frame) => Some(frame.size()),
        Item::Oversized { channel, head, .. } => Some(channel.len() + head.len()),
        Item::Gap(_) | Item::Lagged(_) | Item::Refused(_) | Item::Ended(_) => None,
    }
}

/// Adds news to others with no message between them, and gives it back if there is none of its kind: so there are never more news than one
/// of each kind, and a refusal for each name, however long nobody reads them.
fn merge<'a>(item: Item, mut others: impl Iterator<Item = &'a mut Item>) -> Option<Item> {
    let is_same = |other: &&mut Item| match (&item, &**other) {
        (Item::Gap(_), Item::Gap(_)) | (Item::Lagged(_), Item::Lagged(_)) => true,
        (
            Item::Refused(SubscribeError::Refused { channel, .. }),
            Item::Refused(SubscribeError::Refused { channel: before, .. }),
        ) => channel == before,
        _ => false,
    };
    let Some(other) = others.find(is_same) else { return Some(item) };
    match (item, other) {
        (Item::Gap(gap), Item::Gap(before)) => before.lasted = before.lasted.saturating_add(gap.lasted),
        (Item::Lagged(count), Item::Lagged(before)) => *before += count,
        (item, before) => *before = item,
    }
    None
}

fn add(item: Item, news: &mut Vec<Item>) {
    let unlike = merge(item, news.iter_mut());
    news.extend(unlike);
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inbox").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Contents {
    fn count(&mut self, bytes: usize) {
        self.traffic.messages += 1;
        self.traffic.bytes += bytes as u64;
    }

    #[inline]
    fn push(&mut self, item: Item) {
        match load(&item) {
            Some(bytes) => {
                self.count(bytes);
                self.bytes += bytes;
                self.messages += 1;
                self.items.push_back(item);
            }
            None => {
                let behind_messages = self.items.iter_mut().rev().take_while(|other| load(other).is_none());
                let unlike = merge(item, behind_messages);
                self.items.extend(unlike);
            }
        }
    }

    /// Puts it in if it fits; the first always does, as a message larger than the bounds must not stop the stream.
    fn push_or_drop(&mut self, item: Item, bounds: Bounds) {
        let Some(bytes) = load(&item) else { return self.push(item) };
        if self.messages == 0 || (self.messages < bounds.messages && self.bytes + bytes <= bounds.bytes) {
            return self.push(item);
        }
        self.count(bytes);
        self.traffic.dropped += 1;
        self.push(Item::Lagged(1));
    }

    /// Whether it is to be waited for.
    fn is_full(&self, bounds: Bounds) -> bool {
        !self.closed && !self.detached && self.exceeds(bounds)
    }

    /// Whether something is there that came before the last batch.
    fn is_behind(&self) -> bool {
        self.batches.len() > 1
    }

    fn is_waited_for(&self) -> bool {
        !self.closed && !self.detached && self.is_behind()
    }

    fn exceeds(&self, bounds: Bounds) -> bool {
        self.messages > bounds.messages || self.bytes > bounds.bytes
    }

    /// Drops messages. News are never dropped; those that nothing lies between any more are merged.
    fn drop_oldest(&mut self, bounds: Bounds) {
        let before = self.items.len();
        let mut news = Vec::new();
        while self.exceeds(bounds) && self.messages > 1 {
            let Some(item) = self.items.pop_front() else { break };
            match load(&item) {
                Some(bytes) => {
                    self.bytes -= bytes;
                    self.messages -= 1;
                    self.lagged += 1;
                    self.traffic.dropped += 1;
                }
                None => add(item, &mut news),
            }
        }
        if !news.is_empty() {
            self.put_back(news);
        }
        self.batches_gave(before - self.items.len());
    }

    /// Puts news back before what is there, merged with those that it begins with.
    fn put_back(&mut self, mut news: Vec<Item>) {
        while self.items.front().is_some_and(|item| load(item).is_none()) {
            let Some(item) = self.items.pop_front() else { break };
            add(item, &mut news);
        }
        for item in news.into_iter().rev() {
            self.items.push_front(item);
        }
    }

    /// The oldest batches have so many items less.
    fn batches_gave(&mut self, mut items: usize) {
        while let Some(oldest) = self.batches.front_mut() {
            if *oldest > items {
                *oldest -= items;
                return;
            }
            items -= *oldest;
            self.batches.pop_front();
        }
    }

    /// Gives all that is there for an empty buffer.
    fn take_all(&mut self, items: &mut VecDeque<Item>) {
        std::mem::swap(&mut self.items, items);
        self.batches.clear();
        (self.bytes, self.messages) = (0, 0);
    }

    fn take(&mut self, items: &mut VecDeque<Item>, limit: usize) {
        let before = self.items.len();
        for _ in 0..limit {
            let Some(item) = self.items.pop_front() else { break };
            if let Some(bytes) = load(&item) {
                self.bytes -= bytes;
                self.messages -= 1;
            }
            items.push_back(item);
        }
        self.batches_gave(before - self.items.len());
    }
}

#[cfg(test)]
mod tests;
