//! Messages that a handler returns.

use std::fmt;

use crate::{
    channel::text::{ChannelWriter, Shown},
    codec::headers::Headers,
    message::{
        address::Address,
        contract::{AddressedByFields, Message},
        kind::Broadcast,
    },
};

/// Messages that a handler wants published once it has returned, in order.
///
/// They are encoded at once; if one cannot be encoded, the delivery fails and none of them is published. Messages of different
/// types are returned as a tuple: `(Publish<A>, Publish<B>)`.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Event, Message, Publish, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("invoices:<order>")]
/// # struct InvoiceSent { order: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// #[handler]
/// async fn placed(order: OrderPlaced) -> Publish<InvoiceSent> {
///     Publish::new(InvoiceSent { order: order.id })
/// }
///
/// let service = bus.serve(routes![placed]).await?;
/// let mut invoices = bus.subscribe(InvoiceSent::any()).await?;
/// OrderPlaced { id: 7 }.publish(&bus).await?;
/// assert!(matches!(invoices.next().await, Some(Event::Message(invoice)) if invoice.order == 7));
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
///
/// A test that has called the handler looks into it, or compares it: see [`Delivery::testing`](crate::Delivery::testing). `Debug` shows the
/// channels and leaves the messages out.
#[derive(PartialEq, Eq)]
#[must_use = "a handler returns it; nothing is published otherwise"]
pub struct Publish<M> {
    pub(super) messages: Vec<Addressed<M>>,
}

/// A message with its headers and its channel, without the namespace.
#[derive(PartialEq, Eq)]
pub(super) struct Addressed<M> {
    pub(super) channel: String,
    pub(super) headers: Headers,
    pub(super) message: M,
}

impl<M: AddressedByFields + Broadcast> Publish<M> {
    /// Publishes one message to the channel that its fields name.
    pub fn new(message: M) -> Self {
        Self::all([message])
    }

    /// Publishes several messages, in order.
    pub fn all(messages: impl IntoIterator<Item = M>) -> Self {
        let addressed = messages.into_iter().map(|message| {
            let mut channel = String::new();
            message.write_channel(&mut ChannelWriter::new(&mut channel));
            Addressed { channel, headers: Headers::default(), message }
        });
        Self { messages: addressed.collect() }
    }
}

impl<M: Broadcast> Publish<M> {
    /// Publishes one message to an address.
    pub fn to(address: &Address<M>, message: M) -> Self {
        Self { messages: vec![Addressed { channel: address.to_string(), headers: Headers::default(), message }] }
    }
}

impl<M> Publish<M> {
    /// Sets a header of each of its messages; those that [`and`](Self::and) adds later have their own.
    ///
    /// A plain message carries none: the delivery then fails, and nothing that its handler returned is published.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.messages.iter_mut().for_each(|message| message.headers.set(name.as_str(), value.as_str()));
        self
    }

    /// Publishes these messages, and then those of `next`.
    pub fn and(mut self, mut next: Self) -> Self {
        self.messages.append(&mut next.messages);
        self
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages, in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &M> {
        self.messages.iter().map(|addressed| &addressed.message)
    }

    /// The messages themselves, in order.
    pub fn into_messages(self) -> impl ExactSizeIterator<Item = M> {
        self.messages.into_iter().map(|addressed| addressed.message)
    }

    /// The channel of each message, in the same order, without the namespace.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.messages.iter().map(|addressed| addressed.channel.as_str())
    }

    /// The headers of each message, in the same order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &Headers> {
        self.messages.iter().map(|addressed| &addressed.headers)
    }
}

impl<M: Message> Publish<M> {
    /// Whether it holds messages, all of which go to this address.
    #[must_use]
    pub fn is_for(&self, address: &Address<M>) -> bool {
        let address = address.to_string();
        !self.is_empty() && self.channels().all(|channel| channel == address)
    }
}

impl<M> fmt::Debug for Publish<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels: Vec<_> = self.channels().take(SHOWN).map(Shown).collect();
        formatter.debug_struct("Publish").field("len", &self.len()).field("channels", &channels).finish_non_exhaustive()
    }
}

/// Channels that are shown of many.
const SHOWN: usize = 3;
