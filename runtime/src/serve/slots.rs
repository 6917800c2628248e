//! Where calls run: each is polled once in place, and moved aside only if it waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

/// Memory for one call at a time. Once that has completed nothing is left in it, and it is used for another.
pub(crate) type Slot<'a, I, O> = Pin<Box<dyn Reusable<I, O> + 'a>>;

/// Makes calls of `I` that end with an `O`, one after the other. Behind this the call's type is hidden: it has a size of its own for each router.
pub(crate) trait Reusable<I, O>: Send {
    /// Begins a call, and polls it once.
    fn begin(self: Pin<&mut Self>, what: I, context: &mut Context<'_>) -> Poll<O>;

    /// Polls the call that was begun.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O>;
}

pin_project! {
    struct Room<M, F> {
        make: M,
        // Absent before the first call.
        #[pin]
        call: Option<F>,
    }
}

/// A slot for calls that are made by `make`.
pub(crate) fn slot<'a, I, F>(make: impl Fn(I) -> F + Send + 'a) -> Slot<'a, I, F::Output>
where
    F: Future + Send + 'a,
{
    Box::pin(Room { make, call: None })
}

impl<I, M: Fn(I) -> F + Send, F: Future + Send> Reusable<I, F::Output> for Room<M, F> {
    #[inline]
    fn begin(mut self: Pin<&mut Self>, what: I, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut room = self.as_mut().project();
        // Made here and not before, so that it is moved as a whole: nothing is done meanwhile of which it would have to be taken apart.
        room.call.set(Some((room.make)(what)));
        self.poll(context)
    }

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().call.as_pin_mut().map_or(Poll::Pending, |call| call.poll(context))
    }
}

/// Slots whose calls have completed. A call that completes at once borrows one for the moment, so it costs no allocation.
pub(crate) struct Slots<'a, I, O> {
    free: Vec<Slot<'a, I, O>>,
}

impl<'a, I, O> Slots<'a, I, O> {
    pub(crate) fn new() -> Self {
        Self { free: Vec::new() }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Slot<'a, I, O>> {
        self.free.pop()
    }

    #[inline]
    pub(crate) fn give_back(&mut self, slot: Slot<'a, I, O>) {
        // More slots than this were only needed in a burst; their memory goes back.
        if self.free.len() < 64 {
            self.free.push(slot);
        }
    }
}

/// A call that waits, in the set of all that wait, with its place.
pub(crate) struct Running<'a, I, O, P> {
    waits: Option<(Slot<'a, I, O>, P)>,
}

impl<'a, I, O, P> Running<'a, I, O, P> {
    pub(crate) fn new(slot: Slot<'a, I, O>, place: P) -> Self {
        Self { waits: Some((slot, place)) }
    }

    pub(crate) fn place(&self) -> Option<&P> {
        self.waits.as_ref().map(|(_, place)| place)
    }

    /// Drops the call at its await. What it holds there is the user's, and so is how that is dropped.
    pub(crate) fn cancel(self) -> Option<P> {
        let (slot, place) = self.waits?;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(slot)));
        Some(place)
    }
}

/// A call that waited and has ended, with its slot to give back.
pub(crate) struct Finished<'a, I, O, P> {
    pub(crate) slot: Slot<'a, I, O>,
    pub(crate) place: P,
    pub(crate) output: O,
}

impl<'a, I, O, P: Unpin> Future for Running<'a, I, O, P> {
    type Output = Finished<'a, I, O, P>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((mut slot, place)) = self.waits.take() else { return Poll::Pending };
        match slot.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Finished { slot, place, output }),
            Poll::Pending => {
                self.waits = Some((slot, place));
                Poll::Pending
            }
        }
    }
}
