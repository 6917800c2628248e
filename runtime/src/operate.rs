//! Looking at queues and mending them, from a program: what a dashboard or a command of the shop's own asks.
//!
//! | room | holds |
//! |--|--|
//! | `queue` | the handle to one queue: its counts, what runs, and who works on it |
//! | `tasks` | finding a task, listing those of a state, cancelling one |
//! | `view` | a task as it is now |
//! | `result` | what came of one of its tasks |
//! | `dead_letters` | tasks that were given up: reading, replaying and deleting them |
//! | `pausing` | pausing a queue, and having it go on |
//! | `events` | watching what happens |
//! | `drain` | waiting until nothing is left to do |
//!
//! Nothing here is on the way of a task. `events` spawns what renews a watch, and `drain` waits for a time. This floor uses `serve` for what a queue
//! consists of, and the floors below.

pub(crate) mod dead_letters;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod pausing;
pub(crate) mod queue;
pub(crate) mod result;
pub(crate) mod tasks;
pub(crate) mod view;

pub use self::{
    dead_letters::{DeadLetter, DeadLetters, Letters},
    drain::DrainError,
    events::{EventTask, QueueEvent, QueueEvents, Watching},
    queue::{QueueHandle, QueueWorker, RunningTask},
    tasks::{Cancellation, TaskPage, Tasks},
    view::{TaskProgress, TaskView},
};
