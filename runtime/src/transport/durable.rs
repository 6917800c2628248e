//! Queues, as a transport carries them: tasks that wait, are taken by one instance, and are settled by it.
//!
//! | room | holds |
//! |--|--|
//! | `contract` | what a transport does for queues: the traits of it, of a reader and of a keeper |
//! | `any` | the queues of whichever transport it is |
//! | `task` | a task on its way in, an entry on its way out, and what is to become of it |
//! | `course` | what others see of a task: its progress, its end, its result, and what watchers are told |
//! | `record` | what a task has been through, which travels with it |
//! | `look` | what can be seen of a queue |

pub(crate) mod any;
pub(crate) mod contract;
pub(crate) mod course;
pub(crate) mod look;
pub(crate) mod record;
pub(crate) mod task;
#[cfg(test)]
mod tests;
