//! One call of a handler: polled once in place, moved aside only if it waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    bus::{handle::Bus, sending::Outgoing},
    codec::answers::Answer,
    handler::{
        contract::Router,
        layer::Layers,
        outcome::{Ended, Outcome},
        returned::answer,
    },
    message::{delivery::Delivery, kind::NoError},
    observe::{self, Observation},
    serve::lanes::LaneId,
};

/// Runs the handler of a route, within its span, publishes what it wants published, and answers a request whose handler cannot.
///
/// The arguments of an `async fn` are kept twice in its future, and this one is moved into its slot for every message: hence blocks, here
/// and below.
#[expect(clippy::manual_async_fn, reason = "its future would be larger")]
pub(crate) fn call<R: Router>(
    router: &R,
    layers: &Layers,
    bus: &Bus,
    route: usize,
    mut delivery: Delivery,
) -> impl Future<Output = Ended> {
    async move {
        match Observation::process(bus, &R::ROUTES[route], &delivery) {
            None => handle(router, layers, bus, route, &mut delivery).await,
            // Boxed, as what is seldom there must not make every call's future larger.
            observation => {
                Box::pin(observe::watch(observation, handle(router, layers, bus, route, &mut delivery))).await
            }
        }
    }
}

#[expect(clippy::manual_async_fn, reason = "its future would be larger")]
fn handle<'a, R: Router>(
    router: &'a R,
    layers: &'a Layers,
    bus: &'a Bus,
    route: usize,
    delivery: &'a mut Delivery,
) -> impl Future<Output = Ended> {
    async move {
        let timeout = R::ROUTES[route].options().timeout;
        let ended = match layers.around(route) {
            None => Guarded::new(router.dispatch(route, &mut *delivery, bus), timeout).await,
            Some(layered) => Guarded::new(layered.invoke(R::ROUTES, route, &mut *delivery, bus), timeout).await,
        };
        match ended {
            Ended::Returned(Outcome::Done) => ended,
            // Boxed, as the observed call.
            ended => Box::pin(settle::<R>(ended, bus, route, delivery)).await,
        }
    }
}

/// Does what the outcome asks for.
async fn settle<R: Router>(ended: Ended, bus: &Bus, route: usize, delivery: &mut Delivery) -> Ended {
    if let Ended::Returned(Outcome::Publish(outgoing)) = ended {
        return Ended::Returned(publish(bus, outgoing).await);
    }
    if let Some(reason) = failure(&ended) {
        let reason = reason.to_owned();
        if let Ended::Returned(Outcome::Rejected(_)) = ended {
            delivery.find_reply_to(&R::ROUTES[route]);
        }
        excuse(delivery, bus, reason).await;
    }
    ended
}

async fn publish(bus: &Bus, outgoing: Vec<Outgoing>) -> Outcome {
    for message in outgoing {
        if let Err(error) = bus.send(message).await {
            return Outcome::Failed(error.to_string());
        }
    }
    Outcome::Done
}

/// What is told of a call that ended without an answer: nothing that comes from the inside, unless it is meant to be told. Somebody
/// else may want what a filter did not.
fn failure(ended: &Ended) -> Option<&str> {
    match ended {
        Ended::Returned(Outcome::Done | Outcome::Publish(_) | Outcome::Expired | Outcome::Filtered) => None,
        Ended::Returned(Outcome::Refused(reason)) => Some(reason),
        Ended::Returned(Outcome::Failed(_)) => Some("the handler failed"),
        Ended::Returned(Outcome::Rejected(rejection)) => Some(rejection.kind()),
        Ended::Panicked => Some("the handler panicked"),
        Ended::TimedOut => Some("the handler ran past its timeout"),
    }
}

/// Tells whoever asked that there will be no answer. Nobody is told of a message that is no request.
async fn excuse(delivery: &Delivery, bus: &Bus, reason: String) {
    let answer: Outcome = answer::<(), NoError>(&Answer::Failure(reason), delivery, bus);
    if let Outcome::Publish(outgoing) = answer {
        // It is an excuse already: the requester's timeout says the rest.
        let _ = publish(bus, outgoing).await;
    }
}

pin_project! {
    /// A call whose panic is a value, and which ends with its timeout. The timer exists once the call has to wait.
    struct Guarded<F> {
        #[pin]
        call: F,
        timeout: Option<Duration>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Guarded<F> {
    fn new(call: F, timeout: Option<Duration>) -> Self {
        Self { call, timeout, timer: None }
    }
}

impl<F: Future<Output: Into<Ended>>> Future for Guarded<F> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let guarded = self.project();
        // The future is dropped after a panic and never polled again, so nobody sees a broken state of it.
        match catch_unwind(AssertUnwindSafe(|| guarded.call.poll(context))) {
            Ok(Poll::Ready(outcome)) => return Poll::Ready(outcome.into()),
            Ok(Poll::Pending) => {}
            Err(_) => return Poll::Ready(Ended::Panicked),
        }
        let Some(timeout) = *guarded.timeout else { return Poll::Pending };
        let timer = guarded.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(context).map(|()| Ended::TimedOut)
    }
}

/// The future of one call. Once it has completed nothing is left in it, and its memory is used for another.
pub(crate) type Slot<F> = Pin<Box<F>>;

/// Slots whose calls have completed. A call that completes at once borrows one for the moment, so it costs no allocation.
#[derive(Debug)]
pub(crate) struct Slots<F> {
    free: Vec<Slot<F>>,
}

impl<F> Slots<F> {
    pub(crate) fn new() -> Self {
        Self { free: Vec::new() }
    }

    #[inline]
    pub(crate) fn fill(&mut self, future: F) -> Slot<F> {
        let Some(mut slot) = self.free.pop() else { return Box::pin(future) };
        slot.set(future);
        slot
    }

    pub(crate) fn give_back(&mut self, slot: Slot<F>) {
        // More slots than this were only needed in a burst; their memory goes back.
        if self.free.len() < 64 {
            self.free.push(slot);
        }
    }
}

/// A call that waits, in the set of all that wait.
pub(crate) struct Running<F> {
    slot: Option<Slot<F>>,
    route: usize,
    lane: LaneId,
}

impl<F> Running<F> {
    pub(crate) fn new(slot: Slot<F>, route: usize, lane: LaneId) -> Self {
        Self { slot: Some(slot), route, lane }
    }
}

/// A call that waited and has ended, with its slot to give back.
pub(crate) struct Finished<F> {
    pub(crate) slot: Slot<F>,
    pub(crate) route: usize,
    pub(crate) lane: LaneId,
    pub(crate) ended: Ended,
}

impl<F: Future<Output = Ended>> Future for Running<F> {
    type Output = Finished<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Finished<F>> {
        let Some(mut slot) = self.slot.take() else { return Poll::Pending };
        match slot.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Finished { slot, route: self.route, lane: self.lane, ended }),
            Poll::Pending => {
                self.slot = Some(slot);
                Poll::Pending
            }
        }
    }
}
