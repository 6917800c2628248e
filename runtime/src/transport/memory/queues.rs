//! The queues of a memory broker: the promises of those on Redis, kept on a state in this process.
//!
//! | room | holds |
//! |--|--|
//! | `queue` | one queue: its parts, what is delayed and taken, and what becomes of it |
//! | `keys` | deduplication keys, and those of handlers that run once |
//! | `course` | what others see of a task: progress, results, and what is published in the step that ends it |
//! | `places` | where each task is: finding, listing and cancelling |
//! | `blocked` | readers that wait for a task |
//! | `look` | what can be seen of a queue, and mended |
//! | `store` | all queues of a broker, their clock, and the crashes that a test asks for |
//! | `access` | how the store is reached: not at all where the broker is stopped, and later where it is frozen |
//! | `reader` | takes tasks for one instance |
//! | `keeper` | keeps leases |
//!
//! `queue`, `keys`, `course`, `places`, `blocked`, `look` and `store` have neither a clock nor a tokio task: time is an argument.

pub(crate) mod access;
pub(crate) mod blocked;
pub(crate) mod course;
pub(crate) mod keeper;
pub(crate) mod keys;
pub(crate) mod look;
pub(crate) mod places;
pub(crate) mod queue;
pub(crate) mod reader;
pub(crate) mod store;
#[cfg(test)]
mod tests;

pub(crate) use self::{keeper::MemoryKeeper, reader::MemoryReader};
