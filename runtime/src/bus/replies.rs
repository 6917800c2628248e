//! One inbox for all answers of a bus, and who waits for which.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::{
    bus::{
        book::Instance,
        handle::{Bus, made},
    },
    codec::answers::AnswerFor,
    error::SubscribeError,
    time::now,
    transport::{
        contract::{Attachment, Reach},
        frame::Frame,
        inbox::{Direct, Inbox, Item},
        status::{GapCause, NameKind},
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
    /// The server's refusal, for as long as it refuses the channel: no answer would arrive.
    refused: Mutex<Option<Refusal>>,
    /// Keyed at random, so that nobody can guess the id of a request that was not sent to them.
    ids: RandomState,
    next: AtomicU64,
    /// Answers that nobody waits for any more, or ever did.
    unexpected: AtomicU64,
    /// What is above it is no answer. A connection lets a little more through on shard channels.
    payload_limit: usize,
    /// Who has let the time of a request pass lately, oldest first: a late answer says that it lives.
    late: Mutex<VecDeque<(u64, Weak<Instance>)>>,
}

/// The parts of `SubscribeError::Refused`.
struct Refusal {
    channel: String,
    reason: String,
    rule: String,
}

/// How the channels for answers begin, behind the namespace.
pub(crate) const REPLIES: &str = "tidings:replies:";

/// What a waiter gets.
pub(crate) enum Arrived {
    Answer(Frame),
    /// An answer above the payload limit, which was passed over.
    TooLarge {
        size: usize,
    },
    ConnectionLost,
    /// The instance that has the request is gone. An answer may still be on its way.
    InstanceLost,
    /// The bus is closed, and nothing will arrive.
    Closed,
}

impl Arrived {
    /// Whether it says that no answer will come, or may.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::ConnectionLost | Self::InstanceLost | Self::Closed)
    }
}

/// Who waits.
struct Recipient {
    mailbox: Arc<Mailbox>,
    /// Who has the request. Who waits for one answer has given it to somebody; who waits for many has asked everybody.
    in_hands_of: Option<Arc<Instance>>,
}

/// What has arrived for a waiter that it has not taken yet.
#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
}

#[derive(Default)]
struct Mail {
    /// Most waiters get one thing, which takes no allocation.
    first: Option<Arrived>,
    further: VecDeque<Arrived>,
    waiting: Option<Waker>,
}

impl Mail {
    /// `false` where too much waits.
    fn push(&mut self, arrived: Arrived) -> bool {
        match self.first {
            None => self.first = Some(arrived),
            Some(_) if self.further.len() + 1 == MANY => return false,
            Some(_) => self.further.push_back(arrived),
        }
        true
    }

    fn pop(&mut self) -> Option<Arrived> {
        let next = self.further.pop_front();
        std::mem::replace(&mut self.first, next)
    }
}

impl Mailbox {
    /// `false` where too much waits.
    fn put(&self, arrived: Arrived) -> bool {
        let mut mail = self.lock();
        if !mail.push(arrived) {
            return false;
        }
        let waiting = mail.waiting.take();
        drop(mail);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        true
    }

    fn poll_take(&self, context: &Context<'_>) -> Poll<Arrived> {
        let mut mail = self.lock();
        if let Some(arrived) = mail.pop() {
            return Poll::Ready(arrived);
        }
        match &mut mail.waiting {
            Some(waiting) => waiting.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers that one waiter has not taken yet. Beyond that they are counted as unexpected: a waiter that is polled takes
/// them faster than a connection brings them.
const MANY: usize = 1_024;
/// Larger answers keep their read buffer, of whose 128 KiB they are half or more: copying them would keep the lock for longer than it saves
/// memory.
const COPIED: usize = 64 * 1024;
/// So many requests whose time has passed are remembered.
const LATE: usize = 1_024;

impl Replies {
    /// Subscribes to a channel that nobody else has, and waits for the confirmation: an answer must not come before it.
    pub(crate) async fn open(bus: &Bus, name: &str) -> Result<Self, SubscribeError> {
        let payload_limit = bus.config().payload_limit;
        let waiters = Arc::new(Waiters { payload_limit, ..Waiters::default() });
        let direct = || Arc::clone(&waiters) as Arc<dyn Direct>;
        let (channel, attachment) = bus.attach_for_answers(direct, name, "", &[]).await?;
        Ok(Self { channel, waiters, _attachment: attachment })
    }

    /// The channel for answers, with the namespace.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits for one answer, to a request that this instance is about to get. One that was found to be gone meanwhile is lost with it.
    pub(crate) fn wait_for_one(&self, instance: &Arc<Instance>) -> Waiter {
        let waiter = self.register(Some(Arc::clone(instance)));
        // Looked at after it was entered: whoever finds out later, finds it entered.
        if instance.is_gone() {
            waiter.mailbox.put(Arrived::InstanceLost);
        }
        waiter
    }

    /// Waits for answers until the waiter is dropped.
    pub(crate) fn wait_for_many(&self) -> Waiter {
        self.register(None)
    }

    /// Has somebody wait again under the same id, whose wait a lost connection has ended.
    pub(crate) fn wait_again(&self, waiter: &Waiter) {
        let recipient = Recipient { mailbox: Arc::clone(&waiter.mailbox), in_hands_of: None };
        self.waiters.lock().insert(waiter.id, recipient);
    }

    fn register(&self, in_hands_of: Option<Arc<Instance>>) -> Waiter {
        let number = self.waiters.next.fetch_add(1, Ordering::Relaxed);
        let id = self.waiters.ids.hash_one(number);
        let mailbox = Arc::<Mailbox>::default();
        let recipient = Recipient { mailbox: Arc::clone(&mailbox), in_hands_of };
        self.waiters.lock().insert(id, recipient);
        Waiter { id, correlation_id: CorrelationId::of(id), mailbox, waiters: Arc::clone(&self.waiters) }
    }

    /// Fails while the server refuses the channel. The connection for subscriptions asks for it again from time to time.
    pub(super) fn check(&self) -> Result<(), SubscribeError> {
        match &*self.waiters.refusal() {
            Some(Refusal { channel, reason, rule }) => {
                let (channel, reason, rule) = (channel.clone(), reason.clone(), rule.clone());
                Err(SubscribeError::Refused { channel, reason, rule })
            }
            None => Ok(()),
        }
    }

    /// The instance is gone: tells everybody whose request it has. An answer may still be on its way.
    pub(crate) fn instance_lost(&self, instance: &Arc<Instance>) {
        let has_it =
            |recipient: &&Recipient| recipient.in_hands_of.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, instance));
        let by_id = self.waiters.lock();
        let had: Vec<_> = by_id.values().filter(has_it).map(|recipient| Arc::clone(&recipient.mailbox)).collect();
        drop(by_id);
        for mailbox in had {
            mailbox.put(Arrived::InstanceLost);
        }
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
            // The head says whom it is for, if its data comes last; whoever waits for another times out.
            Item::Oversized { head, size, .. } => match AnswerFor::of_cut(&head) {
                AnswerFor::Waiter(id) => self.arrived(id, Arrived::TooLarge { size }),
                AnswerFor::Nobody => self.note_unexpected(),
            },
            Item::Refused(error) => {
                self.refuse(error);
                self.connection_lost();
            }
            // What follows is live again. No answer is lost where a shard channel moves: meanwhile they come on the channel.
            Item::Gap(gap) => {
                *self.refusal() = None;
                if gap.cause != GapCause::SlotMoved {
                    self.connection_lost();
                }
            }
            Item::Ended(_) => self.lost(|| Arrived::Closed),
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
        let size = frame.payload().len();
        if size > self.payload_limit {
            return self.arrived(id, Arrived::TooLarge { size });
        }
        // The waiter may hold the answer for long, and shall not hold the whole read buffer.
        if frame.size() <= COPIED {
            frame.compact();
        }
        self.arrived(id, Arrived::Answer(frame));
    }

    /// Hands something to its waiter.
    fn arrived(&self, id: u64, arrived: Arrived) {
        let mut by_id = self.lock();
        let mailbox = match by_id.get(&id) {
            Some(recipient) if recipient.in_hands_of.is_none() => Some(Arc::clone(&recipient.mailbox)),
            Some(_) => by_id.remove(&id).map(|recipient| recipient.mailbox),
            None => None,
        };
        drop(by_id);
        if mailbox.is_none() {
            self.came_late(id);
        }
        if !mailbox.is_some_and(|mailbox| mailbox.put(arrived)) {
            self.note_unexpected();
        }
    }

    /// Whoever has sent it lives.
    fn came_late(&self, id: u64) {
        let mut late = self.late();
        if let Some(at) = late.iter().position(|&(late, _)| late == id)
            && let Some((_, instance)) = late.remove(at)
            && let Some(instance) = instance.upgrade()
        {
            instance.answers();
        }
    }

    fn connection_lost(&self) {
        self.lost(|| Arrived::ConnectionLost);
    }

    /// Tells everybody who waits: whether their requests were handled is unknown.
    fn lost(&self, why: impl Fn() -> Arrived) {
        let lost: Vec<Recipient> = self.lock().drain().map(|(_, recipient)| recipient).collect();
        for Recipient { mailbox, .. } in lost {
            // One that is flooded learns it from its timeout.
            mailbox.put(why());
        }
    }

    fn refuse(&self, error: SubscribeError) {
        if let SubscribeError::Refused { channel, reason, rule } = error {
            tracing::warn!(
                reason,
                rule,
                "the server refuses the channel for answers: requests fail until it allows it"
            );
            *self.refusal() = Some(Refusal { channel, reason, rule });
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_unexpected(&self) {
        self.unexpected.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("an answer arrived that nobody waits for");
    }

    fn late(&self) -> MutexGuard<'_, VecDeque<(u64, Weak<Instance>)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Recipient>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for answers. Dropping it forgets the wait.
pub(crate) struct Waiter {
    id: u64,
    correlation_id: CorrelationId,
    mailbox: Arc<Mailbox>,
    waiters: Arc<Waiters>,
}

/// Sixteen hexadecimal digits.
struct CorrelationId([u8; 16]);

impl CorrelationId {
    fn of(id: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self(std::array::from_fn(|place| DIGITS[(id >> (60 - 4 * place)) as usize & 15]))
    }
}

impl Waiter {
    pub(crate) fn correlation_id(&self) -> &str {
        str::from_utf8(&self.correlation_id.0).unwrap_or_default()
    }

    /// What has arrived next.
    pub(crate) async fn next(&mut self) -> Arrived {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Arrived> {
        self.mailbox.poll_take(context)
    }

    /// The time is over, and the instance has not answered: what it may still send says that it lives.
    pub(crate) fn overdue(&self, instance: &Arc<Instance>) {
        instance.lets_time_pass(now());
        let mut late = self.waiters.late();
        if late.len() == LATE {
            late.pop_front();
        }
        late.push_back((self.id, Arc::downgrade(instance)));
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

/// Who gets what is sent to a channel for answers. One with a hash tag says of itself that it is a shard channel too, so that an answer crosses one node only.
pub(crate) fn reach_of_answers(channel: &str) -> Reach {
    if channel.contains('{') { Reach::ShardChannelFirst } else { Reach::Channel }
}

impl Bus {
    /// Subscribes to a channel for answers and to further channels; returns that for answers, with the namespace. On a cluster it has its name in braces, and is a
    /// shard channel too: instances that know the braces send an answer there, and all others to the channel, so it comes once.
    pub(super) async fn attach_for_answers(
        &self,
        direct: impl Fn() -> Arc<dyn Direct>,
        name: &str,
        end: &str,
        further: &[&str],
    ) -> Result<(String, Attachment), SubscribeError> {
        let attach = async |local: String, kinds: &[NameKind]| {
            let channel = self.channel(|channel| channel.literal(&local));
            let own = kinds.iter().map(|&kind| (local.clone(), kind));
            let names = further.iter().map(|&name| (name.to_owned(), NameKind::Channel)).chain(own).collect();
            let attachment = self.attach(Arc::new(Inbox::direct(direct())), names).await?;
            Ok((channel, attachment))
        };
        if self.shared.transport.has_slots() {
            let kinds = [NameKind::Channel, NameKind::ShardChannel];
            match attach(format!("{REPLIES}{{{name}}}{end}"), &kinds).await {
                Err(SubscribeError::Refused { reason, rule, .. }) => {
                    tracing::warn!(
                        reason,
                        rule,
                        "the server refuses a shard channel for answers: each answer crosses every node"
                    );
                }
                other => return other,
            }
        }
        attach(format!("{REPLIES}{name}{end}"), &[NameKind::Channel]).await
    }

    /// How every channel begins that answers may go to.
    pub(crate) fn reply_prefix(&self) -> &str {
        &self.shared.reply_prefix
    }

    /// Whether an answer may go to this channel, as a request names it.
    pub(crate) fn may_answer(&self, channel: &str) -> bool {
        let shared = &self.shared;
        let allowed = channel.starts_with(&shared.reply_prefix)
            || shared.config.reply_prefixes.iter().any(|prefix| channel.starts_with(prefix));
        if !allowed {
            let count = shared.disobeyed.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_power_of_two() {
                let prefix = &shared.reply_prefix;
                tracing::warn!(
                    count,
                    "requests name channels for their answers that do not begin with `{prefix}`, and are not answered; \
                     `allow_replies_to` allows more"
                );
            }
        }
        allowed
    }

    /// The inbox for answers: subscribed and confirmed before the first request leaves. Refused where the server has refused to renew it: a
    /// request would be handled, and its answer lost.
    pub(crate) async fn replies(&self) -> Result<&Replies, SubscribeError> {
        let name = self.shared.id_prefix.trim_end_matches('-');
        let replies = made(&self.shared.replies, || Replies::open(self, name)).await?;
        replies.check()?;
        Ok(replies)
    }
}
