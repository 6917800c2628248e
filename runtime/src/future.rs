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

/// What is asked of an operation `O` that is not awaited yet. Nothing implements it. The lifetime keeps the compiler from saying so here.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{O}` is not awaited yet, so nothing has come of it",
    label = "not awaited yet",
    note = "write `.await` before it"
)]
pub trait NotAwaitedYet<'a, O> {
    fn come_of<T>(self, operation: &'a O) -> T;
}

/// Functions of what comes of an operation, which never compile on the operation itself: without them rustc says only that there is no such function.
macro_rules! once_awaited {
    ($([$($parameter:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($parameter)*> $type {
            #[doc(hidden)]
            pub fn unwrap<'__a, __T>(&'__a self) -> __T
            where
                (): crate::future::NotAwaitedYet<'__a, Self>,
            {
                crate::future::NotAwaitedYet::come_of((), self)
            }

            #[doc(hidden)]
            pub fn expect<'__a, __T>(&'__a self, _message: &str) -> __T
            where
                (): crate::future::NotAwaitedYet<'__a, Self>,
            {
                crate::future::NotAwaitedYet::come_of((), self)
            }
        }
    )*};
}

pub(crate) use once_awaited;

impl<T> fmt::Debug for BusFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BusFuture").finish_non_exhaustive()
    }
}
