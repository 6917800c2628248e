//! The test harness: real servers, one interface to memory, Redis and Redis Cluster, and waiting with a deadline.
//!
//! | part | for |
//! |--|--|
//! | [`on_each!`] | a promise to users: one test body, run on memory, on a real redis-server and on a cluster |
//! | [`World`] | what such a body runs on: buses, faults, and what the server says of its subscriptions |
//! | [`RedisServer`] | a server of a test's own, to kill, pause, restart and ask |
//! | [`Cluster`] | a Redis Cluster of three masters, and of three replicas where it is a test's own |
//! | [`Sentinels`] | a master with replicas, and Sentinels that watch over them |
//! | [`Recorder`] | what handlers saw, to wait for |
//! | [`LogLines`] | what is logged |
//! | [`eventually`] | a condition that must come true within a deadline |
//!
//! Nothing here sleeps for a fixed time and hopes; whatever goes wrong is a panic that says what was waited for.
#![allow(clippy::missing_panics_doc, reason = "panicking is how a test harness reports")]

mod cluster;
mod log_lines;
mod port;
mod recorder;
mod redis_server;
mod sentinels;
mod share;
mod wait;
mod world;

#[doc(hidden)]
pub use self::world::{Body, Kind, run};
pub use self::{
    cluster::{Cluster, Migration},
    log_lines::LogLines,
    recorder::Recorder,
    redis_server::RedisServer,
    sentinels::Sentinels,
    wait::eventually,
    world::World,
};
