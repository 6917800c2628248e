//! Deliveries that nobody has sent, and leases that nobody holds, for handlers that a test calls as functions.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    channel::text::Shown,
    codec::{contract::Inbound, slot::whole_millis},
    message::{
        delivery::{Delivery, HOPS},
        lease::Lease,
    },
    time::{deadline_after, now},
    transport::frame::{Frame, Origin},
};

/// A delivery in the making, for tests. [`Delivery::testing`] starts one; what is not set is as it is of a message that says nothing of itself.
///
/// # Examples
///
/// A handler stays a function, and a test calls it with whatever its arguments may be:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Delivery, Message, Publish, State, handler};
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("orders:<id>")]
/// struct OrderPlaced { id: u64 }
///
/// #[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
/// #[channel("invoices:<order>")]
/// struct InvoiceSent { order: u64, currency: String }
///
/// #[derive(Clone)]
/// struct Currency(&'static str);
///
/// #[handler]
/// async fn placed(order: OrderPlaced, State(currency): State<Currency>, delivery: &Delivery) -> Publish<InvoiceSent> {
///     let tenant = delivery.headers().get("tenant").unwrap_or("nobody");
///     Publish::new(InvoiceSent { order: order.id, currency: currency.0.to_owned() }).header("tenant", tenant)
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let delivery = Delivery::testing(OrderPlaced::channel(7)).header("tenant", "acme").build();
/// let published = placed(OrderPlaced { id: 7 }, State(Currency("EUR")), &delivery).await;
///
/// assert!(published.is_for(&InvoiceSent::channel(7)));
/// assert_eq!(published.messages().next().map(|invoice| invoice.currency.as_str()), Some("EUR"));
/// assert_eq!(published, Publish::new(InvoiceSent { order: 7, currency: "EUR".into() }).header("tenant", "acme"));
/// # }
/// ```
#[derive(Clone)]
#[must_use = "`build` makes the delivery"]
pub struct DeliveryBuilder {
    channel: String,
    payload: Vec<u8>,
    attempt: u32,
    inbound: Inbound<'static>,
}

impl DeliveryBuilder {
    /// The id that the publisher gave the message. Default: none.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.inbound.id = Some(id.into().into());
        self
    }

    /// When the message was published, in milliseconds since the Unix epoch. Default: not known.
    pub fn timestamp(mut self, millis: u64) -> Self {
        self.inbound.timestamp = Some(millis);
        self
    }

    /// Sets a header. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inbound.headers.set(name, value);
        self
    }

    /// Which attempt at handling the message it is, at least 1. Default: 1.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt.max(1);
        self
    }

    /// How far the message is from the first of its chain. Default: 0.
    pub fn hops(self, hops: u32) -> Self {
        self.header(HOPS, hops.to_string())
    }

    /// How long its requester waits from [`build`](Self::build) on, 2³¹ − 1 ms at most: [`Delivery::deadline`] is when that is over. Default:
    /// nobody waits.
    pub fn time_left(mut self, time_left: Duration) -> Self {
        self.inbound.correlation_id = Some("testing".into());
        self.inbound.reply_to = Some("testing".into());
        self.inbound.time_left = Some(whole_millis(time_left));
        self
    }

    /// The payload, for handlers that look at its bytes. Default: empty.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The delivery, which arrives now.
    #[must_use]
    pub fn build(self) -> Delivery {
        let Self { channel, mut payload, attempt, inbound } = self;
        let mut bytes = channel.into_bytes();
        let length = bytes.len();
        bytes.append(&mut payload);
        let position = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let (channel, payload) = (0..position(length), position(length)..position(bytes.len()));
        let frame = Frame::new(Bytes::from(bytes), channel, payload, Origin::Broadcast { token: 0 }, now());
        Delivery::made(frame, attempt, inbound)
    }
}

impl Delivery {
    /// Starts a delivery for a test that calls a handler as a function. `channel` is an address of the message, `OrderPlaced::channel(7)`,
    /// or its text, without a namespace.
    pub fn testing(channel: impl fmt::Display) -> DeliveryBuilder {
        DeliveryBuilder { channel: channel.to_string(), payload: Vec::new(), attempt: 1, inbound: Inbound::new() }
    }
}

impl Lease {
    /// The lease of a test that calls a handler of a queue as a function: with this fencing token, and renewed by nobody.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Lease, Message, handler};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:resize")]
    /// # struct ResizeImage { path: String }
    /// #[handler(idempotent, timeout = "2m")]
    /// async fn resize(task: ResizeImage, lease: &Lease) -> Result<(), String> {
    ///     if lease.remaining() < Duration::from_secs(1) {
    ///         return Err("there is no time left".to_owned());
    ///     }
    ///     println!("{} for the owner {}", task.path, lease.token());
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let task = || ResizeImage { path: "cat.png".into() };
    /// assert!(resize(task(), &Lease::testing(7, Duration::from_secs(30))).await.is_ok());
    /// assert!(resize(task(), &Lease::testing(8, Duration::ZERO)).await.is_err());
    /// # }
    /// ```
    #[must_use]
    pub fn testing(token: u64, remaining: Duration) -> Self {
        Self::new(token, deadline_after(remaining).into_std())
    }
}

impl fmt::Debug for DeliveryBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DeliveryBuilder").field("channel", &Shown(&self.channel)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_for_a_test_has_its_token_and_ends() {
        let lease = Lease::testing(7, Duration::from_secs(60));
        assert_eq!(lease.token(), 7);
        assert!(lease.remaining() > Duration::from_secs(30));
        assert_eq!(Lease::testing(8, Duration::ZERO).remaining(), Duration::ZERO);
    }
}
