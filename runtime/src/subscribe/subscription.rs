//! A stream of one message type.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    bus::handle::Bus,
    channel::{
        selector::{Selector, write_selector},
        template::Segment,
        text::fits_pattern,
    },
    config::Bounds,
    error::{AddressError, Rejection, SubscribeError},
    message::{
        contract::{Message, OwnedMessage},
        delivery::Delivery,
    },
    observe::{meters::Counted, names},
    subscribe::event::{EndReason, Event, Invalid, Received},
    transport::{
        contract::Attachment,
        inbox::{Inbox, Item, WhenFull},
        status::NameKind,
    },
};

/// The messages of one channel or pattern, as a [`Stream`] of events. [`Bus::subscribe`] opens it.
///
/// The messages of one channel arrive in the order in which one publisher sent them, each once; what may have been missed shows
/// as [`Event::Gap`], what did not fit into the buffer as [`Event::Lagged`], at the place in the stream where it is missing.
/// Delivery is at most once: a message published while the connection is down is gone.
///
/// Dropping the subscription unsubscribes on the server, unless another one on the same bus wants the channel.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Event, Message, testing::Broker};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("chat:room:<room: String>")]
/// # struct ChatLine { text: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = Broker::new();
/// # let bus = Bus::connect(&broker.url()).await?;
/// let general = ChatLine::channel("general");
/// let mut room = bus.subscribe(&general).idle_timeout(Duration::from_millis(20)).await?;
/// ChatLine { text: "hello".into() }.publish_to(&general, &bus).await?;
/// broker.publish_raw("chat:room:general", b"no chat line");
/// let mut lines = Vec::new();
/// while let Some(event) = room.next().await {
///     match event {
///         Event::Message(line) => lines.push(line.message.text),
///         Event::Gap(gap) => println!("lines may be missing: {}", gap.cause),
///         Event::Lagged(count) => println!("{count} lines were dropped, because this loop is too slow"),
///         Event::Invalid(invalid) => println!("{}: {}", invalid.channel, invalid.rejection),
///         Event::Ended(reason) => println!("that was all: {reason}"), // `None` follows
///         other => println!("{other:?}"),
///     }
/// }
/// assert_eq!(lines, ["hello"]);
/// assert_eq!(room.stats().invalid, 1);
/// # Ok(()) }
/// ```
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
        options: SubscribeOptions,
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

/// What a subscription is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribeOptions {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) overflow: WhenFull,
    pub(crate) bounds: Bounds,
}
