//! Many messages and tasks in one round trip.

use std::{fmt, future::IntoFuture, marker::PhantomData};

use crate::{
    bus::{handle::Bus, sending::Receipt, tasks::EnqueueOptions},
    channel::parameter::Params,
    codec::headers::Headers,
    error::{BatchError, EnqueueError, PublishError},
    future::BusFuture,
    message::{
        address::AddressOf,
        contract::{AddressedByFields, Message},
        kind::{Broadcast, Queue},
    },
    observe::{
        label::Observed,
        observation::{Observation, watch},
    },
    publish::{
        addressed::Several,
        enqueue::Enqueueing,
        enqueue_all::{enqueue_atomically, enqueue_each},
        publishing::Publishing,
    },
    transport::{
        contract::Parcel,
        durable::task::{Enqueued, NewTask},
    },
};

/// Messages, also of different types, that are published together when the batch is awaited, and tasks that are enqueued with them. [`Bus::batch`]
/// starts one.
///
/// They are encoded as they are added and sent in one round trip. Each has a result of its own: one that cannot be encoded or is refused does not
/// keep the others out, unless the batch is [`atomic`](Self::atomic). Broadcasts arrive in the order in which they were added, and tasks of one part
/// of a queue too; the two kinds travel side by side.
///
/// `R` is what comes of one of them: a [`Receipt`] where there are broadcasts alone, and [`Sent`] from the first task on.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, Sent};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("notifications:user:<user>")]
/// # struct Notification { user: u64, text: String }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("notifications:all")]
/// # struct Notified { user: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[queue("tasks:mails")]
/// # struct SendMail { user: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let personal = Notification { user: 7, text: "your order is on its way".into() };
/// let results = bus.batch().push(&personal).push(&Notified { user: 7 }).await;
/// assert!(results.iter().all(Result::is_ok));
///
/// // With headers: of the whole batch, and of one message.
/// let batch = bus.batch().header("tenant", "acme").push(&Notified { user: 7 }).push_publishing(personal.publish(&bus).header("priority", "low"));
/// assert!(batch.await.iter().all(Result::is_ok));
///
/// // With tasks: both or neither.
/// let reminder = SendMail { user: 7 };
/// let batch = bus.batch().push(&personal).enqueue(&SendMail { user: 7 }).push_enqueueing(reminder.enqueue(&bus).delay(Duration::from_secs(60)));
/// let sent = batch.atomic().await?;
/// assert!(matches!(&sent[..], [Sent::Published(_), Sent::Queued(_), Sent::Queued(_)]));
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until this is awaited"]
pub struct Batch<'a, R = Receipt> {
    bus: &'a Bus,
    /// Of every message and task.
    headers: Headers,
    parcels: Vec<Result<Parcel, PublishError>>,
    tasks: Vec<Placed>,
    /// Of the batch as a whole.
    observation: Option<Box<Observation>>,
    results: PhantomData<fn() -> R>,
}

/// A task, and which of all messages and tasks it is.
type Placed = (usize, Result<NewTask, EnqueueError>);

/// What came of a message or a task of a [`Batch`] that holds both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// The message was published.
    Published(Receipt),
    /// The task is in its queue, or one with its key was there. [`Enqueued::of`] says of which type it was.
    Queued(Enqueued),
}

impl Sent {
    /// What the server said of a message.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        match self {
            Self::Published(receipt) => Some(*receipt),
            Self::Queued(_) => None,
        }
    }

    /// What the queue said of a task.
    #[must_use]
    pub fn enqueued(&self) -> Option<&Enqueued> {
        match self {
            Self::Published(_) => None,
            Self::Queued(enqueued) => Some(enqueued),
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(bus: &'a Bus) -> Self {
        let observation = bus.observer().batch();
        Self {
            bus,
            headers: Headers::default(),
            parcels: Vec::new(),
            tasks: Vec::new(),
            observation,
            results: PhantomData,
        }
    }
}

impl<'a, R> Batch<'a, R> {
    /// Sets a header of every message and task of the batch. It comes before them, since they are encoded as they are added: those that are there
    /// already are not sent, and have an error as their result. A plain message carries no headers, and fails too.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        let reason = || {
            format!(
                "the header `{name}` of its batch was set behind it; write `bus.batch().header(…)`, and then what it holds"
            )
        };
        for parcel in &mut self.parcels {
            if let Ok(Parcel { template, .. }) = parcel {
                *parcel = Err(PublishError::Encode { name: template, reason: reason() });
            }
        }
        for (_, task) in &mut self.tasks {
            if let Ok(NewTask { name, .. }) = task {
                *task = Err(EnqueueError::Encode { name, reason: reason() });
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
    pub fn push_all<'m, M: AddressedByFields + Broadcast + 'm>(self, messages: impl Several<'m, M>) -> Self {
        messages.each().fold(self, Self::push)
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

    /// Adds a task, due at once, for the part of its queue that its fields name.
    pub fn enqueue<M: AddressedByFields + Queue>(self, task: &M) -> Batch<'a, Sent> {
        let channel = self.bus.channel(|channel| task.write_channel(channel));
        self.with_task::<M>(|bus, headers| bus.task(local(bus, &channel), task, headers, EnqueueOptions::default()))
    }

    /// Adds a task, due at once, for the part of its queue that an address names.
    pub fn enqueue_to<M: Queue>(self, address: impl AddressOf<M>, task: &M) -> Batch<'a, Sent> {
        let channel = self.bus.channel(|channel| address.as_address().write(channel));
        self.with_task::<M>(|bus, headers| {
            let checked = bus.check_address(&channel, task);
            checked.map_err(|error| EnqueueError::before_sending(M::TEMPLATE.text(), error))?;
            bus.task(local(bus, &channel), task, headers, EnqueueOptions::default())
        })
    }

    /// Adds tasks of one type, due at once, each for the part of its queue that its fields name.
    pub fn enqueue_all<'m, M: AddressedByFields + Queue + 'm>(
        self,
        tasks: impl IntoIterator<Item = &'m M>,
    ) -> Batch<'a, Sent> {
        tasks.into_iter().fold(self.with_tasks(), Batch::enqueue)
    }

    /// Adds a task as `task.enqueue(&bus).delay(time)` or `enqueue_to` would enqueue it: with its delay, its key, and its headers beside those of the
    /// batch. Where both set a header, its own counts.
    ///
    /// It is enqueued on the bus of the batch.
    pub fn push_enqueueing<M: Queue>(self, enqueueing: Enqueueing<'_, M>) -> Batch<'a, Sent> {
        self.with_task::<M>(|bus, headers| enqueueing.on(bus, headers))
    }

    /// The same batch as the type that it has from its first task on: what a loop begins with that adds messages and tasks.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { user: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mut batch = bus.batch().with_tasks();
    /// for user in 0..3 {
    ///     batch = batch.enqueue(&SendMail { user });
    /// }
    /// assert_eq!(batch.await.len(), 3);
    /// # Ok(()) }
    /// ```
    pub fn with_tasks(self) -> Batch<'a, Sent> {
        let Self { bus, headers, parcels, tasks, observation, results: PhantomData } = self;
        Batch { bus, headers, parcels, tasks, observation, results: PhantomData }
    }

    /// How many messages and tasks it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parcels.len() + self.tasks.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends all of it or nothing, with one result for the whole batch. Nobody sees anything of somebody else in between.
    ///
    /// Broadcasts alone go in one round trip where they are few, 32 of 32 KiB together: a script looks first whether the access rules let all of
    /// them be published. More of them go in MULTI and EXEC, in two round trips, on a connection that is made with the first such batch. Both take the
    /// same rights. With tasks it is one script, which looks too whether the queues take all of them. On a cluster the tasks must be of one
    /// queue, else it is [`EnqueueError::SeveralSlots`] and nothing is sent: no step reaches several nodes.
    pub fn atomic(self) -> AtomicBatch<'a, R> {
        AtomicBatch { batch: self }
    }

    fn encode<M: Message>(&mut self, channel: Result<String, PublishError>, message: &M, own: Option<Headers>) {
        let merged = own.filter(|own| !own.is_empty()).map(|own| self.headers.with(own));
        let headers: &Headers = merged.as_ref().unwrap_or(&self.headers);
        let encode = || self.bus.parcel(channel?, message, headers, None);
        let encoded = Observation::scope(self.observation.as_deref(), encode);
        if encoded.is_err() {
            self.bus.observer().published(M::TEMPLATE.text(), encoded.label());
        }
        self.parcels.push(encoded);
    }

    fn with_task<M: Message>(
        self,
        encode: impl FnOnce(&Bus, &Headers) -> Result<NewTask, EnqueueError>,
    ) -> Batch<'a, Sent> {
        let mut batch = self.with_tasks();
        let task = Observation::scope(batch.observation.as_deref(), || encode(batch.bus, &batch.headers));
        if task.is_err() {
            batch.bus.observer().published(M::TEMPLATE.text(), task.label());
        }
        batch.tasks.push((batch.len(), task));
        batch
    }
}

/// A channel of the bus as queues know it.
fn local(bus: &Bus, channel: &str) -> String {
    bus.without_namespace(channel).to_owned()
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

impl<'a> IntoFuture for Batch<'a, Sent> {
    /// One result for each message and task, in the order in which they were added.
    type Output = Vec<Result<Sent, BatchError>>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll sends nothing; later, any number of the messages may be published and of the tasks in their queues.
    fn into_future(self) -> Self::IntoFuture {
        let count = self.len();
        let Self { bus, parcels, tasks, observation, .. } = self;
        observation.iter().for_each(|observation| observation.counted(count));
        BusFuture::new(watch(observation, send_each(bus, parcels, tasks)))
    }
}

/// A batch that is sent whole or not at all. [`Batch::atomic`] makes it.
#[derive(Debug)]
#[must_use = "nothing is published until this is awaited"]
pub struct AtomicBatch<'a, R = Receipt> {
    batch: Batch<'a, R>,
}

crate::future::once_awaited!(['a, R] AtomicBatch<'a, R>);

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
        let send = async move { send_atomically(bus, parcels.into_iter().collect::<Result<_, _>>()?).await };
        BusFuture::new(watch(observation, send))
    }
}

impl<'a> IntoFuture for AtomicBatch<'a, Sent> {
    /// What came of each message and task in order, or an error: of one that cannot be encoded or is refused, or of the whole batch. After an error
    /// nothing was published and nothing enqueued, unless the error says that the outcome is unknown. A task that was there already is no error:
    /// the others are added.
    type Output = Result<Vec<Sent>, BatchError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future before its first poll sends nothing; later, all of it may be sent, or nothing.
    fn into_future(self) -> Self::IntoFuture {
        let count = self.batch.len();
        let Batch { bus, parcels, tasks, observation, .. } = self.batch;
        observation.iter().for_each(|observation| observation.counted(count));
        BusFuture::new(watch(observation, send_together(bus, parcels, tasks)))
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

async fn send_atomically(bus: &Bus, parcels: Vec<Parcel>) -> Result<Vec<Receipt>, PublishError> {
    let templates: Vec<&'static str> = parcels.iter().map(|parcel| parcel.template).collect();
    let sent = bus.send_atomically(parcels).await;
    templates.into_iter().for_each(|template| bus.observer().published(template, sent.label()));
    sent
}

/// Messages and tasks have connections of their own, and travel at once.
async fn send_each(
    bus: &Bus,
    parcels: Vec<Result<Parcel, PublishError>>,
    tasks: Vec<Placed>,
) -> Vec<Result<Sent, BatchError>> {
    let (places, tasks): (Vec<usize>, Vec<_>) = tasks.into_iter().unzip();
    let (published, enqueued) = tokio::join!(send_all(bus, parcels), enqueue_each(bus, tasks));
    let published = published.into_iter().map(|result| Ok(Sent::Published(result?)));
    let enqueued = enqueued.into_iter().map(|result| Ok(Sent::Queued(result?)));
    in_order(published, enqueued, places)
}

async fn send_together(
    bus: &Bus,
    parcels: Vec<Result<Parcel, PublishError>>,
    tasks: Vec<Placed>,
) -> Result<Vec<Sent>, BatchError> {
    let parcels: Vec<Parcel> = parcels.into_iter().collect::<Result<_, _>>()?;
    let (places, tasks): (Vec<usize>, Vec<_>) = tasks.into_iter().unzip();
    let tasks: Vec<NewTask> = tasks.into_iter().collect::<Result<_, _>>()?;
    let (enqueued, receipts) = match (tasks.is_empty(), parcels.is_empty()) {
        (true, _) => (Vec::new(), send_atomically(bus, parcels).await?),
        (false, true) => (enqueue_atomically(bus, tasks).await?, Vec::new()),
        (false, false) => {
            let of_parcels = parcels.iter().map(|parcel| parcel.template);
            let templates: Vec<&'static str> = of_parcels.chain(tasks.iter().map(|task| task.queue.template)).collect();
            let sent = bus.durable().enqueue_and_publish(tasks, parcels).await;
            templates.into_iter().for_each(|template| bus.observer().published(template, sent.label()));
            let (enqueued, receivers) = sent?;
            (enqueued, receivers.into_iter().map(|receivers| Receipt { receivers }).collect())
        }
    };
    Ok(in_order(receipts.into_iter().map(Sent::Published), enqueued.into_iter().map(Sent::Queued), places))
}

/// What came of each, where the tasks have these places.
fn in_order<T>(
    published: impl ExactSizeIterator<Item = T>,
    enqueued: impl ExactSizeIterator<Item = T>,
    places: Vec<usize>,
) -> Vec<T> {
    let mut all = Vec::with_capacity(published.len() + enqueued.len());
    let mut published = published.fuse();
    for (place, enqueued) in places.into_iter().zip(enqueued) {
        all.extend(published.by_ref().take(place.saturating_sub(all.len())));
        all.push(enqueued);
    }
    all.extend(published);
    all
}

impl<R> fmt::Debug for Batch<'_, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts a batch: messages, also of different types, that are published in one round trip, and tasks with them.
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
    pub fn publish_all<'m, M: AddressedByFields + Broadcast + 'm>(&self, messages: impl Several<'m, M>) -> Batch<'_> {
        self.batch().push_all(messages)
    }
}
