//! Requests: a message that is answered with a typed reply.

use std::{fmt, future::IntoFuture, ops::ControlFlow, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{
        handle::Bus,
        replies::{Arrived, Replies},
    },
    codec::{
        answers::{ANSWER, Answer, Answers, Declined},
        contract::{Codec, Exchange},
        slot::whole_millis,
    },
    error::RequestError,
    future::BusFuture,
    message::{address::Address, contract::AddressedByFields, kind::Request},
    observe::observation::watch,
    publish::addressed::Addressed,
    time::deadline_after,
};

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

/// How long a request waits for its answer if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request that is sent when it is awaited. `message.request(&bus)` and `message.request_to(address, &bus)` make one.
///
/// The first answer counts. A request is handled at most once by **each instance** of each service that takes it, concurrently with others; after a
/// timeout or a lost connection it may have been handled or not, or cancelled on the way.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, RequestError, handler, routes};
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("quotes:<sku>")]
/// #[reply(Quote, error = QuoteError)]
/// struct QuoteRequest { sku: String }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Quote { cents: u64 }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum QuoteError { UnknownSku }
///
/// #[handler]
/// async fn quote(request: QuoteRequest) -> Result<Quote, QuoteError> {
///     if request.sku == "engine" { Ok(Quote { cents: 125_000 }) } else { Err(QuoteError::UnknownSku) }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let service = bus.serve(routes![quote]).await?;
/// let engine = QuoteRequest { sku: "engine".into() }.request(&bus).timeout(Duration::from_secs(1)).await?;
/// assert_eq!(engine.cents, 125_000);
///
/// let loom = QuoteRequest { sku: "loom".into() }.request(&bus).await;
/// assert!(matches!(loom, Err(RequestError::Answered(QuoteError::UnknownSku))));
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
pub struct Requesting<'a, M> {
    to_send: Addressed<'a, M>,
    timeout: Duration,
}

impl<'a, M: Request> Requesting<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        Self { to_send: Addressed::by_fields(message, bus), timeout: TIMEOUT }
    }

    #[doc(hidden)]
    pub fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        Self { to_send: Addressed::to(message, address, bus), timeout: TIMEOUT }
    }

    /// How long to wait for the answer, sending included. Default: 5 s. What is left of it travels with the request: a handler that is reached
    /// later does not run, and one that runs is cancelled at its next await unless it says `run_to_end`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.to_send.header(name, value);
        self
    }

    /// Collects the answers of several services: so many at most, at least 1, until the timeout.
    pub fn collect(self, replies: usize) -> Collecting<'a, M> {
        Collecting { request: self, wanted: replies.max(1) }
    }

    async fn run(self) -> Result<M::Reply, RequestError<M::Error>> {
        let (template, timeout) = (M::TEMPLATE.text(), self.timeout);
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(RequestError::TimedOut { template, timeout }),
        }
    }

    async fn exchange(self) -> Output<M> {
        let (begun, limit) = (Instant::now(), self.to_send.bus.config().payload_limit);
        let replies = self.to_send.bus.replies().await?;
        let mut waiter = replies.wait_for_one();
        let receivers = self.send(replies, &waiter.correlation_id, begun).await?;
        let mut declined = Declined::default();
        loop {
            match arrived::<M>(waiter.next().await, &mut declined, receivers, limit) {
                ControlFlow::Break(output) => return output,
                ControlFlow::Continue(()) => {}
            }
        }
    }

    /// Sends the request, with what is left of the timeout since it has begun, before anything was waited for. Tells how many have received
    /// it.
    async fn send(
        self,
        replies: &Replies,
        correlation_id: &str,
        begun: Instant,
    ) -> Result<Option<u64>, RequestError<M::Error>> {
        let time_left = whole_millis(self.timeout.saturating_sub(begun.elapsed()));
        let exchange = Exchange::new(correlation_id).reply_to(replies.channel()).time_left(time_left);
        let bus = self.to_send.bus;
        match bus.send(self.to_send.parcel(Some(exchange))?).await?.receivers {
            Some(0) => Err(RequestError::NobodyListens { template: M::TEMPLATE.text() }),
            receivers => Ok(receivers),
        }
    }
}

/// A request to several services that is sent when it is awaited. [`Requesting::collect`] makes it.
///
/// It ends with as many answers as are wanted, or with the timeout, whichever comes first; too few answers are no error.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, router};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("quotes:<sku>")]
/// # #[reply(Quote)]
/// # struct QuoteRequest { sku: String }
/// # #[derive(Debug, Serialize, Deserialize)]
/// # struct Quote { cents: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:shops").await?;
/// struct Shop {
///     cents: u64,
/// }
///
/// #[router]
/// impl Shop {
///     #[handler]
///     async fn quote(&self, _request: QuoteRequest) -> Quote {
///         Quote { cents: self.cents }
///     }
/// }
///
/// // Each service has a connection of its own, as in a program of its own.
/// let near = Bus::connect("memory:shops").await?.serve(Shop { cents: 900 }).await?;
/// let far = Bus::connect("memory:shops").await?.serve(Shop { cents: 700 }).await?;
/// let quotes = QuoteRequest { sku: "engine".into() }.request(&bus).collect(2).await?;
/// let cheapest = quotes.into_iter().flatten().map(|quote| quote.cents).min();
/// assert_eq!(cheapest, Some(700));
/// # near.shutdown().await?;
/// # far.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct Collecting<'a, M> {
    request: Requesting<'a, M>,
    wanted: usize,
}

impl<M: Request> Collecting<'_, M> {
    async fn run(self) -> Result<Vec<Output<M>>, RequestError<M::Error>> {
        let Self { request, wanted } = self;
        let begun = Instant::now();
        let deadline = deadline_after(request.timeout);
        let (template, timeout) = (M::TEMPLATE.text(), request.timeout);
        let limit = request.to_send.bus.config().payload_limit;
        let replies = match timeout_at(deadline, request.to_send.bus.replies()).await {
            Ok(replies) => replies?,
            Err(_) => return Err(RequestError::TimedOut { template, timeout }),
        };
        let mut waiter = replies.wait_for_many();
        let receivers = match timeout_at(deadline, request.send(replies, &waiter.correlation_id, begun)).await {
            Ok(sent) => sent?,
            Err(_) => return Err(RequestError::TimedOut { template, timeout }),
        };
        let mut answers = Vec::new();
        let mut declined = Declined::default();
        while answers.len() < wanted {
            match timeout_at(deadline, waiter.next()).await {
                Ok(Arrived::ConnectionLost) => return Err(RequestError::ConnectionLost { template }),
                Ok(answer) => match arrived::<M>(answer, &mut declined, receivers, limit) {
                    // Nobody is left to answer: those who have are all there is.
                    ControlFlow::Break(Err(RequestError::NotHandled { .. })) if !answers.is_empty() => break,
                    ControlFlow::Break(Err(error @ RequestError::NotHandled { .. })) => return Err(error),
                    ControlFlow::Break(output) => answers.push(output),
                    ControlFlow::Continue(()) => {}
                },
                // The time is up, and that is no error here.
                Err(_) => break,
            }
        }
        Ok(answers)
    }
}

impl<'a, M: Request> IntoFuture for Collecting<'a, M> {
    /// The answers in the order in which they came, fewer than wanted if the timeout ended the wait.
    type Output = Result<Vec<Output<M>>, RequestError<M::Error>>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the answers; the request may be handled all the same.
    fn into_future(self) -> Self::IntoFuture {
        let observation = self.request.to_send.bus.observer().request(M::TEMPLATE.text());
        BusFuture::new(watch(observation, self.run()))
    }
}

impl<'a, M: Request> IntoFuture for Requesting<'a, M> {
    type Output = Output<M>;
    type IntoFuture = BusFuture<'a, Output<M>>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer; the request may be handled all the same.
    fn into_future(self) -> Self::IntoFuture {
        let observation = self.to_send.bus.observer().request(M::TEMPLATE.text());
        BusFuture::new(watch(observation, self.run()))
    }
}

impl<M> fmt::Debug for Requesting<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Requesting").field("to_send", &self.to_send).finish_non_exhaustive()
    }
}

type Output<M> = Result<<M as Request>::Reply, RequestError<<M as Request>::Error>>;

/// What has arrived, unless it leaves the request to others.
fn arrived<M: Request>(
    arrived: Arrived,
    declined: &mut Declined,
    receivers: Option<u64>,
    limit: usize,
) -> ControlFlow<Output<M>, ()> {
    let template = M::TEMPLATE.text();
    let frame = match arrived {
        Arrived::Answer(frame) => frame,
        Arrived::TooLarge { size } => {
            return ControlFlow::Break(Err(RequestError::AnswerTooLarge { template, size, limit }));
        }
        Arrived::ConnectionLost => return ControlFlow::Break(Err(RequestError::ConnectionLost { template })),
    };
    ControlFlow::Break(match Answers::decode::<Answer<M::Reply, M::Error>>(&ANSWER, frame.payload()) {
        Ok((Answer::Ok(reply), _)) => Ok(reply),
        Ok((Answer::Error(error), _)) => Err(RequestError::Answered(error)),
        Ok((Answer::Failure(reason), _)) => Err(RequestError::Failed { template, reason }),
        Ok((answer @ (Answer::Dropped | Answer::Filtered), inbound)) => {
            if !declined.by(&inbound, receivers) {
                return ControlFlow::Continue(());
            }
            Err(RequestError::NotHandled { template, reason: answer.passed_on().unwrap_or_default() })
        }
        Err(error) => Err(RequestError::InvalidAnswer { template, reason: error.to_string() }),
    })
}
