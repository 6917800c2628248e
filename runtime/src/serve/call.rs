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
    bus::handle::Bus,
    handler::{
        contract::Router,
        layer::Layers,
        outcome::{Ended, Outcome},
    },
    message::delivery::Delivery,
    observe::observation::enter,
    serve::{lanes::LaneId, settlement::Called},
};

/// Runs the handler of a route within its span, and says how that ended.
///
/// An `async` block and no `async fn`, here and below: the future of an `async fn` holds its arguments twice, and this future is moved into
/// its slot for every message.
#[expect(clippy::manual_async_fn, reason = "its future would be larger")]
pub(crate) fn call<R: Router>(
    router: &R,
    layers: &Layers,
    bus: &Bus,
    route: usize,
    mut delivery: Delivery,
) -> impl Future<Output = Called> {
    async move {
        let entry = &R::ROUTES[route];
        let size = delivery.payload().len();
        let observation = bus.observer().process(entry.handler(), entry.template().text(), size, || {
            delivery.read(entry.facts().read_metadata());
            delivery.about()
        });
        let (ended, observation) = match observation {
            None => (handle(router, layers, bus, route, &mut delivery).await, None),
            // Boxed, as what is seldom there must not make every call's future larger.
            Some(observation) => Box::pin(enter(observation, handle(router, layers, bus, route, &mut delivery))).await,
        };
        if !ended.is_settled() {
            if let Ended::Returned(Outcome::Rejected(_)) = ended {
                // Whoever asked is to be told, and what was not decoded has not said who that is.
                delivery.read(entry.facts().read_metadata());
            }
            return Called::open(ended, delivery, observation);
        }
        observation.iter().for_each(|observation| observation.ended(&ended));
        Called::settled(ended)
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
        match layers.around(route) {
            None => Guarded::new(router.dispatch(route, &mut *delivery, bus), timeout).await,
            Some(layered) => Guarded::new(layered.invoke(R::ROUTES, route, &mut *delivery, bus), timeout).await,
        }
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
    pub(crate) called: Called,
}

impl<F: Future<Output = Called>> Future for Running<F> {
    type Output = Finished<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Finished<F>> {
        let Some(mut slot) = self.slot.take() else { return Poll::Pending };
        match slot.as_mut().poll(context) {
            Poll::Ready(called) => Poll::Ready(Finished { slot, route: self.route, lane: self.lane, called }),
            Poll::Pending => {
                self.slot = Some(slot);
                Poll::Pending
            }
        }
    }
}
