//! The other clients. They weigh more than everything else together, so the feature `peers` brings them in.

#[cfg(feature = "peers")]
mod fred;
#[cfg(feature = "peers")]
mod oxana;
#[cfg(feature = "peers")]
mod rustis;
#[cfg(feature = "peers")]
mod ruststream;

use std::ops::Range;

use crate::{measure::Report, order::Form};

/// Whether this build can run the program.
pub fn can_run(program: &str) -> bool {
    let is_peer = ["fred", "oxana", "rustis", "ruststream"].iter().any(|peer| program.starts_with(peer));
    cfg!(feature = "peers") || !is_peer
}

#[cfg(feature = "peers")]
pub async fn subscribe(program: &str, url: &str, messages: u64, form: Form) -> Report {
    match program {
        "fred" => fred::subscribe(url, form, Some(messages)).await,
        "fred-default" => fred::subscribe(url, form, None).await,
        "rustis" => rustis::subscribe(url, form).await,
        "ruststream" => ruststream::subscribe(url, true).await,
        "ruststream-default" => ruststream::subscribe(url, false).await,
        other => panic!("no such program: {other}"),
    }
}

#[cfg(feature = "peers")]
pub async fn publish(program: &str, url: &str, messages: u64, form: Form, tasks: u64) -> Report {
    match program {
        "fred" => fred::publish(url, messages, form, tasks).await,
        "rustis" => rustis::publish(url, messages, form, tasks).await,
        "ruststream" => ruststream::publish(url, messages, tasks).await,
        other => panic!("no such program: {other}"),
    }
}

#[cfg(feature = "peers")]
pub async fn publish_in_batches(program: &str, url: &str, messages: u64, form: Form, size: u64) -> Report {
    match program {
        "fred" => fred::publish_in_batches(url, messages, form, size).await,
        "rustis" => rustis::publish_in_batches(url, messages, form, size).await,
        other => panic!("no such program: {other}"),
    }
}

#[cfg(feature = "peers")]
pub async fn drain(program: &str, url: &str, messages: u64, at_once: u64) -> Report {
    match program {
        "oxana" => oxana::drain(url, messages, at_once).await,
        "ruststream" => ruststream::drain(url, messages, at_once).await,
        other => panic!("no such program: {other}"),
    }
}

#[cfg(feature = "peers")]
pub async fn fill(program: &str, url: &str, numbers: Range<u64>) {
    match program {
        "oxana-waiting" => oxana::fill(&oxana::storage(url), numbers, 64).await,
        "ruststream-waiting" => ruststream::fill(url, numbers).await,
        other => panic!("no such program: {other}"),
    }
}

#[cfg(not(feature = "peers"))]
pub async fn fill(program: &str, _url: &str, _numbers: Range<u64>) {
    panic!("no such program: {program}")
}

#[cfg(not(feature = "peers"))]
pub async fn drain(program: &str, _url: &str, _messages: u64, _at_once: u64) -> Report {
    panic!("no such program: {program}")
}

#[cfg(not(feature = "peers"))]
pub async fn subscribe(program: &str, _url: &str, _messages: u64, _form: Form) -> Report {
    panic!("no such program: {program}")
}

#[cfg(not(feature = "peers"))]
pub async fn publish(program: &str, _url: &str, _messages: u64, _form: Form, _tasks: u64) -> Report {
    panic!("no such program: {program}")
}

#[cfg(not(feature = "peers"))]
pub async fn publish_in_batches(program: &str, _url: &str, _messages: u64, _form: Form, _size: u64) -> Report {
    panic!("no such program: {program}")
}
