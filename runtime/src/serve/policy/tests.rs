mod model;
mod turns;
mod verdicts;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::transport::durable::{
    record::Record,
    task::{Entry, EntryAt, OnceKey},
};

/// An entry of this part, with this record; one that has an id of its own says when it was enqueued: at 1000.
fn entry(channel: &str, record: Record) -> Entry {
    Entry {
        at: EntryAt { channel: channel.into(), is_back: false, entry: "1000-0".into() },
        id: "task".into(),
        name: None,
        version: None,
        payload: Bytes::from_static(b"{}"),
        record,
        unique: Some(Arc::from("unique")),
        expires_at: None,
    }
}

fn key() -> OnceKey {
    OnceKey { key: "task".to_owned(), window: Duration::from_secs(60) }
}
