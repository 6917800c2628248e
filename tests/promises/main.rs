//! What users are promised, one module a promise: each body runs on memory and on a real redis-server.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

mod acknowledged;
mod acl;
mod answers;
mod bad_input;
mod batch;
mod borrowed;
mod codecs;
mod concurrency;
mod delivery;
mod durations;
mod dynamic;
mod envelope;
mod events;
mod extractors;
mod failures;
mod filters;
mod frozen;
mod giving_up;
mod globs;
mod health;
mod hops;
mod idle;
mod instances;
mod layers;
mod limits;
mod names;
mod order;
mod ordering;
mod overflow;
mod overlap;
mod parameters;
mod publish_outcome;
mod reconnect;
mod rejected;
mod requests;
mod returned;
mod routers;
mod service_durations;
mod service_overflow;
mod shutdown;
mod snapshots;
mod subscriptions;
mod unsubscribe;
