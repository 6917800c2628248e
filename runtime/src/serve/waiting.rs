//! Futures that wait beside each other.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, StreamExt};

/// Futures of which each is polled when it was woken.
///
/// A `FuturesUnordered` wakes whoever has polled it as soon as all in it were polled, which is each time that the only one is new: the tokio task
/// is then queued once more, and another thread woken for it. So there is one here that nobody ever wakes.
pub(crate) struct Waiting<F> {
    members: FuturesUnordered<Member<F>>,
}

enum Member<F> {
    Waits(F),
    Never,
}

impl<F: Future + Unpin> Waiting<F> {
    pub(crate) fn new() -> Self {
        let members = FuturesUnordered::new();
        members.push(Member::Never);
        Self { members }
    }

    pub(crate) fn push(&self, future: F) {
        self.members.push(Member::Waits(future));
    }

    /// What ends next; `None` when nothing waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<F::Output> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if self.is_empty() { Poll::Ready(None) } else { self.members.poll_next_unpin(context) }
    }

    /// What has ended already, without waiting for anything.
    pub(crate) fn ended(&mut self, context: &mut Context<'_>) -> Option<F::Output> {
        match self.poll_next(context) {
            Poll::Ready(ended) => ended,
            Poll::Pending => None,
        }
    }

    /// Takes out all that wait.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = F> + use<F> {
        let Self { members } = std::mem::replace(self, Self::new());
        members.into_iter().filter_map(|member| match member {
            Member::Waits(future) => Some(future),
            Member::Never => None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len() - 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F: Future + Unpin> Future for Member<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.get_mut() {
            Self::Waits(future) => Pin::new(future).poll(context),
            Self::Never => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_polls_is_woken_by_what_ends_and_by_nothing_else() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = &mut Context::from_waker(&waker);
        let mut waiting = Waiting::new();
        assert!(waiting.is_empty());
        assert_eq!(waiting.poll_next(context), Poll::Ready(None));
        for number in 0..3 {
            let (sender, receiver) = oneshot::channel();
            waiting.push(receiver);
            assert!(waiting.poll_next(context).is_pending());
            // The very first poll meets all of them.
            if number == 0 {
                assert!(waiting.poll_next(context).is_pending());
                woken.0.store(0, Ordering::Relaxed);
            }
            assert_eq!(woken.0.load(Ordering::Relaxed), number, "polling wakes nobody");
            sender.send(7).unwrap();
            assert_eq!(woken.0.load(Ordering::Relaxed), number + 1);
            assert_eq!(waiting.ended(context), Some(Ok(7)));
            assert!(waiting.is_empty());
        }
        assert_eq!(waiting.next().now_or_never(), Some(None));
        let (sender, receiver) = oneshot::channel();
        waiting.push(receiver);
        assert_eq!(waiting.next().now_or_never(), None);
        sender.send(8).unwrap();
        assert_eq!(waiting.next().now_or_never(), Some(Some(Ok(8))));
        let (_sender, receiver) = oneshot::channel::<u32>();
        waiting.push(receiver);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting.take().count(), 1);
        assert!(waiting.is_empty());
    }
}
