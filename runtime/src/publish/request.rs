//! Requests: a message that is answered with a typed reply.

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::{
    bus::handle::Bus,
    error::RequestError,
    future::BusFuture,
    message::{address::Address, contract::AddressedByFields, kind::Request},
    observe::observation::watch,
    publish::{
        addressed::Addressed,
        errand::{Errand, Output},
    },
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
/// One instance handles it, at most once, whichever services take such requests and however many instances of them there are: of those that know
/// the message in this version the one with the fewest unanswered requests of this bus. One that has gone without having received it, or leaves it
/// to others because it is busy, stops, or filters it out, is replaced by the next, within the same time. After a timeout, a lost connection or the
/// loss of the instance it may have been handled or not, or cancelled on the way.
///
/// The first request of a kind asks which instances there are, which takes one more round trip.
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
    idempotent: bool,
}

impl<'a, M: Request> Requesting<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        Self { to_send: Addressed::by_fields(message, bus), timeout: TIMEOUT, idempotent: false }
    }

    #[doc(hidden)]
    pub fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        Self { to_send: Addressed::to(message, address, bus), timeout: TIMEOUT, idempotent: false }
    }

    /// How long to wait for the answer, sending included. Default: 5 s. What is left of it travels with the request: a handler that is reached
    /// later does not run, and one that runs is cancelled at its next await unless it says `run_to_end`.
    ///
    /// Within a handler of a request it is what is left of *its* time, if that is less: a chain of requests does not work for somebody who has
    /// stopped waiting. A tokio task that the handler spawns inherits nothing.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.to_send.header(name, value);
        self
    }

    /// Asks one instance of each group of services, and collects so many answers at most, at least 1, until the timeout.
    /// [`Serving::group`](crate::Serving::group) says what is a group.
    pub fn collect(self, replies: usize) -> Collecting<'a, M> {
        Collecting { request: self, wanted: replies.max(1) }
    }

    /// Says that handling it twice does no harm: when the instance that has it is gone, or the connection for answers was lost, another
    /// instance gets it within the same time, instead of [`RequestError::InstanceLost`] or [`RequestError::ConnectionLost`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, RequestError};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("quotes:<sku>")]
    /// # #[reply(u64)]
    /// # struct QuoteRequest { sku: String }
    /// /// Looks something up, and changes nothing: it does not matter how often.
    /// async fn quote(bus: &Bus, sku: &str) -> Result<u64, RequestError<tidings::NoError>> {
    ///     QuoteRequest { sku: sku.into() }.request(bus).idempotent().await
    /// }
    /// ```
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    async fn run(self) -> Output<M> {
        Errand::new(&self.to_send, self.timeout, self.idempotent).run(None).await
    }
}

/// A request to one instance of each group of services that is sent when it is awaited. [`Requesting::collect`] makes it.
///
/// It ends with as many answers as are wanted, when all groups have answered, or with the timeout, whichever comes first; too few answers are no
/// error.
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
/// // One instance of each group is asked.
/// let near = bus.serve(Shop { cents: 900 }).group("near").await?;
/// let far = bus.serve(Shop { cents: 700 }).group("far").await?;
/// let quotes = QuoteRequest { sku: "engine".into() }.request(&bus).collect(2).await?;
/// let cheapest = quotes.into_iter().flatten().map(|quote| quote.cents).min();
/// assert_eq!(cheapest, Some(700));
/// # near.shutdown().await?;
/// # far.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
pub struct Collecting<'a, M> {
    request: Requesting<'a, M>,
    wanted: usize,
}

impl<M: Request> Collecting<'_, M> {
    async fn run(self) -> Result<Vec<Output<M>>, RequestError<M::Error>> {
        let Self { request: Requesting { to_send, timeout, idempotent }, wanted } = self;
        let errand = Errand::new(&to_send, timeout, idempotent);
        let groups = errand.groups().await?;
        let mut exchanges: FuturesUnordered<_> = groups.iter().map(|group| errand.run(Some(group))).collect();
        let (mut answers, mut unhandled) = (Vec::new(), None);
        while answers.len() < wanted
            && let Some(output) = exchanges.next().await
        {
            match output {
                // The time is up, and that is no error here.
                Err(RequestError::TimedOut { .. }) => {}
                Err(lost @ (RequestError::ConnectionLost { .. } | RequestError::Closed { .. })) => return Err(lost),
                Err(error) if error.is_unhandled() => unhandled = Some(error),
                output => answers.push(output),
            }
        }
        // Of several groups those who have answered are all there is.
        match unhandled {
            Some(error) if answers.is_empty() && exchanges.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }
}

crate::future::once_awaited!(['a, M] Collecting<'a, M>, ['a, M] Requesting<'a, M>);
crate::future::never_polled!(['a, M: Request] Requesting<'a, M> => Output<M>, (): GivenAway);

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

impl<M> fmt::Debug for Collecting<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, wanted } = self;
        formatter.debug_struct("Collecting").field("request", request).field("wanted", wanted).finish()
    }
}
