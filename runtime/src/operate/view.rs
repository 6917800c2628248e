//! A task as it is now.

use std::{
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    channel::text::Shown,
    codec::{contract::Format, headers::Headers},
    error::Rejection,
    message::{
        contract::{Message, OwnedMessage},
        delivery::Delivery,
    },
    time::now,
    transport::{
        durable::{
            course::{Reported, Seen},
            task::TaskState,
        },
        frame::{Frame, Origin},
    },
};

/// A task as it was a moment ago. [`QueueHandle::find`](crate::QueueHandle::find) and [`QueueHandle::tasks`](crate::QueueHandle::tasks) make it.
/// `Debug` leaves the payload out.
#[non_exhaustive]
pub struct TaskView<M> {
    /// The task's id.
    pub id: String,
    /// Its part of the queue.
    pub channel: String,
    /// How it is: waiting, delayed, running, parked, or dead. Of any other one nothing is left to be seen.
    pub state: TaskState,
    /// The wire name, where the task says it.
    pub name: Option<String>,
    /// The version, where the task says it.
    pub version: Option<u64>,
    /// The payload as it was enqueued.
    pub payload: Vec<u8>,
    /// When it was enqueued, by the server's clock, where that is known.
    pub enqueued: Option<SystemTime>,
    /// When it is due, by the server's clock, where it is delayed.
    pub due: Option<SystemTime>,
    /// Which attempt runs, or is next, from 1; of a dead letter, which one was the last.
    pub attempt: u32,
    /// Attempts that failed.
    pub failures: u32,
    /// Instances that died while they had it.
    pub crashes: u32,
    /// The last of these, by name.
    pub died: Vec<String>,
    /// What its last failure said; of a task that has none, and whose name or version no instance has known so far, that.
    pub error: Option<String>,
    /// The instance that has it; of a dead letter, the one that gave it up.
    pub instance: Option<String>,
    /// How far it has come, as its handler has said, in this attempt or in an earlier one.
    pub progress: Option<TaskProgress>,
    format: Format,
    message: PhantomData<fn() -> M>,
}

/// How far a task has come, as its handler has said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskProgress {
    /// From 0 to 1, where the handler says it.
    pub fraction: Option<f64>,
    /// In its words; empty where it has none.
    pub text: String,
}

impl<M> TaskView<M> {
    pub(super) fn of(seen: Seen, format: Format) -> Self {
        let Seen { id, channel, state, name, version, payload, record, enqueued_at, due, instance, progress } = seen;
        let attempt = match state {
            TaskState::Dead => record.attempt().saturating_sub(1).max(1),
            _ => record.attempt(),
        };
        Self {
            id,
            channel: channel.to_string(),
            state,
            name,
            version,
            payload: payload.into(),
            enqueued: enqueued_at.map(time_of),
            due: due.map(time_of),
            attempt,
            failures: record.failures,
            crashes: record.crashes,
            died: record.died,
            error: record.error,
            instance,
            progress: progress
                .and_then(|progress| progress.reported)
                .map(|Reported { fraction, text }| TaskProgress { fraction, text }),
            format,
            message: PhantomData,
        }
    }
}

impl<M: Message> TaskView<M> {
    /// The task itself, decoded when this is called.
    ///
    /// # Errors
    ///
    /// Why it cannot be read: it may be of a newer version, or of another program.
    pub fn task(&self) -> Result<M, Rejection>
    where
        M: OwnedMessage,
    {
        delivery(&self.channel, &self.payload, self.format).decode().map_err(|rejection| *rejection)
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> Headers {
        headers::<M>(delivery(&self.channel, &self.payload, self.format))
    }
}

impl<M> fmt::Debug for TaskView<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskView")
            .field("id", &Shown(&self.id))
            .field("channel", &Shown(&self.channel))
            .field("state", &self.state)
            .field("attempt", &self.attempt)
            .field("error", &self.error)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// A task that lies in a queue, as if it had arrived.
pub(super) fn delivery(channel: &str, payload: &[u8], format: Format) -> Delivery {
    let bytes = [channel.as_bytes(), payload].concat();
    let position = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    let (name, payload) = (0..position(channel.len()), position(channel.len())..position(bytes.len()));
    Delivery::of(Frame::new(bytes.into(), name, payload, Origin::Broadcast { token: 0 }, now()), format)
}

pub(super) fn headers<M: Message>(mut delivery: Delivery) -> Headers {
    delivery.read(M::FACTS.read_metadata());
    delivery.headers().clone()
}

/// Of milliseconds since the Unix epoch.
pub(super) fn time_of(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::transport::durable::record::Record;

    use super::*;

    #[test]
    fn the_attempt_is_the_one_that_runs_or_is_next_and_of_a_dead_letter_the_last() {
        let seen = |state, failures, crashes| Seen {
            id: "a".to_owned(),
            channel: Arc::from("tasks"),
            state,
            name: None,
            version: None,
            payload: Default::default(),
            record: Record { failures, crashes, ..Record::default() },
            enqueued_at: Some(u64::MAX),
            due: None,
            instance: None,
            progress: None,
        };
        let attempt =
            |state, failures, crashes| TaskView::<()>::of(seen(state, failures, crashes), Format::Envelope).attempt;
        assert_eq!(attempt(TaskState::Waiting, 0, 0), 1);
        assert_eq!(attempt(TaskState::Running, 2, 1), 4);
        assert_eq!(attempt(TaskState::Dead, 4, 0), 4);
        assert_eq!(attempt(TaskState::Dead, 0, 0), 1, "it could not be read, and never ran");
    }
}
