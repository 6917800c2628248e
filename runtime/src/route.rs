//! Routes: what a router knows of its handlers.
//!
//! | room | holds |
//! |--|--|
//! | `entry` | one handler as its router knows it, and its options |
//! | `order` | what its messages must have in common to be handled one after the other |
//! | `routes` | the routes of a router, which may consist of others |
//! | `table` | the trie that finds the route of a channel, built when a service starts |
//! | `sole` | routes whose channels are told without it, as no other route has any of them |
//! | `proof` | the proof that no two handlers take the same channel, run in constant evaluation |
//! | `older` | the proof that `from` names the version before |
//! | `work` | proofs about queues and the handlers that work on them, likewise |
//!
//! It stands above `message`, because a route has the facts of its handler's message, and uses only that and `channel`. It knows no bus and
//! calls no handler.

pub(crate) mod entry;
pub(crate) mod older;
pub(crate) mod order;
pub(crate) mod proof;
pub(crate) mod routes;
pub(crate) mod sole;
pub(crate) mod table;
pub(crate) mod work;

pub use self::{
    entry::{HandlerOptions, Redelivery, Route, WorkOptions},
    order::Order,
    routes::Routes,
};
