//! Many messages in one round trip.

use std::{fmt, future::IntoFuture};

use crate::{
    bus::{
        handle::Bus,
        sending::{Outgoing, Receipt},
    },
    channel::parameter::Params,
    codec::headers::Headers,
    error::PublishError,
    future::BusFuture,
    message::{
        address::AddressOf,
        contract::{AddressedByFields, Message},
    },
    observe::{self, Observation, outcome::Observed},
};

/// Messages, also of different types, that are published together when the batch is awaited. [`Bus::batch`] starts one.
///
/// They are encoded as they are added and sent in one round trip, in order. Each has a result of its own: one that cannot be
/// encoded or is refused does not keep the others from being published.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("notifications:user:<user>")]
/// # struct Notification { user: u64, text: String }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("notifications:all")]
/// # struct Notified { user: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let personal = Notification { user: 7, text: "your order is on its way".into() };
/// let results = bus.batch().push(&personal).push(&Notified { user: 7 }).await;
/// assert!(results.iter().all(Result::is_ok));
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until this is awaited"]
pub struct Batch<'a> {
    bus: &'a Bus,
    outgoing: Vec<Result<Outgoing, PublishError>>,
    /// Of the batch as a whole.
    observation: Option<Box<Observation>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(bus: &'a Bus) -> Self {
        Self { bus, outgoing: Vec::new(), observation: Observation::batch(bus) }
    }

    /// Adds a message for the channel that its fields name.
    pub fn push<M: AddressedByFields>(mut self, message: &M) -> Self {
        let channel = self.bus.channel(|channel| message.write_channel(channel));
        self.encode(channel, message);
        self
    }

    /// Adds a message for an address.
    pub fn push_to<M: Message>(mut self, address: impl AddressOf<M>, message: &M) -> Self {
        let channel = self.bus.channel(|channel| address.as_address().write(channel));
        self.encode(channel, message);
        self
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Publishes all messages or none (MULTI and EXEC), with one result for the whole batch.
    ///
    /// It costs a connection of its own, made with the first atomic batch. Nobody sees a message of somebody else in between.
    pub fn atomic(self) -> AtomicBatch<'a> {
        AtomicBatch { batch: self }
    }

    fn encode<M: Message>(&mut self, channel: String, message: &M) {
        let encode = || self.bus.outgoing(channel, message, &Headers::default(), None);
        let encoded = Observation::scope(self.observation.as_deref(), encode);
        if encoded.is_err() {
            self.bus.meters().published(M::TEMPLATE.text(), encoded.label());
        }
        self.outgoing.push(encoded);
    }
}

impl<'a> IntoFuture for Batch<'a> {
    /// One result for each message, in the order in which they were added.
    type Output = Vec<Result<Receipt, PublishError>>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll publishes nothing; later, any number of the messages may be published.
    fn into_future(self) -> Self::IntoFuture {
        let Self { bus, outgoing, observation } = self;
        observation.iter().for_each(|observation| observation.counted(outgoing.len()));
        BusFuture::new(observe::watch(observation, bus.send_all(outgoing)))
    }
}

/// A batch that is published whole or not at all. [`Batch::atomic`] makes it.
#[derive(Debug)]
#[must_use = "nothing is published until this is awaited"]
pub struct AtomicBatch<'a> {
    batch: Batch<'a>,
}

impl<'a> IntoFuture for AtomicBatch<'a> {
    /// A receipt for each message in order, or the first error: of a message that cannot be encoded, or of the whole batch. After an
    /// error nothing was published, unless the error says that the outcome is unknown.
    type Output = Result<Vec<Receipt>, PublishError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll publishes nothing; later, all of the messages may be published, or none.
    fn into_future(self) -> Self::IntoFuture {
        let Batch { bus, outgoing, observation } = self.batch;
        observation.iter().for_each(|observation| observation.counted(outgoing.len()));
        let sending = async move {
            let outgoing: Result<Vec<Outgoing>, PublishError> = outgoing.into_iter().collect();
            bus.send_atomically(outgoing?).await
        };
        BusFuture::new(observe::watch(observation, sending))
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts a batch: messages, also of different types, that are published in one round trip.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Publishes messages of one type in one round trip, in order, with a result for each.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before its first poll publishes nothing; later, any number of the messages may be published.
    pub fn publish_all<'m, M: AddressedByFields + 'm>(
        &self,
        messages: impl IntoIterator<Item = &'m M>,
    ) -> BusFuture<'_, Vec<Result<Receipt, PublishError>>> {
        messages.into_iter().fold(self.batch(), Batch::push).into_future()
    }
}
