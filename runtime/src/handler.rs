//! Handlers: what they take, what they return, and the layers around them.
//!
//! | room | holds |
//! |--|--|
//! | `contract` | what a handler and a router are |
//! | `incoming` | how the message of a handler is decoded |
//! | `extract` | what a handler takes after its message |
//! | `progress` | how a handler of a queue says how far it has come |
//! | `returned` | what a handler may return, and what it asks for |
//! | `worked` | what a handler of a queue may return: where results are kept, its reply |
//! | `publish`, `enqueue` | messages and tasks that a handler returns |
//! | `causes` | what a handler's error says beside its words: what has caused it, and what is to become of the task |
//! | `ending` | how the end of a task is announced |
//! | `rule` | errors that say what is to become of the task |
//! | `once` | what is asked before a handler that runs once |
//! | `outcome` | what came of a message, and what is to be done about it |
//! | `layer`, `no_layer` | layers of tower, with and without the feature `tower` |
//! | `routers` | routers behind a pointer, and several that are served as one |
//! | `stub` | what stands in where a macro has failed |
//!
//! It uses `bus`, `route`, `message` and the floors below. It runs no handler by itself: `serve` does.

pub(crate) mod causes;
pub(crate) mod contract;
pub(crate) mod ending;
pub(crate) mod enqueue;
pub(crate) mod extract;
pub(crate) mod incoming;
#[cfg(feature = "tower")]
pub mod layer;
#[cfg(not(feature = "tower"))]
#[path = "handler/no_layer.rs"]
pub(crate) mod layer;
pub(crate) mod once;
pub(crate) mod outcome;
pub(crate) mod progress;
pub(crate) mod publish;
pub(crate) mod returned;
pub(crate) mod routers;
pub(crate) mod rule;
pub(crate) mod stub;
pub(crate) mod worked;

pub use self::{
    contract::{Handler, Router},
    ending::Ended,
    enqueue::Enqueue,
    extract::{Context, Extract, ExtractError, FromState, State},
    outcome::Rule,
    progress::{Progress, ProgressError},
    publish::Publish,
    returned::IntoOutcome,
    rule::Outcome,
};
