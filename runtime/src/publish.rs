//! Sending: one message, many, a request, and a message that handlers acknowledge.

pub(crate) mod acknowledge;
pub(crate) mod addressed;
pub(crate) mod batch;
pub(crate) mod publishing;
pub(crate) mod request;

pub use self::{
    acknowledge::{Acknowledged, Acknowledging},
    batch::{AtomicBatch, Batch},
    publishing::{PublishFuture, Publishing},
    request::{Collecting, Requesting},
};
