//! What tests of a program need: a broker that can be stopped and frozen, whose clock can be moved, and deliveries for handlers that are called as functions.
//!
//! | to test | see |
//! |--|--|
//! | what a handler decides, as a function | [`Delivery::testing`](crate::Delivery::testing), and what [`Publish`](crate::Publish) can be asked |
//! | what a handler of a queue says of its progress | [`Progress::testing`](crate::Progress::testing) |
//! | a service and its messages, without a server | [`Bus::connect`](crate::Bus::connect) with `memory:` |
//! | outages | [`Broker`] |
//! | what was enqueued, delays, retries and crashes of instances | [`Broker::enqueued`], [`Broker::advance`], [`Broker::crash_at`] |
//! | that a task comes to the same when it is delivered again | [`redelivery`] |

pub(crate) mod broker;
pub(crate) mod delivery;
pub(crate) mod progress;
pub(crate) mod redelivery;

#[doc(hidden)]
pub use self::broker::glob_matches;
pub use self::{
    broker::Broker,
    delivery::DeliveryBuilder,
    redelivery::{
        redelivery,
        report::{Disturbance, Redelivered, RedeliveryError},
    },
};
pub use crate::transport::memory::queues::store::CrashPoint;
