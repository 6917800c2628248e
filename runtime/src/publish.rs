//! The verbs that send: one message, many, a request, a task, and a message that handlers acknowledge.
//!
//! | room | holds |
//! |--|--|
//! | `publishing` | one message |
//! | `batch` | many messages in one round trip, and tasks with them |
//! | `enqueue`, `enqueue_all` | one task, and many in one round trip |
//! | `awaiting` | waiting for what comes of a task |
//! | `request` | a message that is answered with a typed reply, by one instance, or one of each group |
//! | `errand` | the way of a request: to an instance and back, or to the next one |
//! | `acknowledge` | a publish that waits until handlers have handled the message |
//! | `misplaced` | verbs where they do not belong, with an error that says what to write |
//! | `generic` | the verbs for code that is generic over its message |
//! | `addressed` | what every one of them begins with: message, address, headers |
//!
//! The derive generates the functions of a message (`publish`, `request`, …), which return these builders. This floor uses `bus`, `message`
//! and the floors below, and knows no handler.

pub(crate) mod acknowledge;
pub(crate) mod addressed;
pub(crate) mod awaiting;
pub(crate) mod batch;
pub(crate) mod enqueue;
pub(crate) mod enqueue_all;
pub(crate) mod errand;
pub(crate) mod generic;
pub(crate) mod misplaced;
pub(crate) mod publishing;
pub(crate) mod request;

pub use self::{
    acknowledge::{Acknowledged, Acknowledging},
    addressed::Several,
    awaiting::{AwaitingResult, ResultError},
    batch::{AtomicBatch, Batch, Sent},
    enqueue::Enqueueing,
    enqueue_all::{EnqueueAll, EnqueueAtomically},
    generic::{Enqueueable, Publishable, Requestable},
    publishing::{PublishFuture, Publishing},
    request::{Collecting, Requesting},
};
