//! What can go wrong, one type for each family of operations.
//!
//! | room | holds |
//! |--|--|
//! | `received` | why a received message was not handed on |
//! | `connect` | why a connection could not be made |
//! | `publish` | why a message was not published, and whether it may be tried again |
//! | `queue` | why a task was not enqueued, and why a queue cannot be served or looked at |
//! | `batch` | either of these, of batches that hold both |
//! | `subscribe` | why a subscription could not be made |
//! | `exchange` | why whoever waits for an answer or an acknowledgement has none |
//! | `shutdown` | why a service did not end in order |
//! | `chain` | an error with its causes, as words |
//!
//! It uses `observe` for the labels of its types, and nothing else.

pub(crate) mod batch;
pub(crate) mod chain;
pub(crate) mod connect;
pub(crate) mod exchange;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod received;
pub(crate) mod shutdown;
pub(crate) mod subscribe;

#[cfg(test)]
mod tests;

pub(crate) use self::chain::chain;
pub use self::{
    batch::BatchError,
    connect::ConnectError,
    exchange::{AcknowledgeError, RequestError},
    publish::PublishError,
    queue::{EnqueueError, QueueError},
    received::{AddressError, Rejection},
    shutdown::ShutdownError,
    subscribe::SubscribeError,
};
