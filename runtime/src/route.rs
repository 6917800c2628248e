//! Routes: what a router knows of its handlers, the table that finds one for a channel, and the proof that none is in the way of another.

pub(crate) mod entry;
pub(crate) mod proof;
pub(crate) mod table;

pub use self::entry::{HandlerOptions, Route};
