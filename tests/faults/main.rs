//! Faults on real servers: killed, stopped, cut off, garbled and overrun, with a ledger of what was published and what arrived.
//!
//! | part | for |
//! |--|--|
//! | `ledger` | numbers what is published, writes down what arrives, and computes what is lost, double, unreported or wrong |
//! | `proxy` | a TCP proxy in this process that delays, cuts, resets, truncates, garbles and goes silent |
//! | `child` | this program once more, in a process of its own |
//! | `seed` | the random numbers of a run, printed, and set by `TIDINGS_SEED` |
//! | `report` | one line for each scenario, which the long form adds up |
//!
//! `cargo test --test faults` is the short form. `tests/faults/long` runs the same scenarios for longer and prints a summary.
//! A scenario's pauses between faults are random moments, not waits for something to be true.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod access;
mod buffers;
mod child;
mod churn;
mod cluster;
mod cluster_queues;
mod failover;
mod instances;
mod ledger;
mod names;
mod outages;
mod proxy;
mod report;
mod requests;
mod results;
mod seed;
mod shutdown;
mod tasks;
mod wire;
