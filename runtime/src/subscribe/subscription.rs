//! A stream of one message type.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    task::coop::consume_budget,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    bus::handle::Bus,
    channel::{
        selector::{Selector, write_selector},
        template::Segment,
        text::{Shown, fits_pattern},
    },
    config::Bounds,
    error::{Rejection, SubscribeError},
    message::{
        contract::{Message, OwnedMessage},
        delivery::Delivery,
    },
    observe::{meters::Counted, names},
    subscribe::{
        event::{EndReason, Event, Invalid, Received},
        folded::Folded,
    },
    time::now,
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
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription<M> {
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox with one lock.
    taken: VecDeque<Item>,
    selection: String,
    stats: SubscriptionStats,
    counted: Counts,
    folded: Folded,
    /// Absent once the subscription has ended by itself.
    attachment: Option<Attachment>,
    idle: Option<Idle>,
    /// The silence after which it ends when all that has arrived is read.
    silent: Option<Duration>,
    /// The last event was yielded.
    ended: bool,
    /// Keeps the connections open.
    bus: Bus,
    reading: Reading<M>,
}

/// What a subscription knows of its message. With it in a value, only `Bus::subscribe` asks for the message's traits: a wrong message is one
/// error, and not one more at each `await` and `next`.
pub(crate) struct Reading<M> {
    template: &'static str,
    has_rest: bool,
    decode: fn(&mut Delivery) -> Result<M, Box<Rejection>>,
}

impl<M: OwnedMessage> Reading<M> {
    pub(crate) fn new() -> Self {
        let has_rest = matches!(M::TEMPLATE.segments().last(), Some(Segment::Rest { .. }));
        Self { template: M::TEMPLATE.text(), has_rest, decode: Delivery::decode }
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

/// What a subscription has yielded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Messages.
    pub messages: u64,
    /// Payloads and channels that were no message of the type.
    pub invalid: u64,
    /// Messages of other templates: a pattern on the server matches deeper channels too, which do not fit this one. They are passed over.
    pub unmatched: u64,
    /// Messages dropped because the buffer was full.
    pub lagged: u64,
    /// Gaps.
    pub gaps: u64,
}

/// The same, for a recorder of metrics: summed over all subscriptions of the template.
struct Counts {
    messages: Counted,
    invalid: Counted,
    unmatched: Counted,
    lagged: Counted,
    gaps: Counted,
}

impl Counts {
    fn new(template: &'static str) -> Self {
        let template = ("template", template);
        Self {
            messages: Counted::new(names::RECEIVED, &[template, ("outcome", "ok")]),
            invalid: Counted::new(names::RECEIVED, &[template, ("outcome", "invalid")]),
            unmatched: Counted::new(names::RECEIVED, &[template, ("outcome", "unmatched")]),
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

impl<M> Subscription<M> {
    pub(crate) async fn open(
        bus: Bus,
        Selection { name: selection, kind }: Selection,
        options: SubscribeOptions,
        reading: Reading<M>,
    ) -> Result<Self, SubscribeError> {
        bus.check_open()?;
        let inbox = Arc::new(Inbox::new(options.bounds, options.overflow).with_templates(vec![reading.template]));
        let attachment = bus.attach(Arc::clone(&inbox), vec![(selection.clone(), kind)]).await?;
        Ok(Self {
            inbox,
            taken: VecDeque::new(),
            selection,
            stats: SubscriptionStats::default(),
            counted: Counts::new(reading.template),
            folded: Folded::default(),
            attachment: Some(attachment),
            idle: options.idle_timeout.map(Idle::new),
            silent: None,
            ended: false,
            bus,
            reading,
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
        while !self.ended {
            if self.taken.is_empty() {
                match self.inbox.poll_take(context, &mut self.taken, BATCH) {
                    Poll::Ready(true) => self.heard(),
                    Poll::Ready(false) => {
                        self.ended = true;
                        return Poll::Ready(self.silent.map(|silence| Event::Ended(EndReason::Idle(silence))));
                    }
                    Poll::Pending => ready!(self.poll_idle(context)),
                }
            }
            // A full buffer must not keep the other tokio tasks of this thread from running.
            ready!(pin!(consume_budget()).poll(context));
            if let Some(event) = self.taken.pop_front().and_then(|item| self.event(item)) {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }

    /// Ready when it was silent for too long. What arrived meanwhile is there to be read.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        self.silent = Some(ready!(idle.poll(context)));
        self.inbox.close();
        self.attachment = None;
        Poll::Ready(())
    }

    fn heard(&mut self) {
        let traffic = |item: &Item| match item {
            Item::Frame(frame) => self.fits(frame.channel()),
            Item::Oversized { channel, .. } => self.fits(channel),
            Item::Lagged(_) => true,
            Item::Gap(_) | Item::Refused(_) | Item::Ended(_) => false,
        };
        if self.idle.is_some()
            && self.taken.iter().any(traffic)
            && let Some(idle) = &mut self.idle
        {
            idle.heard = Instant::now();
        }
    }

    /// Whether a channel has the form of the template: the server's globs match others too. Bytes that are no text are some parameter's value.
    fn fits(&self, channel: &[u8]) -> bool {
        fits_pattern(&self.selection, &String::from_utf8_lossy(channel), self.reading.has_rest)
    }

    /// What the item is to the program, if it is for this subscription.
    fn event(&mut self, item: Item) -> Option<Event<M>> {
        Some(match item {
            Item::Frame(frame) if !self.fits(frame.channel()) => return self.unmatched(),
            Item::Frame(frame) => {
                let mut delivery = Delivery::of(frame, self.bus.config().format);
                match (self.reading.decode)(&mut delivery) {
                    Ok(message) => {
                        self.stats.messages += 1;
                        self.counted.messages.add(1);
                        Event::Message(Received { message, delivery })
                    }
                    Err(rejection) => self.invalid(delivery.frame().channel(), delivery.payload(), *rejection),
                }
            }
            Item::Oversized { channel, .. } if !self.fits(&channel) => return self.unmatched(),
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
                if let Some(count) = self.folded.line("lagged", count, now()) {
                    tracing::warn!(template = self.reading.template, count, "a full subscription dropped messages");
                }
                Event::Lagged(count)
            }
            Item::Refused(error) => Event::Refused(error),
            Item::Ended(reason) => {
                self.ended = true;
                let reason = if self.bus.was_closed() { EndReason::Closed } else { EndReason::GaveUp { reason } };
                Event::Ended(reason)
            }
        })
    }

    fn unmatched(&mut self) -> Option<Event<M>> {
        self.stats.unmatched += 1;
        self.counted.unmatched.add(1);
        tracing::trace!(
            template = self.reading.template,
            "a channel matches the subscribed pattern and not the template"
        );
        None
    }

    fn invalid(&mut self, channel: &[u8], payload: &[u8], rejection: Rejection) -> Event<M> {
        self.stats.invalid += 1;
        self.counted.invalid.add(1);
        if let Some(count) = self.folded.line(rejection.kind(), 1, now()) {
            tracing::warn!(
                template = self.reading.template,
                reason = rejection.kind(),
                count,
                "received no message of the type"
            );
        }
        Event::Invalid(Invalid {
            channel: String::from_utf8_lossy(channel).into_owned(),
            payload: payload.to_owned(),
            rejection,
        })
    }
}

impl<M> Stream for Subscription<M> {
    type Item = Event<M>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event<M>>> {
        self.poll_event(context)
    }
}

impl<M> Unpin for Subscription<M> {}

impl<M> fmt::Debug for Subscription<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").field("selection", &Shown(&self.selection)).finish_non_exhaustive()
    }
}

/// What a subscription is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribeOptions {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) overflow: WhenFull,
    pub(crate) bounds: Bounds,
}
