//! What becomes of tasks: decided here without a clock, a tokio task or a server. Time and chance are arguments.
//!
//! | room | holds |
//! |--|--|
//! | `verdict` | what becomes of a task after an attempt, however it ended |
//! | `turns` | which part of a queue is served first |
//! | `parts` | the parts of a queue |
//! | `rounds` | when leases are renewed, and when those of others are looked at |

pub(crate) mod parts;
pub(crate) mod rounds;
#[cfg(test)]
mod tests;
pub(crate) mod turns;
pub(crate) mod verdict;
