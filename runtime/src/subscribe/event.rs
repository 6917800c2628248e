//! What a subscription yields.

use std::{fmt, ops::Deref, time::Duration};

use crate::{
    channel::text::Shown,
    error::{Rejection, SubscribeError},
    message::delivery::Delivery,
    transport::status::Gap,
};

/// What a [`Subscription`](crate::Subscription) yields, in order: messages, and what happened between them. `Debug` shows a message's
/// metadata and never its payload.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Event, Message, testing::Broker};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = Broker::new();
/// # let bus = Bus::connect(&broker.url()).await?;
/// let mut orders = bus.subscribe(OrderPlaced::any()).await?;
/// broker.disconnect_subscribers(); // the connection comes back at once
/// OrderPlaced { id: 7 }.publish(&bus).await?;
///
/// assert!(matches!(orders.next().await, Some(Event::Gap(_)))); // before it, orders may be missing
/// let order = orders.next().await.and_then(Event::into_message);
/// assert_eq!(order.map(|order| order.id), Some(7));
/// # Ok(()) }
/// ```
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
    /// The server was away for longer than [`Reconnect::give_up_after`](crate::Reconnect::give_up_after) allows: the bus is closed, or only this
    /// subscription has ended, if it has a connection of its own ([`Overflow::BackPressure`](crate::Overflow::BackPressure)).
    #[non_exhaustive]
    GaveUp {
        /// What happened, in words.
        reason: String,
    },
    /// The program has closed the bus, with [`Bus::close`](crate::Bus::close).
    Closed,
    /// Nothing arrived for as long as [`Subscribing::idle_timeout`](crate::Subscribing::idle_timeout) allows, which is this.
    Idle(Duration),
}

impl fmt::Display for EndReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp { reason } => write!(formatter, "gave up reconnecting: {reason}"),
            Self::Closed => formatter.write_str("the bus was closed"),
            Self::Idle(timeout) => write!(formatter, "nothing arrived for {timeout:?}"),
        }
    }
}

/// A message with its metadata. Dereferences to the message. `Debug` shows the metadata only.
///
/// Its delivery holds the whole read buffer, 128 KiB or more: [`detach`](Self::detach) one that is kept.
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
            .field("channel", &Shown(&self.channel))
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

impl<M> Received<M> {
    /// Copies channel and payload out of the read buffer, as [`Delivery::detach`](crate::Delivery::detach) does.
    pub fn detach(&mut self) {
        self.delivery.detach();
    }
}

impl<M> Deref for Received<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}
