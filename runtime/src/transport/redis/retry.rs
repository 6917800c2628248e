//! The pauses between attempts to connect.

use tokio::{
    sync::watch,
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
