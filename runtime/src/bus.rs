//! The handle to one transport: what is sent with it, and the one inbox for all answers.

pub(crate) mod builder;
pub(crate) mod handle;
pub(crate) mod replies;
pub(crate) mod sending;

pub use self::{builder::BusBuilder, handle::Bus, sending::Receipt};
