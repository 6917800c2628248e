//! Many messages in one round trip.

use std::{fmt, future::IntoFuture};

use crate::{
    bus::{handle::Bus, sending::Receipt},
    channel::parameter::Params,
    codec::headers::Headers,
    error::PublishError,
    future::BusFuture,
    message::{
        address::AddressOf,
        contract::{AddressedByFields, Message},
        kind::Broadcast,
    },
    observe::{
        label::Observed,
        observation::{Observation, watch},
    },
    publish::publishing::Publishing,
    transport::contract::Parcel,
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
///
/// // With headers: of the whole batch, and of one message.
/// let batch = bus.batch().header("tenant", "acme").push(&Notified { user: 7 }).push_publishing(personal.publish(&bus).header("priority", "low"));
/// assert!(batch.await.iter().all(Result::is_ok));
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until this is awaited"]
pub struct Batch<'a> {
    bus: &'a Bus,
    /// Of every message.
    headers: Headers,
    parcels: Vec<Result<Parcel, PublishError>>,
    /// Of the batch as a whole.
    observation: Option<Box<Observation>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(bus: &'a Bus) -> Self {
        Self { bus, headers: Headers::default(), parcels: Vec::new(), observation: bus.observer().batch() }
    }

    /// Sets a header of every message of the batch. It comes before the messages, which are encoded as they are added: those that are there
    /// already are not published, and have an error as their result. A plain message carries no headers, and fails too.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        for parcel in &mut self.parcels {
            if let Ok(Parcel { template, .. }) = parcel {
                let reason = format!(
                    "the header `{name}` of its batch was set behind it; write `bus.batch().header(…)`, and then `push` or `push_all`"
                );
                *parcel = Err(PublishError::Encode { name: template, reason });
            }
        }
        self.headers.set(name, value);
        self
    }

    /// Adds a message for the channel that its fields name.
    pub fn push<M: AddressedByFields + Broadcast>(mut self, message: &M) -> Self {
        let channel = self.bus.channel(|channel| message.write_channel(channel));
        self.encode(Ok(channel), message, None);
        self
    }

    /// Adds a message for an address.
    pub fn push_to<M: Broadcast>(mut self, address: impl AddressOf<M>, message: &M) -> Self {
        let channel = self.bus.channel(|channel| address.as_address().write(channel));
        let checked = self.bus.check_address(&channel, message).map(|()| channel);
        self.encode(checked, message, None);
        self
    }

    /// Adds messages of one type, each for the channel that its fields name.
    pub fn push_all<'m, M: AddressedByFields + Broadcast + 'm>(
        self,
        messages: impl IntoIterator<Item = &'m M>,
    ) -> Self {
        messages.into_iter().fold(self, Self::push)
    }

    /// Adds a message with headers of its own beside those of the batch, as `message.publish(&bus).header("k", "v")` or `publish_to` would
    /// publish it. Where both set a header, its own counts.
    ///
    /// It is published on the bus of the batch.
    pub fn push_publishing<M: Broadcast>(mut self, publishing: Publishing<'_, M>) -> Self {
        let (message, channel, headers) = publishing.on(self.bus);
        self.encode(channel, message, Some(headers));
        self
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Publishes all messages or none (MULTI and EXEC), with one result for the whole batch.
    ///
    /// It costs a connection of its own, made with the first atomic batch. Nobody sees a message of somebody else in between.
    pub fn atomic(self) -> AtomicBatch<'a> {
        AtomicBatch { batch: self }
    }

    fn encode<M: Message>(&mut self, channel: Result<String, PublishError>, message: &M, own: Option<Headers>) {
        let merged = own.filter(|own| !own.is_empty()).map(|own| self.headers.iter().chain(own.iter()).collect());
        let headers: &Headers = merged.as_ref().unwrap_or(&self.headers);
        let encode = || self.bus.parcel(channel?, message, headers, None);
        let encoded = Observation::scope(self.observation.as_deref(), encode);
        if encoded.is_err() {
            self.bus.observer().published(M::TEMPLATE.text(), encoded.label());
        }
        self.parcels.push(encoded);
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
        let Self { bus, parcels, observation, .. } = self;
        observation.iter().for_each(|observation| observation.counted(parcels.len()));
        BusFuture::new(watch(observation, send_all(bus, parcels)))
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
        let Batch { bus, parcels, observation, .. } = self.batch;
        observation.iter().for_each(|observation| observation.counted(parcels.len()));
        BusFuture::new(watch(observation, send_atomically(bus, parcels)))
    }
}

/// Sends what could be encoded, in order, and puts the results where the errors leave room.
async fn send_all(bus: &Bus, parcels: Vec<Result<Parcel, PublishError>>) -> Vec<Result<Receipt, PublishError>> {
    let mut results: Vec<Result<&'static str, PublishError>> = Vec::with_capacity(parcels.len());
    let mut sendable = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        results.push(parcel.map(|parcel| {
            let template = parcel.template;
            sendable.push(parcel);
            template
        }));
    }
    let mut sent = bus.send_all(sendable, None).await.into_iter();
    let result = |template: Result<&'static str, PublishError>| {
        let template = template?;
        let result = sent.next().unwrap_or_else(|| {
            let reason = "the transport gave no answer".to_owned();
            Err(PublishError::ConnectionLost { template, reason })
        });
        bus.observer().published(template, result.label());
        result
    };
    results.into_iter().map(result).collect()
}

async fn send_atomically(bus: &Bus, parcels: Vec<Result<Parcel, PublishError>>) -> Result<Vec<Receipt>, PublishError> {
    let parcels: Vec<Parcel> = parcels.into_iter().collect::<Result<_, _>>()?;
    let templates: Vec<&'static str> = parcels.iter().map(|parcel| parcel.template).collect();
    let sent = bus.send_atomically(parcels).await;
    templates.into_iter().for_each(|template| bus.observer().published(template, sent.label()));
    sent
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts a batch: messages, also of different types, that are published in one round trip.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("orders:<id>")]
    /// # struct OrderPlaced { id: u64 }
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("stock")]
    /// # struct StockTaken { order: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let batch = bus.batch().push(&OrderPlaced { id: 7 }).push(&StockTaken { order: 7 });
    /// let receipts = batch.atomic().await?; // both or neither
    /// assert_eq!(receipts.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Starts a batch of messages of one type: awaited, they are published in one round trip, in order, with a result for each. With
    /// headers write `bus.batch().header("k", "v").push_all(&messages)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("orders:<id>")]
    /// # struct OrderPlaced { id: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let orders = [OrderPlaced { id: 7 }, OrderPlaced { id: 8 }];
    /// let results = bus.publish_all(&orders).await;
    /// assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    /// # Ok(()) }
    /// ```
    pub fn publish_all<'m, M: AddressedByFields + Broadcast + 'm>(
        &self,
        messages: impl IntoIterator<Item = &'m M>,
    ) -> Batch<'_> {
        self.batch().push_all(messages)
    }
}
