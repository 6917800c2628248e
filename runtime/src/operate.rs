//! Looking at queues and mending them, from a program: what a dashboard or a command of the shop's own asks.
//!
//! | room | holds |
//! |--|--|
//! | `queue` | the handle to one queue: its counts, what runs, and who works on it |
//! | `dead_letters` | tasks that were given up: reading, replaying and deleting them |
//!
//! Nothing here is on the way of a task. This floor uses `serve` for what a queue consists of, and the floors below.

pub(crate) mod dead_letters;
pub(crate) mod queue;

pub use self::{
    dead_letters::{DeadLetter, DeadLetters},
    queue::{QueueHandle, QueueWorker, RunningTask},
};
