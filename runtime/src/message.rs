//! Messages: the traits that `#[derive(Message)]` implements, addresses, and what was received of one.
//!
//! | room | holds |
//! |--|--|
//! | `contract` | `Message` and its relatives, as the derive implements them |
//! | `reading` | how messages are written and read with serde; the page on traits that exist for their error texts |
//! | `kind` | what a message promises beside: `Broadcast`, `Request`, `Queue`, `Results` |
//! | `older` | how what older code wrote is read |
//! | `facts` | what is known of a message without its type |
//! | `address` | a concrete channel of one message type |
//! | `lease` | what a handler of a queue knows of its hold on a task |
//! | `progress` | what handlers report of their tasks, until it is noted |
//! | `delivery` | one received message with its metadata |
//!
//! It uses `transport` (for frames) and the floors below. Nothing below this floor knows messages.

pub(crate) mod address;
pub(crate) mod contract;
pub(crate) mod delivery;
pub(crate) mod facts;
pub(crate) mod kind;
pub(crate) mod lease;
pub(crate) mod older;
pub(crate) mod progress;
pub(crate) mod reading;

pub use self::{
    address::Address,
    contract::{AddressedByFields, BorrowedMessage, Message, OwnedMessage},
    delivery::Delivery,
    facts::{Facts, Kind, QueueFacts, Turns},
    kind::{Broadcast, NoError, Queue, Request, Results},
    lease::Lease,
};
