//! The named future of an operation.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// The future of an operation, which runs while it is awaited.
///
/// It has a name so that a wrong argument gives one compile error, at the argument: an `async fn` repeats it at each use of its
/// future.
#[must_use = "nothing happens until this is awaited"]
pub struct BusFuture<'a, T> {
    inner: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<'a, T> BusFuture<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { inner: Box::pin(future) }
    }
}

impl<T> Future for BusFuture<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.inner.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for BusFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BusFuture").finish_non_exhaustive()
    }
}
