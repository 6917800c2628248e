//! What carries bytes. Nothing above this floor knows which transport it is, and here and below nothing knows messages.
//!
//! | room | holds |
//! |--|--|
//! | `contract` | what a transport does (`Broadcast`, `Link`), and what it is given: names, inboxes, encoded messages |
//! | `durable` | what a transport does for queues: tasks that wait, leases, dead letters |
//! | `any` | one of the transports, chosen by the address |
//! | `memory`, `redis` | the transports |
//! | `registry` | the names of one connection, and the inboxes that want them; both transports use it |
//! | `inbox` | the bounded buffer between a reader and one subscription or service |
//! | `frame` | one received message: bytes, and how they came |
//! | `glob` | Redis's rules for patterns, for the memory transport |
//! | `status`, `health`, `events` | what can be seen from outside, now and as it happens |
//! | `life` | whether the bus has given up, for all of its connections |
//!
//! It uses the floors below: `error`, `config`, `time` and `observe`.

pub(crate) mod any;
pub(crate) mod contract;
pub(crate) mod durable;
pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod glob;
pub(crate) mod health;
pub(crate) mod inbox;
pub(crate) mod life;
pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod registry;
pub(crate) mod status;
