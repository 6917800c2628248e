//! Subscribing: the verb, and a subscription before it is made.
//!
//! | room | holds |
//! |--|--|
//! | `subscription` | the stream of one message type |
//! | `event` | what it yields |
//! | `folded` | log lines that would repeat |
//!
//! It uses `bus`, `message` and the floors below, and knows no handler.

pub(crate) mod event;
pub(crate) mod folded;
pub(crate) mod subscription;

use std::{fmt, future::Pending, time::Duration};

use crate::{
    bus::handle::Bus,
    channel::selector::Selector,
    config::{Bounds, Overflow},
    error::SubscribeError,
    future::BusFuture,
    message::{contract::OwnedMessage, kind::Broadcast},
    subscribe::{
        event::Event,
        subscription::{Reading, Selection, SubscribeOptions, Subscription},
    },
    time::LONGEST,
    transport::inbox::WhenFull,
};

/// A message that can be subscribed to, for code that is generic over it: every broadcast that owns its fields is one.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Bus, Event, Message, Subscribable, SubscribeError};
///
/// /// The next message of a type, on whichever channel.
/// async fn next<M: Subscribable>(bus: &Bus) -> Result<Option<M>, SubscribeError> {
///     let mut arriving = bus.subscribe(M::any()).await?;
///     while let Some(event) = arriving.next().await {
///         if let Event::Message(received) = event {
///             return Ok(Some(received.message));
///         }
///     }
///     Ok(None)
/// }
/// #
/// # #[derive(Debug, Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// # let order = tokio::spawn({ let bus = bus.clone(); async move { next::<OrderPlaced>(&bus).await } });
/// # while (OrderPlaced { id: 7 }).publish(&bus).await?.receivers == Some(0) { tokio::task::yield_now().await; }
/// # assert_eq!(order.await??.map(|order| order.id), Some(7));
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be subscribed to: a subscription yields broadcasts that own their fields",
    label = "a request, a task, or borrows from its payload",
    note = "a request is sent with `message.request(&bus)` and taken by a `#[handler]`, since its reply would be lost otherwise; a task with `message.enqueue(&bus)`",
    note = "a message that borrows is taken by a `#[handler]`; subscribe to one of the same channel and name with owned fields"
)]
pub trait Subscribable: OwnedMessage + Broadcast {}

#[diagnostic::do_not_recommend]
impl<M: OwnedMessage + Broadcast> Subscribable for M {}

/// A subscription that is made when this is awaited. [`Bus::subscribe`] starts it.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bounds, Bus, EndReason, Event, Message, Overflow};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("news")]
/// # struct News { n: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mut news = bus
///     .subscribe(News::channel())
///     .idle_timeout(Duration::from_millis(20))
///     .overflow(Overflow::DropNewest)
///     .buffer(Bounds::messages(1_000).bytes(1 << 20))
///     .await?;
/// assert!(matches!(news.next().await, Some(Event::Ended(EndReason::Idle(_)))));
/// assert!(news.next().await.is_none());
/// # Ok(()) }
/// ```
#[must_use = "nothing is subscribed until this is awaited"]
pub struct Subscribing<M> {
    bus: Bus,
    selection: Selection,
    options: SubscribeOptions,
    reading: Reading<M>,
}

impl<M> Subscribing<M> {
    /// Ends the subscription when nothing has arrived for so long, 1 ms to a year: with [`Event::Ended`](crate::Event::Ended) and
    /// [`EndReason::Idle`](crate::EndReason::Idle), unsubscribed. Default: never.
    ///
    /// Payloads that are no message count as traffic, and so do dropped messages; messages on channels that do not fit the template do not. An
    /// outage is silence like any other. What arrives at the last moment comes before the end.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = Some(timeout.clamp(Duration::from_millis(1), LONGEST));
        self
    }

    /// What happens when the buffer is full. Default: [`Overflow::DropOldest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = match overflow {
            Overflow::DropOldest => WhenFull::DropOldest,
            Overflow::DropNewest => WhenFull::DropNewest,
            Overflow::BackPressure => WhenFull::Block,
        };
        self
    }

    /// The bounds of the buffer. Default: those of the bus, 16,384 messages and 16 MiB.
    ///
    /// One message fits always, however large it is. The buffer may exceed its bounds by one read from the connection, 128 KiB.
    pub fn buffer(mut self, bounds: Bounds) -> Self {
        self.options.bounds = bounds.at_least_one();
        self
    }
}

/// What `next` asks of a subscription that is not made yet. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "nothing is subscribed yet, so there is no `next`",
    label = "not a subscription yet",
    note = "write `.await?` behind `bus.subscribe(…)`: that is the `Subscription` which has `next`"
)]
pub trait NotSubscribedYet<'a, M> {
    fn next(self) -> Pending<Option<Event<M>>>;
}

impl<M> Subscribing<M> {
    #[doc(hidden)]
    pub fn next<'a>(&'a mut self) -> Pending<Option<Event<M>>>
    where
        (): NotSubscribedYet<'a, M>,
    {
        ().next()
    }
}

/// What `close` and `unsubscribe` ask of a subscription. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a subscription ends when it is dropped",
    label = "write `drop(subscription)`, or let it go out of scope"
)]
pub trait EndedByDropping<'a> {
    fn ended(self) -> Pending<Result<(), SubscribeError>>;
}

/// What `recv` asks of a subscription. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a subscription has a `next` event",
    label = "write `.next().await`",
    note = "a message is the event `Event::Message(received)`"
)]
pub trait NextByAnotherName<'a, M> {
    fn next(self) -> Pending<Option<Event<M>>>;
}

impl<M> Subscription<M> {
    #[doc(hidden)]
    pub fn recv<'a>(&'a mut self) -> Pending<Option<Event<M>>>
    where
        (): NextByAnotherName<'a, M>,
    {
        ().next()
    }

    #[doc(hidden)]
    pub fn close<'a>(&'a self) -> Pending<Result<(), SubscribeError>>
    where
        (): EndedByDropping<'a>,
    {
        ().ended()
    }

    #[doc(hidden)]
    pub fn unsubscribe<'a>(&'a self) -> Pending<Result<(), SubscribeError>>
    where
        (): EndedByDropping<'a>,
    {
        ().ended()
    }
}

crate::future::once_awaited!([M] Subscribing<M>);
crate::future::never_polled!([M] Subscribing<M> => Result<Subscription<M>, SubscribeError>, (): GivenAway);

impl<M: 'static> IntoFuture for Subscribing<M> {
    type Output = Result<Subscription<M>, SubscribeError>;
    type IntoFuture = BusFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(Subscription::open(self.bus, self.selection, self.options, self.reading))
    }
}

impl<M> fmt::Debug for Subscribing<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscribing").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Bus {
    /// Subscribes to one channel (`M::channel(…)`) or to a pattern (`M::any()`). Await it, after setting what is to differ from the
    /// defaults: [`idle_timeout`](Subscribing::idle_timeout), [`overflow`](Subscribing::overflow), [`buffer`](Subscribing::buffer).
    ///
    /// The subscription is live when it was awaited: no message published after that is missed, except in a gap that the
    /// subscription reports. Every subscription sees each message once, whatever other subscriptions overlap with it.
    /// [SUBSCRIBE](https://redis.io/docs/latest/commands/subscribe/),
    /// [PSUBSCRIBE](https://redis.io/docs/latest/commands/psubscribe/).
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the server refuses the channel or does not confirm it within the command timeout, or the name is
    /// too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future unsubscribes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Event, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("orders:<region>:<id>")]
    /// # struct OrderPlaced { region: String, id: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mut one = bus.subscribe(OrderPlaced::channel("eu", 7)).await?; // `orders:eu:7`
    /// let mut european = bus.subscribe(OrderPlaced::any().region("eu")).await?; // `orders:eu:*`
    ///
    /// OrderPlaced { region: "eu".into(), id: 7 }.publish(&bus).await?;
    /// OrderPlaced { region: "us".into(), id: 8 }.publish(&bus).await?; // for neither of them
    /// assert!(matches!(one.next().await, Some(Event::Message(order)) if order.id == 7));
    /// assert!(matches!(european.next().await, Some(Event::Message(order)) if order.id == 7));
    /// # Ok(()) }
    /// ```
    pub fn subscribe<M: Subscribable>(&self, selector: impl Selector<M>) -> Subscribing<M> {
        let bounds = self.config().subscription_buffer;
        let options = SubscribeOptions { idle_timeout: None, overflow: WhenFull::DropOldest, bounds };
        Subscribing { bus: self.clone(), selection: Selection::new(&selector), options, reading: Reading::new() }
    }
}
