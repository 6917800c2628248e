//! What a handler can know of a message beyond its value.

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::{
    channel::text::{ChannelReader, Shown},
    codec::{
        contract::{Codec, DecodeError, Expected, Format, Inbound, ReadMetadata},
        headers::Headers,
    },
    error::{AddressError, Rejection},
    message::{
        address::Address,
        contract::{BorrowedMessage, Message, OwnedMessage},
        lease::{Lease, Task},
        reading::{Readable, ReadableFrom},
    },
    observe::observation::About,
    time::now,
    transport::{
        durable::{
            record::Record,
            task::{Entry, QueueName},
        },
        frame::{Frame, Origin},
    },
};

/// One received message, with its metadata.
///
/// Id, time and headers come from the envelope; a plain message has none of them. `Debug` leaves the payload out.
///
/// It holds the whole read buffer that its payload is a piece of, 128 KiB or more: [`detach`](Self::detach) one that is kept.
/// [`Delivery::testing`] makes one for a test that calls a handler as a function.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Delivery, Event, Message, handler};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// #[handler]
/// async fn placed(order: OrderPlaced, delivery: &Delivery) {
///     println!("order {} arrived on {} as {:?}", order.id, delivery.channel(), delivery.id());
/// }
///
/// let mut orders = bus.subscribe(OrderPlaced::any()).await?;
/// OrderPlaced { id: 7 }.publish(&bus).await?;
/// let order = orders.next().await.and_then(Event::into_message).ok_or("no order")?;
/// assert_eq!(order.delivery.channel(), "orders:7");
/// assert_eq!(order.delivery.address::<OrderPlaced>()?.id, 7);
/// assert!(order.delivery.id().is_some() && order.delivery.timestamp().is_some());
/// # Ok(()) }
/// ```
pub struct Delivery {
    frame: Frame,
    /// What the bus chose.
    format: Format,
    /// Absent where it says nothing, and until it has been read.
    metadata: Option<Metadata>,
    /// Whether the metadata has been read.
    is_read: bool,
    attempt: u32,
    /// Where the call learns when its requester stops waiting.
    ends: Option<Arc<OnceLock<Instant>>>,
    /// What is known of it as a task of a queue. Only tasks pay for it.
    task: Option<Box<Task>>,
}

/// The header that counts hops; no format has a rule that it breaks.
pub(crate) const HOPS: &str = "tidingshops";

/// What a delivery is made of, where that is to be done in its place: a frame that nobody has looked into.
pub(crate) struct Arriving {
    pub(crate) frame: Frame,
    pub(crate) format: Format,
}

impl From<Arriving> for Delivery {
    #[inline]
    fn from(Arriving { frame, format }: Arriving) -> Self {
        Self::of(frame, format)
    }
}

/// What the payload says beside the message.
#[derive(Clone, Debug)]
struct Metadata {
    id: Option<Id>,
    timestamp: Option<u64>,
    headers: Headers,
    /// Members and headers that could not be read.
    unreadable: u32,
    /// Mostly requests have it, so mostly they pay for it.
    conversation: Option<Box<Conversation>>,
}

/// What a message belongs to that has a correlation id.
#[derive(Clone, Debug)]
struct Conversation {
    correlation_id: String,
    reply_to: Option<String>,
    /// Counted from the arrival.
    time_left: Option<Duration>,
    /// Of the message.
    version: Option<u64>,
}

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo<'a> {
    /// With the namespace.
    pub(crate) channel: &'a str,
    pub(crate) correlation_id: &'a str,
}

/// An id: nearly always a piece of the payload, which then needs no copy.
#[derive(Clone, Debug)]
enum Id {
    InPayload(Range<usize>),
    Owned(String),
}

impl Delivery {
    #[inline]
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    #[inline]
    pub(crate) fn of(frame: Frame, format: Format) -> Self {
        // A broadcast is delivered at most once, and so is a request.
        let attempt = match frame.origin() {
            Origin::Broadcast { .. } | Origin::Inbox | Origin::Task => 1,
        };
        Self { frame, format, metadata: None, is_read: false, attempt, ends: None, task: None }
    }

    /// A task, which has arrived now. Its payload is the delivery's from here on, so that it does not hold the read buffer.
    pub(crate) fn of_task(mut task: Task, format: Format) -> Self {
        let frame = Frame::of_task(&task.entry.at.channel, &task.entry.payload, now());
        task.entry.payload = frame.share_payload();
        let attempt = task.entry.record.attempt();
        Self { attempt, task: Some(Box::new(task)), ..Self::of(frame, format) }
    }

    /// A task that nobody holds.
    pub(crate) fn of_entry(queue: QueueName, entry: Entry, format: Format) -> Self {
        let lease = Lease::new(entry.token(), now());
        Self::of_task(Task { queue, entry, lease, once: Arc::default() }, format)
    }

    /// What is known of it as a task of a queue.
    pub(crate) fn task(&self) -> Option<&Task> {
        self.task.as_deref()
    }

    /// One that nobody has sent.
    pub(crate) fn made(frame: Frame, attempt: u32, inbound: Inbound<'_>) -> Self {
        let metadata = Metadata::said(inbound, frame.payload());
        Self { metadata, is_read: true, attempt, ..Self::of(frame, Format::Envelope) }
    }

    /// The channel on which the message arrived, without the bus's namespace.
    #[must_use]
    pub fn channel(&self) -> &str {
        // A message is only handed out after each segment of its channel was read as text.
        str::from_utf8(self.frame.channel()).unwrap_or_default()
    }

    /// The id that the publisher gave the message. A task always has one: that by which its queue knows it.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        if let Some(task) = &self.task {
            return Some(&task.entry.id);
        }
        match self.metadata.as_ref()?.id.as_ref()? {
            Id::InPayload(range) => str::from_utf8(&self.frame.payload()[range.clone()]).ok(),
            Id::Owned(id) => Some(id),
        }
    }

    /// When the message was published, by the publisher's clock, to the millisecond. Of a task that does not say it: when it was enqueued, by the
    /// server's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<SystemTime> {
        let enqueued_at = || self.task().and_then(|task| task.entry.enqueued_at());
        let timestamp = self.metadata.as_ref().and_then(|metadata| metadata.timestamp);
        timestamp.or_else(enqueued_at).and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        const NONE: &Headers = &Headers::new();
        self.metadata.as_ref().map_or(NONE, |metadata| &metadata.headers)
    }

    /// How many members of the envelope, and how many headers, could not be read: a `timestamp` that is an object, two `id`s, a header that is
    /// no text. They are absent, and the message is handled without them.
    #[must_use]
    #[inline]
    pub fn unreadable_metadata(&self) -> u32 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.unreadable)
    }

    /// Which attempt at handling this message it is, from 1. A broadcast is delivered at most once, and so is a request, so there it is always 1. Of
    /// a task it is one more than its [`failures`](Self::failures) and [`crashes`](Self::crashes) so far.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many attempts at this task have failed: its handler returned an error, panicked, or took longer than its timeout. 0 for what is no task.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.record().map_or(0, |record| record.failures)
    }

    /// How many instances have died while they had this task. 0 for what is no task.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.record().map_or(0, |record| record.crashes)
    }

    /// How often a handler has asked for a later time for this task, which costs no attempt. 0 for what is no task.
    #[must_use]
    pub fn snoozes(&self) -> u32 {
        self.record().map_or(0, |record| record.snoozes)
    }

    /// How often an instance has given this task back without having worked it off, because it was stopping: that costs no attempt. 0 for what is no
    /// task.
    #[must_use]
    pub fn hand_backs(&self) -> u32 {
        self.record().map_or(0, |record| record.hand_backs)
    }

    /// The hold of this instance on the task. None for what is no task.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.task().map(|task| &task.lease)
    }

    fn record(&self) -> Option<&Record> {
        self.task().map(|task| &task.entry.record)
    }

    /// How far the message is from the first of its chain: 0, unless a handler returned it while it handled another. Attempts of a task are no hops.
    #[must_use]
    pub fn hops(&self) -> u32 {
        // Whatever else stands there did not come from us.
        self.headers().get(HOPS).and_then(|hops| hops.parse().ok()).unwrap_or_default()
    }

    /// The payload as it arrived.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.frame.payload()
    }

    /// Copies channel and payload out of the read buffer, which is then free for others: for a delivery that is kept for longer than it
    /// takes to handle it.
    pub fn detach(&mut self) {
        self.frame.compact();
    }

    /// Decodes the message and checks it against the channel. Called by generated code, once, before the metadata is read.
    ///
    /// # Errors
    ///
    /// The reason for which the message is not handled. Boxed, as each type has its own code of this, which carries the reason at every step.
    #[doc(hidden)]
    pub fn decode<M: OwnedMessage>(&mut self) -> Result<M, Box<Rejection>> {
        // Without `map_err` and the like, which are functions of their own for each type in a program that is not optimized.
        self.check_entry(M::NAME, M::VERSION)?;
        let payload = self.frame.payload();
        let mut inbound = None;
        let read = match M::OLDER {
            Some(older) if let Some(version) = self.older_version(M::FACTS.read_metadata(), M::VERSION) => {
                older(version, self.format, payload).map(|(message, said)| {
                    inbound = Some(said);
                    message
                })
            }
            _ => match M::Codec::decode_beside(&self.expected(M::NAME, M::VERSION), payload, &mut inbound) {
                Ok(read) => Ok(M::Reader::from_read(read)),
                Err(error) => Err(error),
            },
        };
        let message = match read {
            Ok(message) => message,
            Err(error) => return Err(rejection(error, M::NAME, M::VERSION)),
        };
        if let Err(source) = verify(&message, self.frame.channel()) {
            return Err(disagrees(M::TEMPLATE.text(), source));
        }
        match inbound {
            None => self.learn_nothing(),
            Some(inbound) => self.learn(Metadata::said(inbound, payload)),
        }
        Ok(message)
    }

    /// Like [`decode`](Self::decode), for a message that borrows from `payload`, which is this delivery's.
    pub(crate) fn decode_borrowed<'de, M: BorrowedMessage>(
        &mut self,
        payload: &'de Bytes,
    ) -> Result<M::At<'de>, Box<Rejection>> {
        self.check_entry(M::NAME, M::VERSION)?;
        let mut inbound = None;
        let read = match M::OLDER {
            Some(older) if let Some(version) = self.older_version(M::FACTS.read_metadata(), M::VERSION) => {
                older(version, self.format, payload).map(|(message, said)| {
                    inbound = Some(said);
                    message
                })
            }
            _ => match M::Codec::decode_beside(&self.expected(M::NAME, M::VERSION), payload, &mut inbound) {
                Ok(read) => Ok(M::Reader::<'de>::from_read(read)),
                Err(error) => Err(error),
            },
        };
        let message = match read {
            Ok(message) => message,
            Err(error) => return Err(rejection(error, M::NAME, M::VERSION)),
        };
        if let Err(source) = verify(&message, self.frame.channel()) {
            return Err(disagrees(M::TEMPLATE.text(), source));
        }
        match inbound {
            None => self.learn_nothing(),
            Some(inbound) => self.learn(Metadata::said(inbound, payload)),
        }
        Ok(message)
    }

    /// The payload, for [`decode_borrowed`](Self::decode_borrowed).
    pub(crate) fn share_payload(&self) -> Bytes {
        self.frame.share_payload()
    }

    /// What the entry of a task says of its message, where it does: known before the payload is read, in whatever format that is.
    #[inline]
    fn check_entry(&self, name: &'static str, version: u32) -> Result<(), Box<Rejection>> {
        self.task().map_or(Ok(()), |task| fits_entry(task, name, version))
    }

    /// The version of the payload, where it is older than the handler's. Asked of messages that can read one: it looks at the payload twice. What
    /// says no version has the handler's.
    fn older_version(&self, read: ReadMetadata, known: u32) -> Option<u64> {
        let of_entry = self.task().and_then(|task| task.entry.version);
        let of_payload = || read(&Expected::anything(self.format), self.frame.payload())?.version;
        of_entry.or_else(of_payload).filter(|version| *version < u64::from(known))
    }

    fn expected(&self, name: &'static str, version: u32) -> Expected {
        Expected::new(name, version).format(self.format)
    }

    /// Reads the metadata, unless that was done before. Spans and layers want it before the message is decoded, and the requester of one
    /// that cannot be decoded is told so.
    ///
    /// A codec of the user's that panics has found no metadata: this is called where a panic would end a service.
    pub(crate) fn read(&mut self, read: ReadMetadata) {
        if !self.is_read {
            let payload = self.frame.payload();
            let found = || Metadata::said(read(&Expected::anything(self.format), payload)?, payload);
            if let Ok(Some(metadata)) = catch_unwind(AssertUnwindSafe(found)) {
                self.know(metadata);
            }
        }
        self.is_read = true;
    }

    /// A message alone says nothing when it is decoded.
    #[inline]
    fn learn_nothing(&mut self) {
        self.is_read = true;
        if self.metadata.is_some() {
            self.metadata = None;
        }
    }

    /// What the message said when it was decoded.
    fn learn(&mut self, said: Option<Metadata>) {
        self.is_read = true;
        match said {
            Some(metadata) => self.know(metadata),
            None => self.metadata = None,
        }
    }

    fn know(&mut self, metadata: Metadata) {
        self.metadata = Some(metadata);
        if let Some(ends) = &self.ends
            && let Some(deadline) = self.deadline()
        {
            // Layers read it before the message is decoded; it is the same then.
            let _ = ends.set(deadline);
        }
    }

    /// Where [`deadline`](Self::deadline) will be found by whoever cannot look into the delivery, as soon as its metadata was read.
    pub(crate) fn watch_deadline(&mut self) -> Arc<OnceLock<Instant>> {
        Arc::clone(self.ends.get_or_insert_default())
    }

    /// What a span wants to know, once the metadata was read.
    pub(crate) fn about(&self) -> About<'_> {
        let correlation_id = self.conversation().map(|of| of.correlation_id.as_str());
        About { id: self.id(), correlation_id, headers: self.headers() }
    }

    /// Another delivery of the same message, with its metadata if that was read. This one can still tell where an answer goes.
    #[cfg(feature = "tower")]
    pub(crate) fn split(&self) -> Self {
        Self {
            frame: self.frame.clone(),
            format: self.format,
            metadata: self.metadata.clone(),
            is_read: self.is_read,
            attempt: self.attempt,
            ends: self.ends.clone(),
            task: self.task.clone(),
        }
    }

    /// Where the answer goes, once the metadata was read.
    pub(crate) fn reply_to(&self) -> Option<ReplyTo<'_>> {
        let Conversation { correlation_id, reply_to, .. } = self.conversation()?;
        Some(ReplyTo { channel: reply_to.as_deref()?, correlation_id })
    }

    /// The version of a message that is to be answered, once the metadata was read, if it says one.
    pub(crate) fn version(&self) -> Option<u64> {
        self.conversation()?.version
    }

    fn conversation(&self) -> Option<&Conversation> {
        self.metadata.as_ref()?.conversation.as_deref()
    }

    /// Whether the requester has stopped waiting.
    pub(crate) fn is_expired(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now())
    }

    /// When the requester stops waiting: what it said was left of its time, counted from the arrival. Only what is to be answered has one.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let Conversation { reply_to, time_left, .. } = self.conversation()?;
        self.frame.arrived().instant().checked_add(time_left.filter(|_| reply_to.is_some())?)
    }

    /// How long the requester still waits: zero once it has stopped. Only what is to be answered has such a time. Requests that the handler sends
    /// itself inherit it.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(now()))
    }

    /// The typed address of the channel.
    ///
    /// # Errors
    ///
    /// [`AddressError`] when the channel is no address of `M`: never for the message that was delivered here.
    pub fn address<M: Message>(&self) -> Result<Address<M>, AddressError> {
        Address::parse(self.channel())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("channel", &Shown(self.channel()))
            .field("id", &self.id().map(Shown))
            .finish_non_exhaustive()
    }
}

fn fits_entry(task: &Task, name: &'static str, known: u32) -> Result<(), Box<Rejection>> {
    let Task { entry, .. } = task;
    if let Some(found) = entry.name.as_ref().filter(|found| *found != name) {
        return Err(rejection(DecodeError::WrongType(found.clone()), name, known));
    }
    match entry.version {
        Some(version) if version > u64::from(known) => Err(rejection(DecodeError::NewerVersion(version), name, known)),
        _ => Ok(()),
    }
}

#[cold]
fn rejection(error: DecodeError, name: &'static str, known: u32) -> Box<Rejection> {
    Box::new(match error {
        DecodeError::Invalid(reason) => Rejection::Undecodable { name, reason },
        DecodeError::WrongType(found) => Rejection::WrongType { name, found },
        DecodeError::NewerVersion(found) => Rejection::NewerVersion { name, found, known },
    })
}

#[inline]
fn verify<M: Message>(message: &M, channel: &[u8]) -> Result<(), AddressError> {
    let mut reader = ChannelReader::of_bytes(channel);
    message.verify(&mut reader)?;
    reader.finish()
}

#[cold]
fn disagrees(template: &'static str, source: AddressError) -> Box<Rejection> {
    Box::new(Rejection::Address { template, source })
}

impl Metadata {
    /// What the payload says, unless that is nothing.
    fn said(inbound: Inbound<'_>, payload: &[u8]) -> Option<Self> {
        (!inbound.is_nothing()).then(|| Self::new(inbound, payload))
    }

    fn new(inbound: Inbound<'_>, payload: &[u8]) -> Self {
        Self {
            id: inbound.id.map(|id| Id::new(&id, payload)),
            timestamp: inbound.timestamp,
            headers: inbound.headers,
            unreadable: inbound.unreadable,
            conversation: inbound.correlation_id.map(|correlation_id| {
                Box::new(Conversation {
                    correlation_id: correlation_id.into_owned(),
                    reply_to: inbound.reply_to.map(Cow::into_owned),
                    time_left: inbound.time_left.map(|millis| Duration::from_millis(millis.into())),
                    version: inbound.version,
                })
            }),
        }
    }
}

impl Id {
    fn new(id: &str, payload: &[u8]) -> Self {
        let offset = (id.as_ptr() as usize).wrapping_sub(payload.as_ptr() as usize);
        let range = offset..offset.wrapping_add(id.len());
        // The comparison keeps this right even where the id was unescaped into memory of its own.
        match payload.get(range.clone()) {
            Some(bytes) if bytes == id.as_bytes() => Self::InPayload(range),
            _ => Self::Owned(id.to_owned()),
        }
    }
}
