//! The pauses between attempts to connect, and who waits for what comes of them.

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::config::Reconnect;

/// When the next attempt may be. A connection that was made is no success yet where a server may take it and do nothing else.
#[derive(Default)]
pub(super) struct Retry {
    pub(super) failures: u32,
    not_before: Option<Instant>,
}

impl Retry {
    /// Waits for the pause that the attempts before call for, or until another connection of the bus could be made, and counts the attempt that
    /// follows.
    ///
    /// # Cancel safety
    ///
    /// An attempt is counted before it is made: if whoever makes it is dropped meanwhile, the next one does not try at once.
    pub(super) async fn pause<T>(&mut self, successes: &mut watch::Receiver<T>, policy: &Reconnect) {
        if let Some(not_before) = self.not_before {
            tokio::select! {
                biased;
                () = sleep_until(not_before) => {}
                // The connection for subscriptions may find out before the pause is over.
                _ = successes.changed(), if self.failures > 0 => {}
            }
        }
        self.not_before = Some(Instant::now() + policy.pause(self.failures));
        self.failures = self.failures.saturating_add(1);
    }
}

/// A connection that several callers wait for. A tokio task of its owner's makes it, and none of them: so nobody waits for a caller who is not polled.
pub(super) struct Awaited<E> {
    /// Told when somebody needs a connection and there is none.
    wanted: Notify,
    /// Told after each attempt that made one, or whose failure will last: then that.
    attempts: watch::Sender<Option<E>>,
}

impl<E> Default for Awaited<E> {
    fn default() -> Self {
        Self { wanted: Notify::new(), attempts: watch::Sender::new(None) }
    }
}

impl<E: Clone> Awaited<E> {
    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// The failure that will last.
    ///
    /// # Cancel safety
    ///
    /// The connection is made nevertheless.
    pub(super) async fn made<T>(&self, live: impl Fn() -> Option<T>) -> Result<T, E> {
        let mut attempts = self.attempts.subscribe();
        loop {
            if let Some(live) = live() {
                return Ok(live);
            }
            self.wanted.notify_one();
            // Who sends is here, so it ends only when something is told.
            let _ = attempts.changed().await;
            if let Some(failure) = &*attempts.borrow_and_update() {
                return Err(failure.clone());
            }
        }
    }

    /// Waits until somebody needs a connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Tells those who wait that there is a connection, or the failure that will last.
    pub(super) fn tell(&self, failure: Option<E>) {
        self.attempts.send_replace(failure);
    }
}
