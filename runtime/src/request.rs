//! Requests: one inbox for all answers of a bus, and who waits for which.

use std::{
    collections::HashMap,
    fmt,
    future::IntoFuture,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{
    bus::{Bus, now},
    channel::{Address, Params},
    codec::{Codec, Exchange, Expected, Json},
    delivery::Headers,
    error::RequestError,
    message::{AddressedByFields, Message},
    transport::{
        Attachment, NameKind,
        frame::Frame,
        inbox::{Inbox, Item},
    },
};

/// A message that is answered: `#[reply(Quote, error = QuoteError)]` makes it one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request",
    label = "not answered",
    note = "write `#[reply(Type)]` or `#[reply(Type, error = ErrorType)]` on `{Self}`"
)]
pub trait Request: Message {
    /// The answer.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// The error that a handler may answer instead.
    type Error: Serialize + DeserializeOwned + Send + 'static;
}

/// What `request` asks of a request whose parameters are not all fields. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say where to send the request: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.request_to({M}::channel(…), &bus)`"
)]
pub trait CompleteRequest<'a, M> {
    fn incomplete(self) -> Requesting<'a, M>;
}

/// The error of a request whose handler never answers with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

/// The `data` of an answer on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<R, E> {
    /// The reply.
    Ok(R),
    /// The handler's typed error.
    Error(E),
    /// Anything else that went wrong, without its internals.
    Failure(String),
}

/// The wire name of answers.
pub(crate) const ANSWER: Expected = Expected::new("reply", 1);

/// How long a request waits for its answer if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request that is sent when it is awaited.
#[must_use = "nothing is sent until this is awaited"]
pub struct Requesting<'a, M> {
    bus: &'a Bus,
    message: &'a M,
    headers: Headers,
    /// With the namespace.
    channel: String,
    timeout: Duration,
}

impl<'a, M: Request> Requesting<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        let channel = bus.channel(|channel| message.write_channel(channel));
        Self { bus, message, headers: Headers::default(), channel, timeout: TIMEOUT }
    }

    #[doc(hidden)]
    pub fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        let channel = bus.channel(|channel| address.write(channel));
        Self { bus, message, headers: Headers::default(), channel, timeout: TIMEOUT }
    }

    /// How long to wait for the answer, sending included. Default: 5 s. It travels with the request: a handler that is reached
    /// later does not run.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.set(name, value);
        self
    }

    async fn run(self) -> Result<M::Reply, RequestError<M::Error>> {
        let (template, timeout) = (M::TEMPLATE.text(), self.timeout);
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(RequestError::TimedOut { template, timeout }),
        }
    }

    async fn exchange(self) -> Result<M::Reply, RequestError<M::Error>> {
        let template = M::TEMPLATE.text();
        let replies = self.bus.replies().await?;
        let waiter = replies.register();
        let timeout = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let exchange = Exchange {
            correlation_id: &waiter.correlation_id,
            reply_to: Some(&replies.channel),
            deadline: Some(now().saturating_add(timeout)),
        };
        let outgoing = self.bus.outgoing(self.channel, self.message, &self.headers, Some(exchange))?;
        let receipt = self.bus.send(outgoing).await?;
        if receipt.receivers == Some(0) {
            return Err(RequestError::NobodyListens { template });
        }
        match waiter.answer().await {
            Arrived::Answer(frame) => decode::<M>(&frame),
            Arrived::ConnectionLost => Err(RequestError::ConnectionLost { template }),
        }
    }
}

impl<'a, M: Request> IntoFuture for Requesting<'a, M> {
    type Output = Result<M::Reply, RequestError<M::Error>>;
    type IntoFuture = RequestFuture<'a, M>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer; the request may be handled all the same.
    fn into_future(self) -> RequestFuture<'a, M> {
        RequestFuture { inner: Box::pin(self.run()) }
    }
}

impl<M> fmt::Debug for Requesting<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Requesting").field("channel", &self.channel).finish_non_exhaustive()
    }
}

type Output<M> = Result<<M as Request>::Reply, RequestError<<M as Request>::Error>>;

/// The future of a request.
#[must_use = "nothing is sent until this is awaited"]
pub struct RequestFuture<'a, M: Request> {
    inner: Pin<Box<dyn Future<Output = Output<M>> + Send + 'a>>,
}

impl<M: Request> Future for RequestFuture<'_, M> {
    type Output = Output<M>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(context)
    }
}

impl<M: Request> fmt::Debug for RequestFuture<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestFuture").finish_non_exhaustive()
    }
}

fn decode<M: Request>(frame: &Frame) -> Output<M> {
    let template = M::TEMPLATE.text();
    match Json::decode::<Answer<M::Reply, M::Error>>(&ANSWER, frame.payload()) {
        Ok((Answer::Ok(reply), _)) => Ok(reply),
        Ok((Answer::Error(error), _)) => Err(RequestError::Answered(error)),
        Ok((Answer::Failure(reason), _)) => Err(RequestError::Failed { template, reason }),
        Err(error) => Err(RequestError::InvalidAnswer { template, reason: error.to_string() }),
    }
}

/// The inbox of a bus's answers. It lives as long as the bus, on the subscription connection that everything else shares.
pub(crate) struct Replies {
    /// With the namespace.
    channel: String,
    waiters: Arc<Waiters>,
    _attachment: Attachment,
}

#[derive(Default)]
struct Waiters {
    by_id: Mutex<HashMap<u64, oneshot::Sender<Arrived>>>,
    /// Keyed at random, so that nobody can guess the id of a request that was not sent to them.
    ids: RandomState,
    next: AtomicU64,
    /// Answers that nobody waits for any more, or ever did.
    unexpected: AtomicU64,
}

/// What ends the waiting.
enum Arrived {
    Answer(Frame),
    ConnectionLost,
}

impl Replies {
    /// Subscribes to a channel that nobody else has, and waits for the confirmation: an answer must not come before it.
    pub(crate) async fn open(bus: &Bus, name: &str) -> Result<Self, crate::error::SubscribeError> {
        let local = format!("tidings:replies:{name}");
        let channel = bus.channel(|channel| channel.literal(&local));
        let waiters = Arc::new(Waiters::default());
        let take = Arc::clone(&waiters);
        let inbox = Arc::new(Inbox::direct(move |item| take.take(item)));
        let attachment = bus.attach(inbox, vec![(local, NameKind::Channel)]).await?;
        Ok(Self { channel, waiters, _attachment: attachment })
    }

    fn register(&self) -> Waiter {
        let number = self.waiters.next.fetch_add(1, Ordering::Relaxed);
        let id = self.waiters.ids.hash_one(number);
        let (done, arrived) = oneshot::channel();
        self.waiters.lock().insert(id, done);
        Waiter { id, correlation_id: format!("{id:016x}"), arrived, waiters: Arc::clone(&self.waiters) }
    }

    /// How many requests wait for an answer.
    pub(crate) fn pending(&self) -> usize {
        self.waiters.lock().len()
    }

    /// How many answers came that nobody waited for: late, double or forged.
    pub(crate) fn unexpected(&self) -> u64 {
        self.waiters.unexpected.load(Ordering::Relaxed)
    }
}

impl Waiters {
    fn take(&self, item: Item) {
        match item {
            Item::Frame(mut frame) => {
                let waiter = correlation_id(&frame).and_then(|id| self.lock().remove(&id));
                match waiter {
                    Some(done) => {
                        frame.compact();
                        // The requester may have gone in this moment; then nobody waits any more.
                        let _ = done.send(Arrived::Answer(frame));
                    }
                    None => self.note_unexpected(),
                }
            }
            // An answer that is too large has no id that could be read; its request times out.
            Item::Oversized { .. } => self.note_unexpected(),
            Item::Gap(_) | Item::Refused(_) => {
                for (_, done) in self.lock().drain() {
                    let _ = done.send(Arrived::ConnectionLost);
                }
            }
            Item::Lagged(_) => {}
        }
    }

    fn note_unexpected(&self) {
        self.unexpected.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("an answer arrived that nobody waits for");
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Arrived>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn correlation_id(frame: &Frame) -> Option<u64> {
    let inbound = Json::metadata(frame.payload())?;
    let id = inbound.correlation_id?;
    (id.len() == 16).then(|| u64::from_str_radix(&id, 16).ok()).flatten()
}

/// One request that waits. Dropping it forgets the request.
struct Waiter {
    id: u64,
    correlation_id: String,
    arrived: oneshot::Receiver<Arrived>,
    waiters: Arc<Waiters>,
}

impl Waiter {
    async fn answer(mut self) -> Arrived {
        // The sender is only dropped with the whole bus's connection.
        (&mut self.arrived).await.unwrap_or(Arrived::ConnectionLost)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}
