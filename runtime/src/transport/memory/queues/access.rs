//! How the store is reached: not at all where the broker is stopped, and later where it is frozen.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    error::{EnqueueError, QueueError},
    time::LONGEST,
    transport::memory::{
        broker::{Asked, MemoryBroker},
        connection::Connection,
        queues::store::Store,
    },
};

/// A way to the store.
#[derive(Clone)]
pub(crate) struct Access {
    pub(super) broker: Arc<MemoryBroker>,
    pub(super) connection: Arc<Connection>,
}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nothing was done.
    Closed(String),
    /// Nothing was done.
    Stopped,
    /// It is done once the broker goes on.
    Late(Duration),
    /// What a frozen broker was asked went with it.
    Lost,
}

impl Access {
    pub(crate) fn new(broker: &Arc<MemoryBroker>, connection: &Arc<Connection>) -> Self {
        Self { broker: Arc::clone(broker), connection: Arc::clone(connection) }
    }

    /// Completes never where those who take tasks hear nothing, and at once otherwise.
    pub(super) async fn heard(&self) {
        if self.broker.is_mute() {
            std::future::pending::<()>().await;
        }
    }

    /// Has the store asked, at a time by its own clock. A frozen broker is asked when it goes on, whether anybody waits for it then or not.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Store, u64) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        if let Some(reason) = self.connection.life.ended() {
            return Err(Unanswered::Closed(reason.to_owned()));
        }
        match self.broker.ask(question) {
            Asked::Now(answer) => Ok(answer),
            Asked::Never => Err(Unanswered::Stopped),
            Asked::Later(answer) => {
                let longest = self.connection.command_timeout.min(LONGEST);
                match timeout(longest, answer).await {
                    Ok(answer) => answer.map_err(|_| Unanswered::Lost),
                    Err(_) => Err(Unanswered::Late(longest)),
                }
            }
        }
    }
}

impl Unanswered {
    pub(crate) fn of_queue(self, queue: &'static str) -> QueueError {
        match self {
            Self::Closed(reason) => QueueError::Closed { queue, reason },
            Self::Stopped => QueueError::NotConnected { queue, reason: STOPPED.to_owned() },
            Self::Lost => QueueError::NotConnected { queue, reason: LOST.to_owned() },
            Self::Late(timeout) => QueueError::TimedOut { queue, timeout },
        }
    }

    pub(crate) fn of_enqueue(&self, queue: &'static str) -> EnqueueError {
        match self {
            Self::Closed(reason) => EnqueueError::Closed { queue, reason: reason.clone() },
            Self::Stopped => EnqueueError::NotConnected { queue, reason: STOPPED.to_owned() },
            Self::Lost => EnqueueError::Undecided { queue, reason: LOST.to_owned() },
            Self::Late(timeout) => EnqueueError::Undecided { queue, reason: format!("no answer within {timeout:?}") },
        }
    }
}

/// Of an instance that has crashed, as the test wanted.
pub(crate) fn crashed(queue: &'static str) -> QueueError {
    QueueError::NotConnected { queue, reason: "the instance has crashed, as the test wanted".to_owned() }
}

pub(crate) fn lost(queue: &'static str) -> QueueError {
    QueueError::NotConnected { queue, reason: LOST.to_owned() }
}

const STOPPED: &str = "the memory broker is stopped";
const LOST: &str = "the memory broker cut the connection";
