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

/// What `tokio::spawn` and `join_all` ask of an operation that is not awaited. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "an operation is not a future before it is awaited",
    label = "not awaited",
    note = "write `async move {{ ….await }}` around it, or for each of several `async |order| order.publish(&bus).await`"
)]
pub trait GivenAway<'a> {
    fn come_of<T>() -> T;
}

/// What `await` and `build` ask of a `BusBuilder`. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "nothing is connected yet",
    label = "write `.connect().await`",
    note = "a `BusBuilder` holds settings: its `connect` makes the `Bus`"
)]
pub trait NotConnectedYet<'a> {
    fn come_of<T>() -> T;
}

/// What a `BusBuilder` is where a future belongs: rustc says that this is what the call before `await` returns.
#[doc(hidden)]
#[derive(Debug)]
pub struct SettingsOnly;

/// What `await` asks of a `Service`. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a service goes on until it is stopped",
    label = "write `.run_until_stopped().await`",
    note = "that serves until SIGTERM or Ctrl-C; `.shutdown().await` stops now"
)]
pub trait NotStoppedYet<'a> {
    fn come_of<T>() -> T;
}

/// Futures that no program can poll: of what is given away where a future belongs it is said what to write, and not two or three times that it is none.
///
/// It is asked of another type, as rustc has words of its own for what the same type lacks, and says the same twice where a lifetime is in it. The lifetime
/// of the contract keeps it from saying so here.
macro_rules! never_polled {
    ($([$($parameter:tt)*] $type:ty => $output:ty, $asked:ty: $contract:ident);* $(;)?) => {$(
        #[doc(hidden)]
        impl<$($parameter)*> Future for $type
        where
            for<'__a> $asked: crate::future::$contract<'__a>,
        {
            type Output = $output;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                _context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                std::task::Poll::Ready(<$asked as crate::future::$contract<'_>>::come_of())
            }
        }
    )*};
}

pub(crate) use never_polled;

impl<T> fmt::Debug for BusFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BusFuture").finish_non_exhaustive()
    }
}
