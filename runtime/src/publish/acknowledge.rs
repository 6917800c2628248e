//! Publishing that waits until subscribers have handled the message.

use std::{fmt, future::IntoFuture, time::Duration};

use crate::{
    bus::replies::Arrived,
    codec::{
        answers::{ANSWER, Answer, Answered, Answers},
        contract::{Codec, Exchange, Inbound},
    },
    error::AcknowledgeError,
    future::BusFuture,
    message::{contract::Message, kind::NoError},
    observe::observation::watch,
    publish::addressed::Addressed,
    transport::frame::Frame,
};

/// A publish that waits until subscribers have handled the message. `publish(&bus).acknowledged_within(…)` makes one.
///
/// A handler acknowledges when it returns without an error, and refuses with its error's words otherwise. It is no promise of more than one
/// attempt: after a timeout the message may have been handled or not.
///
/// That nobody listens is known at once on one server and in memory. On a cluster a node counts only its own subscribers, so there it is a timeout with no
/// handlers; also that all who are there have answered is not known there, and whoever asks for more than there are waits until the timeout.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{AcknowledgeError, Bus, Message, handler, routes};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("prices")]
/// # struct PriceChanged { cents: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// #[handler]
/// async fn price(price: PriceChanged) -> Result<(), String> {
///     if price.cents == 0 { Err("nothing is free".into()) } else { Ok(()) }
/// }
///
/// let service = bus.serve(routes![price]).await?;
/// let patience = Duration::from_secs(1);
/// let acknowledged = PriceChanged { cents: 125 }.publish(&bus).acknowledged_within(patience).await?;
/// assert_eq!(acknowledged.handlers, 1);
///
/// let free = PriceChanged { cents: 0 }.publish(&bus).acknowledged_within(patience).await;
/// assert!(matches!(free, Err(AcknowledgeError::Refused { refusals, .. }) if refusals == ["nothing is free"]));
/// # service.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until this is awaited"]
pub struct Acknowledging<'a, M> {
    to_send: Addressed<'a, M>,
    timeout: Duration,
    wanted: usize,
}

/// What an acknowledged publish yields: who has handled the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledged {
    /// How many handlers have handled it: at least as many as were waited for.
    pub handlers: usize,
    /// Why others did not, in their handlers' words, in the order in which they said so.
    pub refusals: Vec<String>,
}

impl<'a, M: Message> Acknowledging<'a, M> {
    pub(super) fn new(to_send: Addressed<'a, M>, timeout: Duration) -> Self {
        Self { to_send, timeout, wanted: 1 }
    }

    /// Waits for so many handlers, at least 1. Default: 1.
    pub fn at_least(mut self, handlers: usize) -> Self {
        self.wanted = handlers.max(1);
        self
    }

    async fn run(self) -> Result<Acknowledged, AcknowledgeError> {
        let (template, timeout) = (M::TEMPLATE.text(), self.timeout);
        let mut acknowledged = Acknowledged { handlers: 0, refusals: Vec::new() };
        match tokio::time::timeout(timeout, self.exchange(&mut acknowledged)).await {
            Ok(result) => result.map(|()| acknowledged),
            Err(_) => {
                let Acknowledged { handlers, refusals } = acknowledged;
                Err(AcknowledgeError::TimedOut { template, timeout, handlers, refusals })
            }
        }
    }

    /// Collects answers until there are enough of them, or there cannot be enough any more.
    async fn exchange(self, acknowledged: &mut Acknowledged) -> Result<(), AcknowledgeError> {
        let template = M::TEMPLATE.text();
        let bus = self.to_send.bus;
        let replies = bus.replies().await?;
        let mut waiter = replies.wait_for_many();
        // No time left travels: the publisher's patience must not keep anybody from handling the message.
        let exchange = Exchange::new(waiter.correlation_id()).reply_to(replies.channel());
        let receivers = bus.send(self.to_send.parcel(Some(exchange))?).await?.receivers;
        if receivers == Some(0) {
            return Err(AcknowledgeError::NobodyListens { template });
        }
        let mut answered = Answered::default();
        loop {
            let frame = match waiter.next().await {
                Arrived::Answer(frame) => frame,
                Arrived::TooLarge { .. } | Arrived::InstanceLost => continue,
                Arrived::ConnectionLost => return Err(AcknowledgeError::ConnectionLost { template }),
                Arrived::Closed => return Err(AcknowledgeError::Closed { template }),
            };
            let nobody_left = note(&frame, acknowledged, &mut answered, receivers);
            if acknowledged.handlers >= self.wanted {
                return Ok(());
            }
            if nobody_left && acknowledged.handlers == 0 {
                let refusals = std::mem::take(&mut acknowledged.refusals);
                return Err(AcknowledgeError::Refused { template, refusals });
            }
        }
    }
}

/// Notes an answer; `true` once all who have received the message have refused it or left it to others.
fn note(frame: &Frame, acknowledged: &mut Acknowledged, answered: &mut Answered, receivers: Option<u64>) -> bool {
    let (refusal, inbound) = match Answers::decode::<Answer<(), NoError>>(&ANSWER, frame.payload()) {
        Ok((Answer::Ok(()), _)) => {
            acknowledged.handlers += 1;
            return false;
        }
        Ok((Answer::Error(never), _)) => match never {},
        Ok((Answer::Failure(reason), inbound)) => (reason, inbound),
        Ok((Answer::Declined(why), inbound)) => (why.reason().to_owned(), inbound),
        Err(error) => (format!("an answer that cannot be read: {error}"), Inbound::default()),
    };
    acknowledged.refusals.push(refusal);
    answered.by(&inbound, receivers)
}

crate::future::once_awaited!(['a, M] Acknowledging<'a, M>);
crate::future::never_polled!(['a, M] Acknowledging<'a, M> => Result<Acknowledged, AcknowledgeError>, (): GivenAway);

impl<'a, M: Message> IntoFuture for Acknowledging<'a, M> {
    type Output = Result<Acknowledged, AcknowledgeError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the acknowledgements; the message may be published and handled all the same.
    fn into_future(self) -> Self::IntoFuture {
        let observation = self.to_send.bus.observer().acknowledged(M::TEMPLATE.text());
        BusFuture::new(watch(observation, self.run()))
    }
}

impl<M> fmt::Debug for Acknowledging<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acknowledging").field("to_send", &self.to_send).finish_non_exhaustive()
    }
}
