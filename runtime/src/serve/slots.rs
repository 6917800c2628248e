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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    /// Returns what it is given, doubled: after as many polls.
    fn doubling() -> Slot<'static, u32, u32> {
        slot(|polls: u32| {
            let mut left = polls;
            poll_fn(move |context| {
                if left == 0 {
                    return Poll::Ready(2 * polls);
                }
                left -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
        })
    }

    fn begun(slot: &mut Slot<'static, u32, u32>, polls: u32) -> Poll<u32> {
        slot.as_mut().begin(polls, &mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn a_slot_is_used_by_one_call_after_the_other() {
        let mut slot = doubling();
        assert!(
            slot.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending(),
            "nothing was begun"
        );
        assert_eq!(begun(&mut slot, 0), Poll::Ready(0));
        assert!(begun(&mut slot, 3).is_pending());
        let running = Running::new(slot, "place");
        assert_eq!(running.place(), Some(&"place"));
        let Finished { mut slot, place, output } = running.await;
        assert_eq!((place, output), ("place", 6));
        assert_eq!(begun(&mut slot, 0), Poll::Ready(0));
    }

    #[test]
    fn as_many_slots_are_kept_as_are_used_between_bursts() {
        let mut slots = Slots::new();
        assert!(slots.take().is_none());
        for _ in 0..70 {
            slots.give_back(doubling());
        }
        assert_eq!(std::iter::from_fn(|| slots.take()).count(), 64);
    }

    #[test]
    fn a_call_that_is_cancelled_is_dropped_at_its_await_even_if_that_panics() {
        struct Panics;

        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("a drop of a test panics, as it should");
            }
        }

        let mut slot = slot(|()| async {
            let _held = Panics;
            std::future::pending::<()>().await;
        });
        assert!(slot.as_mut().begin((), &mut Context::from_waker(std::task::Waker::noop())).is_pending());
        assert_eq!(Running::new(slot, 7).cancel(), Some(7));
        let mut ended = Running::new(doubling(), 7);
        ended.waits = None;
        assert!(ended.place().is_none() && (&mut ended).now_or_never().is_none());
        assert_eq!(ended.cancel(), None);
    }
}
