//! The handle to one transport: what is sent with it, and the one inbox for all answers.
//!
//! | room | holds |
//! |--|--|
//! | `handle` | `Bus` itself |
//! | `builder` | its settings, before it connects |
//! | `sending` | from a message to its receipt: encoding, limits, the way to the transport |
//! | `tasks` | from a task to its queue |
//! | `replies` | the inbox for answers, and who waits for which |
//! | `instances` | what instances of services and those who ask them say to each other |
//! | `book`, `directory` | which instances are known, and who gets the next request; asking for them |
//! | `served` | how many services take the same name |
//! | `closing` | how it is closed: services first, then everything |
//!
//! A verb is an `impl Bus` in the verb's own file, on the floors above: this floor knows none of them. It uses `message`, `transport` and
//! the floors below; nothing below knows the bus.

pub(crate) mod book;
pub(crate) mod builder;
pub(crate) mod closing;
pub(crate) mod directory;
pub(crate) mod handle;
pub(crate) mod instances;
pub(crate) mod replies;
pub(crate) mod sending;
pub(crate) mod served;
pub(crate) mod tasks;

pub use self::{builder::BusBuilder, handle::Bus, sending::Receipt};
