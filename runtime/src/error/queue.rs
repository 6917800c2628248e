//! What goes wrong with queues.

use std::time::Duration;

use crate::{
    error::{
        publish::{PublishError, is_passing},
        received::AddressError,
    },
    observe::label::{Label, Observed},
};

/// Why a task was not enqueued, or not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The task cannot be encoded.
    #[error("{name} cannot be encoded: {reason}")]
    #[non_exhaustive]
    Encode {
        /// The wire name.
        name: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// The task and the address that it is to be enqueued at contradict each other. Nothing was sent.
    #[error("on {queue}: the task does not fit its address: {source}")]
    #[non_exhaustive]
    Address {
        /// The queue's template.
        queue: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// The encoded task is larger than the queue allows. Nothing was sent.
    #[error(
        "on {queue}: the task has {size} bytes, more than the limit of {limit}; store the data elsewhere and enqueue its address, or raise \
         `#[queue(…, payload_limit = …)]`"
    )]
    #[non_exhaustive]
    PayloadTooLarge {
        /// The queue's template.
        queue: &'static str,
        /// Bytes of the encoded task.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The channel's name is longer than the bus allows. Nothing was sent.
    #[error("on {queue}: the channel's name has {length} characters, more than the limit of {limit}")]
    #[non_exhaustive]
    NameTooLong {
        /// The queue's template.
        queue: &'static str,
        /// Characters of the name.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// As many tasks wait as the queue may hold. Nothing was added.
    #[error(
        "on {queue}: {max_length} tasks wait, which is its limit; enqueue again later, add instances, or raise `#[queue(…, max_length = …)]`"
    )]
    #[non_exhaustive]
    QueueFull {
        /// The queue's template.
        queue: &'static str,
        /// The limit.
        max_length: u64,
    },
    /// The server has no memory left. Nothing was added; what waits is still worked off.
    #[error("on {queue}: the server has no memory left: {reason}; enqueue again later, or raise its `maxmemory`")]
    #[non_exhaustive]
    ServerFull {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The server's access rules refuse it. Nothing was added.
    #[error("the server refuses the queue {queue}: {reason}; a rule that allows it: `{rule}`")]
    #[non_exhaustive]
    Refused {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
        /// The command that would allow it.
        rule: String,
    },
    /// The address names one server, and that is a node of a cluster, where only a bus that knows all of it finds a queue. Nothing was added.
    #[error("on {queue}: the server is a node of a cluster: write `redis+cluster://{address}` in the address")]
    #[non_exhaustive]
    ClusterNode {
        /// The queue's template.
        queue: &'static str,
        /// Host and port of the node.
        address: String,
    },
    /// The server is older than Redis 7.0, whose scripts queues are made of. Nothing was added.
    #[error("on {queue}: queues need Redis 7.0 or newer, and the server is {version}")]
    #[non_exhaustive]
    ServerTooOld {
        /// The queue's template.
        queue: &'static str,
        /// What the server says of itself, such as `6.2.14`.
        version: String,
    },
    /// The batch is atomic and holds tasks of several queues, which a cluster keeps in several places: no step can add all of them or none. Nothing was
    /// sent.
    #[error(
        "on {queue}: an atomic batch with tasks of several queues, which are on several nodes of the cluster; enqueue each queue's tasks in a batch of its own"
    )]
    #[non_exhaustive]
    SeveralSlots {
        /// The queue's template.
        queue: &'static str,
    },
    /// Another task of the same atomic batch was refused, so none was added.
    #[error("on {queue}: not added, because another task of the batch was refused")]
    #[non_exhaustive]
    Aborted {
        /// The queue's template.
        queue: &'static str,
    },
    /// No answer came, or the connection was lost before it did: the task may or may not be in the queue. With a deduplication key it can be
    /// enqueued again without being doubled.
    #[error(
        "on {queue}: it is not known whether the task is in the queue: {reason}; with `deduplicate(key, window)` it can be enqueued again"
    )]
    #[non_exhaustive]
    Undecided {
        /// The queue's template.
        queue: &'static str,
        /// What happened.
        reason: String,
    },
    /// There is no connection. Nothing was added.
    #[error("on {queue}: not connected: {reason}")]
    #[non_exhaustive]
    NotConnected {
        /// The queue's template.
        queue: &'static str,
        /// The reason.
        reason: String,
    },
    /// The bus is closed for good. Nothing was added.
    #[error("on {queue}: the bus is closed: {reason}")]
    #[non_exhaustive]
    Closed {
        /// The queue's template.
        queue: &'static str,
        /// Why it was closed.
        reason: String,
    },
    /// The server answered with another error. Nothing was added.
    #[error("on {queue}: the server says: {reason}")]
    #[non_exhaustive]
    Server {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
    },
}

impl EnqueueError {
    /// Of what went wrong before anything was sent.
    pub(crate) fn before_sending(queue: &'static str, error: PublishError) -> Self {
        match error {
            PublishError::Encode { name, reason } => Self::Encode { name, reason },
            PublishError::Address { source, .. } => Self::Address { queue, source },
            PublishError::PayloadTooLarge { size, limit, .. } => Self::PayloadTooLarge { queue, size, limit },
            PublishError::NameTooLong { length, limit, .. } => Self::NameTooLong { queue, length, limit },
            PublishError::Closed { reason, .. } => Self::Closed { queue, reason },
            other => Self::Server { queue, reason: other.to_string() },
        }
    }

    /// Whether enqueueing the same again may succeed. What the server answered is retryable if it is a condition that passes: see
    /// [`PublishError::is_retryable`](crate::PublishError::is_retryable). After [`Undecided`](Self::Undecided) that may double the task, unless it has a
    /// deduplication key.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::ServerFull { .. }
            | Self::Undecided { .. }
            | Self::NotConnected { .. }
            | Self::Aborted { .. } => true,
            Self::Server { reason, .. } => is_passing(reason),
            _ => false,
        }
    }
}

impl Observed for EnqueueError {
    fn label(&self) -> Label {
        Label::error(match self {
            Self::Encode { .. } => "encode",
            Self::Address { .. } => "address",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::NameTooLong { .. } => "name_too_long",
            Self::QueueFull { .. } => "queue_full",
            Self::ServerFull { .. } => "server_full",
            Self::Refused { .. } => "refused",
            Self::ClusterNode { .. } => "cluster_node",
            Self::ServerTooOld { .. } => "server_too_old",
            Self::SeveralSlots { .. } => "several_slots",
            Self::Aborted { .. } => "aborted",
            Self::Undecided { .. } => "undecided",
            Self::NotConnected { .. } => "not_connected",
            Self::Closed { .. } => "closed",
            Self::Server { .. } => "server",
        })
    }
}

/// Why a queue cannot be served or looked at.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The server's access rules refuse something that the queue needs.
    #[error("the server refuses the queue {queue}: {reason}; a rule that allows it: `{rule}`")]
    #[non_exhaustive]
    Refused {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
        /// The command that would allow it.
        rule: String,
    },
    /// There are keys of the queue that tidings did not write so: another version has, or another program.
    #[error(
        "the keys of the queue {queue} have another layout ({found}; this version knows {known}): move its tasks with the version that wrote them"
    )]
    #[non_exhaustive]
    Layout {
        /// The queue's template.
        queue: &'static str,
        /// What was found.
        found: String,
        /// What this version writes.
        known: &'static str,
    },
    /// The address names one server, and that is a node of a cluster, where only a bus that knows all of it finds a queue.
    #[error("on {queue}: the server is a node of a cluster: write `redis+cluster://{address}` in the address")]
    #[non_exhaustive]
    ClusterNode {
        /// The queue's template.
        queue: &'static str,
        /// Host and port of the node.
        address: String,
    },
    /// The server is older than Redis 7.0, whose scripts queues are made of.
    #[error("on {queue}: queues need Redis 7.0 or newer, and the server is {version}")]
    #[non_exhaustive]
    ServerTooOld {
        /// The queue's template.
        queue: &'static str,
        /// What the server says of itself, such as `6.2.14`.
        version: String,
    },
    /// The keys of the queue are gone: somebody flushed or deleted them, or the server evicted them. They are made again.
    #[error("the keys of the queue {queue} are gone: {reason}")]
    #[non_exhaustive]
    Gone {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
    },
    /// There is no connection, or it was lost.
    #[error("on {queue}: not connected: {reason}")]
    #[non_exhaustive]
    NotConnected {
        /// The queue's template.
        queue: &'static str,
        /// The reason.
        reason: String,
    },
    /// No answer came in time.
    #[error("on {queue}: no answer within {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The queue's template.
        queue: &'static str,
        /// The command timeout.
        timeout: Duration,
    },
    /// The bus is closed for good.
    #[error("on {queue}: the bus is closed: {reason}")]
    #[non_exhaustive]
    Closed {
        /// The queue's template.
        queue: &'static str,
        /// Why it was closed.
        reason: String,
    },
    /// The server answered with another error.
    #[error("on {queue}: the server says: {reason}")]
    #[non_exhaustive]
    Server {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
    },
    /// A parameter of the queue can have any value, and it was not said which ones are served.
    #[error("the queue {queue} is bound: say which of its values are served, with `bus.serve(…).on(…)`")]
    #[non_exhaustive]
    Unbound {
        /// The queue's template.
        queue: &'static str,
    },
    /// A part of the queue was to be served, and no handler of the service works on it.
    #[error(
        "no handler of the service works on the queue {queue}, a part of which `bus.serve(…).on(…)` names: serve a router that has one, or remove `on`"
    )]
    #[non_exhaustive]
    NoHandler {
        /// The queue's template.
        queue: &'static str,
    },
    /// Tasks that have ended so leave nothing that could be listed; a result is asked for by the task's id.
    #[error(
        "on {queue}: nothing is left of tasks that are {state}; those that wait, are delayed, run, are parked or dead can be listed"
    )]
    #[non_exhaustive]
    NothingLeft {
        /// The queue's template.
        queue: &'static str,
        /// How they have ended, such as `completed`.
        state: &'static str,
    },
}

impl QueueError {
    /// Whether it passes without anything being changed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::TimedOut { .. } | Self::Gone { .. } | Self::Closed { .. } => true,
            Self::Server { reason, .. } => is_passing(reason),
            _ => false,
        }
    }
}
