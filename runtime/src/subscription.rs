//! A stream of one message type.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    bus::Bus,
    channel::{
        selector::{Selector, write_selector},
        template::Segment,
        text::fits_pattern,
    },
    error::{AddressError, Rejection, SubscribeError},
    message::{
        contract::{Message, OwnedMessage},
        delivery::Delivery,
    },
    observe::{meters::Counted, names},
    subscribing::Options,
    transport::{
        contract::{Attachment, NameKind},
        inbox::{Inbox, Item},
        status::Gap,
    },
};

/// The messages of one channel or pattern, as a [`Stream`] of events. [`Bus::subscribe`] opens it.
///
/// The messages of one channel arrive in the order in which one publisher sent them, each once; what may have been missed shows
/// as [`Event::Gap`], what did not fit into the buffer as [`Event::Lagged`], at the place in the stream where it is missing.
/// Delivery is at most once: a message published while the connection is down is gone.
///
/// Dropping the subscription unsubscribes on the server, unless another one on the same bus wants the channel.
pub struct Subscription<M> {
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox with one lock.
    taken: VecDeque<Item>,
    selection: String,
    stats: SubscriptionStats,
    counted: Counts,
    /// Absent once the subscription has ended by itself.
    attachment: Option<Attachment>,
    idle: Option<Idle>,
    /// Keeps the connections open.
    bus: Bus,
    message: PhantomData<fn() -> M>,
}

/// What a subscription yields. `Debug` shows a message's metadata and never its payload.
#[non_exhaustive]
pub enum Event<M> {
    /// A message.
    Message(Received<M>),
    /// Messages may have been missed before this point; from here on the subscription is live again.
    Gap(Gap),
    /// So many messages were dropped at this point, because the program did not keep up.
    Lagged(u64),
    /// Something arrived that is no message of the type. The next message follows.
    Invalid(Invalid),
    /// After a reconnection the server refused the subscription. It is tried again at each reconnection.
    Refused(SubscribeError),
    /// The last event: the subscription has ended, and `None` follows.
    Ended(EndReason),
}

/// Why a subscription has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The bus is closed: the server was away for longer than [`Reconnect::give_up_after`](crate::Reconnect::give_up_after) allows.
    GaveUp {
        /// What happened, in words.
        reason: String,
    },
    /// Nothing arrived for as long as [`Subscribing::idle_timeout`](crate::Subscribing::idle_timeout) allows, which is this.
    Idle(Duration),
}

impl fmt::Display for EndReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp { reason } => write!(formatter, "the bus gave up: {reason}"),
            Self::Idle(timeout) => write!(formatter, "nothing arrived for {timeout:?}"),
        }
    }
}

/// Watches for silence.
struct Idle {
    timeout: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let heard = Instant::now();
        Self { timeout, heard, timer: Box::pin(sleep_until(heard + timeout)) }
    }

    /// Ready when nothing was heard for the timeout. The timer is moved only when it fires, not with each message.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let due = self.heard + self.timeout;
            if due <= Instant::now() {
                return Poll::Ready(self.timeout);
            }
            self.timer.as_mut().reset(due);
        }
    }
}

/// A message with its metadata. Dereferences to the message. `Debug` shows the metadata only.
#[non_exhaustive]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Its metadata.
    pub delivery: Delivery,
}

/// Something that arrived on a subscribed channel and is no message of the expected type. `Debug` leaves the payload out.
#[non_exhaustive]
pub struct Invalid {
    /// The channel, without the namespace. Bytes that are no UTF-8 are replaced.
    pub channel: String,
    /// The payload; empty when it was larger than the limit, as its bytes are then not kept.
    pub payload: Vec<u8>,
    /// What is wrong.
    pub rejection: Rejection,
}

/// What a subscription has yielded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Messages.
    pub messages: u64,
    /// Payloads and channels that were no message of the type.
    pub invalid: u64,
    /// Messages dropped because the buffer was full.
    pub lagged: u64,
    /// Gaps.
    pub gaps: u64,
}

/// The same, for a recorder of metrics: summed over all subscriptions of the template.
struct Counts {
    messages: Counted,
    invalid: Counted,
    lagged: Counted,
    gaps: Counted,
}

impl Counts {
    fn new(template: &'static str) -> Self {
        let template = ("template", template);
        Self {
            messages: Counted::new(names::RECEIVED, &[template, ("outcome", "ok")]),
            invalid: Counted::new(names::RECEIVED, &[template, ("outcome", "invalid")]),
            lagged: Counted::new(names::LAGGED, &[names::BY_SUBSCRIPTION, template]),
            gaps: Counted::new(names::GAPS, &[names::BY_SUBSCRIPTION, template]),
        }
    }
}

/// Messages taken out of the inbox with one lock: enough to make the lock's cost invisible.
const BATCH: usize = 256;

/// What a selector says, as a name without its namespace.
pub(crate) struct Selection {
    name: String,
    kind: NameKind,
}

impl Selection {
    pub(crate) fn new<M: Message>(selector: &impl Selector<M>) -> Self {
        let mut name = String::new();
        let kind = if write_selector(selector, &mut name) { NameKind::Pattern } else { NameKind::Channel };
        Self { name, kind }
    }
}

impl<M: OwnedMessage> Subscription<M> {
    pub(crate) async fn open(
        bus: Bus,
        Selection { name: selection, kind }: Selection,
        options: Options,
    ) -> Result<Self, SubscribeError> {
        let inbox = Arc::new(Inbox::new(options.bounds, options.overflow).with_templates(vec![M::TEMPLATE.text()]));
        let attachment = bus.attach(Arc::clone(&inbox), vec![(selection.clone(), kind)]).await?;
        Ok(Self {
            inbox,
            taken: VecDeque::new(),
            selection,
            stats: SubscriptionStats::default(),
            counted: Counts::new(M::TEMPLATE.text()),
            attachment: Some(attachment),
            idle: options.idle_timeout.map(Idle::new),
            bus,
            message: PhantomData,
        })
    }

    /// The next event; `None` after [`Event::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event<M>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// The channel or pattern, without the namespace.
    #[must_use]
    pub fn selection(&self) -> &str {
        &self.selection
    }

    /// What the subscription has yielded so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.stats
    }

    /// The bus on which it listens.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event<M>>> {
        if self.taken.is_empty() {
            match self.inbox.poll_take(context, &mut self.taken, BATCH) {
                Poll::Ready(true) => self.heard(),
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return self.poll_idle(context),
            }
        }
        Poll::Ready(self.taken.pop_front().map(|item| self.event(item)))
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<Option<Event<M>>> {
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        let timeout = ready!(idle.poll(context));
        self.inbox.close();
        self.attachment = None;
        Poll::Ready(Some(Event::Ended(EndReason::Idle(timeout))))
    }

    fn heard(&mut self) {
        let traffic = |item: &Item| matches!(item, Item::Frame(_) | Item::Oversized { .. } | Item::Lagged(_));
        if let Some(idle) = &mut self.idle
            && self.taken.iter().any(traffic)
        {
            idle.heard = Instant::now();
        }
    }

    fn event(&mut self, item: Item) -> Event<M> {
        match item {
            Item::Frame(frame) => {
                let fits = str::from_utf8(frame.channel())
                    .is_ok_and(|channel| fits_pattern(&self.selection, channel, has_rest::<M>()));
                let mut delivery = Delivery::new(frame, self.bus.config().format);
                let decoded = if fits { delivery.decode() } else { Err(mismatch::<M>()) };
                match decoded {
                    Ok(message) => {
                        self.stats.messages += 1;
                        self.counted.messages.add(1);
                        Event::Message(Received { message, delivery })
                    }
                    Err(rejection) => self.invalid(delivery.frame().channel(), delivery.payload(), rejection),
                }
            }
            Item::Oversized { channel, size, .. } => {
                let limit = self.bus.config().payload_limit;
                self.invalid(&channel, &[], Rejection::TooLarge { size, limit })
            }
            Item::Gap(gap) => {
                self.stats.gaps += 1;
                self.counted.gaps.add(1);
                Event::Gap(gap)
            }
            Item::Lagged(count) => {
                self.stats.lagged += count;
                self.counted.lagged.add(count);
                tracing::warn!(template = M::TEMPLATE.text(), count, "a full subscription dropped messages");
                Event::Lagged(count)
            }
            Item::Refused(error) => Event::Refused(error),
            Item::Ended(reason) => Event::Ended(EndReason::GaveUp { reason }),
        }
    }

    fn invalid(&mut self, channel: &[u8], payload: &[u8], rejection: Rejection) -> Event<M> {
        self.stats.invalid += 1;
        self.counted.invalid.add(1);
        tracing::warn!(template = M::TEMPLATE.text(), reason = rejection.kind(), "received no message of the type");
        Event::Invalid(Invalid {
            channel: String::from_utf8_lossy(channel).into_owned(),
            payload: payload.to_owned(),
            rejection,
        })
    }
}

fn has_rest<M: Message>() -> bool {
    matches!(M::TEMPLATE.segments().last(), Some(Segment::Rest { .. }))
}

fn mismatch<M: Message>() -> Rejection {
    Rejection::Address { template: M::TEMPLATE.text(), source: AddressError::Mismatch }
}

impl<M: OwnedMessage> Stream for Subscription<M> {
    type Item = Event<M>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event<M>>> {
        self.poll_event(context)
    }
}

impl<M> Unpin for Subscription<M> {}

impl<M: OwnedMessage> fmt::Debug for Subscription<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").field("selection", &self.selection).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Event<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(received) => formatter.debug_tuple("Message").field(received).finish(),
            Self::Gap(gap) => formatter.debug_tuple("Gap").field(gap).finish(),
            Self::Lagged(count) => formatter.debug_tuple("Lagged").field(count).finish(),
            Self::Invalid(invalid) => formatter.debug_tuple("Invalid").field(invalid).finish(),
            Self::Refused(error) => formatter.debug_tuple("Refused").field(error).finish(),
            Self::Ended(reason) => formatter.debug_tuple("Ended").field(reason).finish(),
        }
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Invalid")
            .field("channel", &self.channel)
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Received<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Received").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl<M> Event<M> {
    /// The message, if that is what it is.
    #[must_use]
    pub fn into_message(self) -> Option<Received<M>> {
        match self {
            Self::Message(received) => Some(received),
            _ => None,
        }
    }
}

impl<M> Deref for Received<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}
