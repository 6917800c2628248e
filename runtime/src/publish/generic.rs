//! The verbs for code that is generic over its message.

use crate::{
    bus::handle::Bus,
    message::{
        address::AddressOf,
        contract::AddressedByFields,
        kind::{Broadcast, Queue, Request},
    },
    publish::{enqueue::Enqueueing, publishing::Publishing, request::Requesting},
};

/// A message that can be published, for code that is generic over it: every broadcast is one.
///
/// A message has these verbs as functions of its own, which need no trait and come first where both are in scope. Beside them generic code has
/// [`AddressedByFields::address`], [`Message::any`](crate::Message::any), [`Address::parse`](crate::Address::parse) and, with
/// [`Subscribable`](crate::Subscribable), [`Bus::subscribe`].
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Address, AddressedByFields, Bus, Event, Message, PublishError, Publishable, Subscribable};
///
/// /// Publishes what its fields address, with a header.
/// async fn relay<M: Publishable + AddressedByFields>(bus: &Bus, message: &M) -> Result<(), PublishError> {
///     message.publish(bus).header("relayed", "true").await?;
///     Ok(())
/// }
///
/// /// Passes on everything that arrives on one bus to another, until the first gap.
/// async fn bridge<M: Publishable + Subscribable>(from: &Bus, to: &Bus) -> Result<(), Box<dyn std::error::Error>> {
///     let mut arriving = from.subscribe(M::any()).await?;
///     while let Some(Event::Message(received)) = arriving.next().await {
///         let address: Address<M> = received.delivery.address()?;
///         received.message.publish_to(address, to).await?;
///     }
///     Ok(())
/// }
/// #
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// # relay(&bus, &OrderPlaced { id: 7 }).await?;
/// # drop(bridge::<OrderPlaced>(&bus, &bus));
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a broadcast",
    label = "cannot be published",
    note = "a request is sent with `message.request(&bus)` and taken by a `#[handler]`, since its reply would be lost otherwise; a task with `message.enqueue(&bus)`"
)]
pub trait Publishable: Broadcast {
    /// Publishes the message to the channel that its fields name, once the result is awaited.
    fn publish<'a>(&'a self, bus: &'a Bus) -> Publishing<'a, Self>
    where
        Self: AddressedByFields,
    {
        Publishing::by_fields(self, bus)
    }

    /// Publishes the message to an address, once the result is awaited.
    fn publish_to<'a>(&'a self, address: impl AddressOf<Self>, bus: &'a Bus) -> Publishing<'a, Self> {
        Publishing::to(self, address.as_address(), bus)
    }
}

#[diagnostic::do_not_recommend]
impl<M: Broadcast> Publishable for M {}

/// A message that can be requested, for code that is generic over it: every request is one.
///
/// A request has these verbs as functions of its own, which need no trait and come first where both are in scope.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tidings::{AddressedByFields, Bus, RequestError, Requestable};
///
/// /// Asks twice where nobody answers in time: for requests that are safe to run twice.
/// async fn ask<R: Requestable + AddressedByFields>(bus: &Bus, request: &R) -> Result<R::Reply, RequestError<R::Error>> {
///     let patience = Duration::from_secs(1);
///     match request.request(bus).timeout(patience).await {
///         Err(RequestError::TimedOut { .. }) => request.request(bus).timeout(patience).await,
///         answer => answer,
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request",
    label = "not answered",
    note = "write `#[reply(Type)]` or `#[reply(Type, error = ErrorType)]` on `{Self}`"
)]
pub trait Requestable: Request {
    /// Sends the request to the channel that its fields name and waits for the answer, once the result is awaited.
    fn request<'a>(&'a self, bus: &'a Bus) -> Requesting<'a, Self>
    where
        Self: AddressedByFields,
    {
        Requesting::by_fields(self, bus)
    }

    /// Sends the request to an address and waits for the answer, once the result is awaited.
    fn request_to<'a>(&'a self, address: impl AddressOf<Self>, bus: &'a Bus) -> Requesting<'a, Self> {
        Requesting::to(self, address.as_address(), bus)
    }
}

#[diagnostic::do_not_recommend]
impl<R: Request> Requestable for R {}

/// A task that can be enqueued, for code that is generic over it: every task of a queue is one.
///
/// A task has these verbs as functions of its own, which need no trait and come first where both are in scope.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tidings::{AddressedByFields, Bus, EnqueueError, Enqueueable};
///
/// /// Enqueues a task for tonight.
/// async fn later<M: Enqueueable + AddressedByFields>(bus: &Bus, task: &M) -> Result<String, EnqueueError> {
///     Ok(task.enqueue(bus).delay(Duration::from_secs(8 * 3_600)).await?.id)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task of a queue",
    label = "cannot be enqueued",
    note = "write `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Enqueueable: Queue {
    /// Enqueues the task, once the result is awaited.
    fn enqueue<'a>(&'a self, bus: &'a Bus) -> Enqueueing<'a, Self>
    where
        Self: AddressedByFields,
    {
        Enqueueing::by_fields(self, bus)
    }

    /// Enqueues the task at an address, once the result is awaited.
    fn enqueue_to<'a>(&'a self, address: impl AddressOf<Self>, bus: &'a Bus) -> Enqueueing<'a, Self> {
        Enqueueing::to(self, address.as_address(), bus)
    }
}

#[diagnostic::do_not_recommend]
impl<M: Queue> Enqueueable for M {}
