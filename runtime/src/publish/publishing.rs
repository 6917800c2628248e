//! Publishing one message.

use std::{
    fmt,
    future::{IntoFuture, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    bus::{handle::Bus, sending::Receipt},
    codec::headers::Headers,
    error::PublishError,
    message::{
        address::Address,
        contract::{AddressedByFields, Message},
    },
    observe::observation::{Observation, watch},
    publish::{acknowledge::Acknowledging, addressed::Addressed},
};

/// A publish that is sent when it is awaited. `message.publish(&bus)` and `message.publish_to(address, &bus)` make one.
///
/// It reaches everybody who is subscribed at that moment, at most once. The [`Receipt`] counts connections, not handlers: whoever wants to
/// know that the message was handled says [`acknowledged_within`](Self::acknowledged_within).
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Event, Message};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("chat:room:<room: String>")]
/// # struct ChatLine { text: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mut room = bus.subscribe(ChatLine::channel("general")).await?;
/// let line = ChatLine { text: "hello".into() };
/// let receipt = line.publish_to(ChatLine::channel("general"), &bus).header("client", "web").await?;
/// assert_eq!(receipt.receivers, Some(1));
/// assert!(matches!(room.next().await, Some(Event::Message(line)) if line.text == "hello"));
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until this is awaited"]
pub struct Publishing<'a, M> {
    to_send: Addressed<'a, M>,
}

impl<'a, M: Message> Publishing<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        Self { to_send: Addressed::by_fields(message, bus) }
    }

    #[doc(hidden)]
    pub fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        Self { to_send: Addressed::to(message, address, bus) }
    }

    /// Sets a header. A plain message carries none: the publish then fails.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.to_send.header(name, value);
        self
    }

    /// What it would publish on another bus: the message, its channel there and its headers.
    pub(super) fn on(self, bus: &Bus) -> (&'a M, Result<String, PublishError>, Headers) {
        self.to_send.on(bus)
    }

    /// Waits until a subscriber's handler has handled the message, for so long at most.
    ///
    /// Only services acknowledge: a [`Subscription`](crate::Subscription) does not know when its program is done with a message,
    /// and a handler whose filter does not want the message says nothing.
    pub fn acknowledged_within(self, timeout: Duration) -> Acknowledging<'a, M> {
        Acknowledging::new(self.to_send, timeout)
    }
}

crate::future::once_awaited!(['a, M] Publishing<'a, M>);
crate::future::never_polled!(['a, M] Publishing<'a, M> => Result<Receipt, PublishError>, (): GivenAway);

impl<'a, M: Message> IntoFuture for Publishing<'a, M> {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = PublishFuture<'a>;

    /// Encodes the message. It is sent at the first poll; publishes that are polled one after the other arrive in that order.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future after the first poll does not call the message back.
    fn into_future(self) -> PublishFuture<'a> {
        let Self { to_send } = self;
        let bus = to_send.bus;
        let observation = bus.observer().publish(M::TEMPLATE.text());
        let encode = || to_send.parcel(None);
        match Observation::scope(observation.as_deref(), encode) {
            Ok(parcel) => PublishFuture { inner: Box::pin(watch(observation, bus.send(parcel))) },
            Err(error) => PublishFuture { inner: Box::pin(watch(observation, ready(Err(error)))) },
        }
    }
}

impl<M> fmt::Debug for Publishing<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Publishing").field("to_send", &self.to_send).finish_non_exhaustive()
    }
}

/// The future of a publish.
#[must_use = "nothing is published until this is awaited"]
pub struct PublishFuture<'a> {
    inner: Pin<Box<dyn Future<Output = Result<Receipt, PublishError>> + Send + 'a>>,
}

impl Future for PublishFuture<'_> {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(context)
    }
}

impl fmt::Debug for PublishFuture<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PublishFuture").finish_non_exhaustive()
    }
}

/// What `publish` asks of a message whose parameters are not all fields. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say where to publish: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.publish_to({M}::channel(…), &bus)`"
)]
pub trait CompleteChannel<'a, M> {
    fn incomplete(self) -> Publishing<'a, M>;
}
