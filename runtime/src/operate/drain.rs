//! Waiting until a queue has nothing left to do.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    config::Bounds,
    error::QueueError,
    message::contract::Message,
    operate::{events::QueueEvents, queue::QueueHandle},
    time::deadline_after,
    transport::durable::look::QueueCounts,
};

/// Why a queue was not waited for to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The time is over, and this is left.
    #[error(
        "on {queue}: after {within:?} {} tasks wait, {} are delayed, {} run, and {} are parked{}",
        left.waiting(), left.delayed(), left.running(), left.parked, if left.is_paused { "; the queue is paused" } else { "" }
    )]
    #[non_exhaustive]
    TimedOut {
        /// The queue's template.
        queue: &'static str,
        /// How long it was waited.
        within: Duration,
        /// What there was when the time was over.
        left: Box<QueueCounts>,
    },
    /// The queue cannot be looked at.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Not more often are the counts asked, however much ends.
const PAUSE: Duration = Duration::from_millis(20);
/// So often at least, whatever is told.
const LOOK: Duration = Duration::from_secs(1);
/// Any event says that it is time to look: a few are enough.
const BUFFER: Bounds = Bounds::messages(64);

impl<M: Message> QueueHandle<M> {
    /// Waits until no task waits, is delayed, runs or is parked: everything that was accepted has ended. Dead letters do not count. For a
    /// deploy that moves a queue, and for tests.
    ///
    /// It watches the [events](Self::events) of the queue, and polls nothing but its counts once a second. Whoever enqueues meanwhile
    /// prolongs it. Of some parts alone ([`on`](Self::on)) it waits for these, and for all that are parked.
    ///
    /// # Errors
    ///
    /// [`DrainError::TimedOut`] says what is left when the time is over, which is a year at most. A server that is away for a moment is waited for; one
    /// that is away at the end of the time, or refuses, is [`DrainError::Queue`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, DrainError, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { to: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mails = bus.queue::<SendMail>();
    /// mails.wait_until_empty(Duration::from_secs(5)).await?;
    ///
    /// SendMail { to: "ada@example.org".into() }.enqueue(&bus).await?; // nobody serves it
    /// match mails.wait_until_empty(Duration::from_millis(50)).await {
    ///     Err(DrainError::TimedOut { left, .. }) => assert_eq!(left.outstanding(), 1),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn wait_until_empty(&self, within: Duration) -> Result<(), DrainError> {
        self.wait_until(within, |counts| counts.outstanding() == 0).await
    }

    /// Waits until no task waits or runs: whatever could be done now is done. Tasks that are delayed, as retries are, or parked do not count.
    ///
    /// # Errors
    ///
    /// As of [`wait_until_empty`](Self::wait_until_empty).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    pub async fn wait_until_idle(&self, within: Duration) -> Result<(), DrainError> {
        self.wait_until(within, |counts| counts.waiting() == 0 && counts.running() == 0).await
    }

    async fn wait_until(&self, within: Duration, is_over: fn(&QueueCounts) -> bool) -> Result<(), DrainError> {
        let (deadline, spec) = (deadline_after(within), self.spec()?);
        let mut events = None;
        loop {
            let is_last = Instant::now() >= deadline;
            match self.bus.durable().counts(&spec).await {
                Ok(counts) if is_over(&counts) => return Ok(()),
                Ok(left) if is_last => {
                    return Err(DrainError::TimedOut { queue: M::TEMPLATE.text(), within, left: Box::new(left) });
                }
                Err(error) if is_last || !may_pass(&error) => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
            let looked = Instant::now();
            match &mut events {
                None => {
                    let open = QueueEvents::open(self.bus.clone(), self.name(), BUFFER);
                    // Without a watch it looks each second.
                    match timeout_at(deadline, open).await {
                        // What has ended meanwhile was told to nobody.
                        Ok(Ok(opened)) => events = Some(opened),
                        Ok(Err(_)) => sleep_until(deadline.min(looked + LOOK)).await,
                        Err(_) => {}
                    }
                }
                Some(watched) => {
                    let _ = timeout_at(deadline.min(looked + LOOK), something_ends(watched)).await;
                    sleep_until(deadline.min(looked + PAUSE)).await;
                }
            }
        }
    }
}

async fn something_ends(events: &mut QueueEvents) {
    loop {
        match events.next().await {
            Some(event) if event.frees() => return,
            Some(_) => {}
            // The bus is closed, as the next look says.
            None => return,
        }
    }
}

/// Whether it may be otherwise in a moment.
fn may_pass(error: &QueueError) -> bool {
    matches!(error, QueueError::NotConnected { .. } | QueueError::TimedOut { .. } | QueueError::Gone { .. })
}
