//! One call of a handler: polled once in place, moved aside only if it waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

use crate::{
    bus::Bus,
    delivery::Delivery,
    dispatch::LaneId,
    handler::Router,
    outcome::{Outcome, Outgoing},
    transport::frame::Frame,
};

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Returned(Outcome),
    Panicked,
    TimedOut,
}

/// Runs the handler of a route, and publishes what it wants published.
pub(crate) async fn call<R: Router>(router: &R, bus: &Bus, route: usize, frame: Frame) -> Outcome {
    let mut delivery = Delivery::new(frame);
    match router.dispatch(route, &mut delivery, bus).await {
        Outcome::Publish(outgoing) => publish(bus, outgoing).await,
        outcome => outcome,
    }
}

async fn publish(bus: &Bus, outgoing: Vec<Outgoing>) -> Outcome {
    for message in outgoing {
        if let Err(error) = bus.send(message).await {
            return Outcome::Failed(error.to_string());
        }
    }
    Outcome::Done
}

/// Memory for the future of one call, used again for the next.
pub(crate) type Slot<F> = Pin<Box<Option<F>>>;

/// Slots that are free. A call that completes at once borrows one for the moment, so it costs no allocation.
#[derive(Debug)]
pub(crate) struct Slots<F> {
    free: Vec<Slot<F>>,
}

impl<F> Slots<F> {
    pub(crate) fn new() -> Self {
        Self { free: Vec::new() }
    }

    pub(crate) fn fill(&mut self, future: F) -> Slot<F> {
        let mut slot = self.free.pop().unwrap_or_else(|| Box::pin(None));
        slot.set(Some(future));
        slot
    }

    pub(crate) fn give_back(&mut self, mut slot: Slot<F>) {
        slot.set(None);
        // More slots than this were only needed in a burst; their memory goes back.
        if self.free.len() < 64 {
            self.free.push(slot);
        }
    }
}

/// Polls a call, and turns a panic into a value.
pub(crate) fn poll_call<F: Future<Output = Outcome>>(slot: &mut Slot<F>, context: &mut Context<'_>) -> Poll<Ended> {
    let Some(future) = slot.as_mut().as_pin_mut() else { return Poll::Ready(Ended::Panicked) };
    // The future is dropped after a panic and never polled again, so nobody sees a broken state of it.
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ended::Returned(outcome)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Ended::Panicked),
    }
}

/// A call that waits, in the set of all that wait.
pub(crate) struct Running<F> {
    slot: Option<Slot<F>>,
    route: usize,
    lane: LaneId,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<F> Running<F> {
    pub(crate) fn new(slot: Slot<F>, route: usize, lane: LaneId, timeout: Option<Duration>) -> Self {
        let timeout = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Self { slot: Some(slot), route, lane, timeout }
    }
}

/// A call that waited and has ended, with its slot to give back.
pub(crate) struct Finished<F> {
    pub(crate) slot: Slot<F>,
    pub(crate) route: usize,
    pub(crate) lane: LaneId,
    pub(crate) ended: Ended,
}

impl<F: Future<Output = Outcome>> Future for Running<F> {
    type Output = Finished<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Finished<F>> {
        let running = &mut *self;
        let Some(slot) = &mut running.slot else { return Poll::Pending };
        let mut ended = poll_call(slot, context);
        if let (Poll::Pending, Some(timeout)) = (&ended, &mut running.timeout) {
            ended = timeout.as_mut().poll(context).map(|()| Ended::TimedOut);
        }
        match (ended, running.slot.take()) {
            (Poll::Ready(ended), Some(slot)) => {
                Poll::Ready(Finished { slot, route: running.route, lane: running.lane, ended })
            }
            (_, slot) => {
                running.slot = slot;
                Poll::Pending
            }
        }
    }
}
