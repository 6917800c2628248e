//! Whether a bus lives, for all of its connections.

use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::error::PublishError;

/// The life of a bus: its connections share it, so that each of them knows when another one has given up.
#[derive(Debug, Default)]
pub(crate) struct Life {
    ended: OnceLock<String>,
    /// Told of the end.
    end: Notify,
}

impl Life {
    /// Ends it for good. The first reason counts.
    pub(crate) fn end(&self, reason: &str) {
        let _ = self.ended.set(reason.to_owned());
        self.end.notify_waiters();
    }

    /// Completes with the reason when it has ended.
    pub(crate) async fn over(&self) -> &str {
        loop {
            let mut end = std::pin::pin!(self.end.notified());
            // Registered before the check, so that an end between the two is not missed.
            end.as_mut().enable();
            if let Some(reason) = self.ended() {
                return reason;
            }
            end.await;
        }
    }

    /// Why it has ended, if it has. It is asked for each publish: no lock where nothing has happened.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// Refuses to publish once it has ended.
    pub(crate) fn check(&self, template: &'static str) -> Result<(), PublishError> {
        match self.ended() {
            Some(reason) => Err(PublishError::Closed { template, reason: reason.to_owned() }),
            None => Ok(()),
        }
    }
}
