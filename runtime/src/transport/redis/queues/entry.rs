//! Entries of streams, as tasks.

use std::sync::Arc;

use bytes::Bytes;

use crate::transport::{
    durable::{
        look::Dead,
        record::Record,
        task::{DeadReason, Entry, EntryAt, TaskState},
    },
    redis::{
        queues::packed::{Packed, payload},
        resp::value::Walk,
    },
};

/// The fields of an entry that are ours. Of another program's entry only the payload is needed.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) id: Option<Arc<str>>,
    pub(super) name: Option<String>,
    pub(super) version: Option<u64>,
    pub(super) payload: Bytes,
    pub(super) record: Record,
    unique: Option<Arc<str>>,
    expires_at: Option<u64>,
    // Of a dead letter:
    channel: String,
    reason: String,
    instance: String,
}

impl Fields {
    /// Takes one of them. The payload is made of its value only where it is one.
    fn set(&mut self, name: &[u8], value: &[u8], payload: impl FnOnce() -> Bytes) {
        match name {
            b"payload" => self.payload = payload(),
            b"id" => self.id = Some(text(value).into()),
            b"name" => self.name = Some(text(value)),
            b"version" => self.version = number(value),
            b"record" => self.record = Record::parse(value),
            b"unique" => self.unique = Some(text(value).into()),
            b"expires_at" => self.expires_at = number(value),
            b"channel" => self.channel = text(value),
            b"reason" => self.reason = text(value),
            b"instance" => self.instance = text(value),
            _ => {}
        }
    }

    /// The fields of an entry in the answer of a script.
    pub(super) fn packed(packed: &mut Packed) -> Option<Self> {
        let mut fields = Self::default();
        for _ in 0..packed.array()? / 2 {
            let (name, value) = (packed.text()?, packed.text()?);
            let payload = || packed.keep(value.clone());
            fields.set(packed.get(name), packed.get(value.clone()), payload);
        }
        Some(fields)
    }

    /// The same in the answer of the crate: names and values by turns.
    fn of(values: Vec<redis::Value>) -> Option<Self> {
        let mut fields = Self::default();
        let mut values = values.into_iter();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            let (redis::Value::BulkString(name), redis::Value::BulkString(value)) = (name, value) else { return None };
            match name.as_slice() {
                b"payload" => fields.payload = value.into(),
                name => fields.set(name, &value, Bytes::new),
            }
        }
        Some(fields)
    }

    fn entry(self, at: EntryAt) -> Entry {
        let Self { id, name, version, payload, record, unique, expires_at, .. } = self;
        let id = id.unwrap_or_else(|| Arc::clone(&at.entry));
        Entry { at, id, name, version, payload, record, unique, expires_at }
    }
}

/// The part of a stream: its channel, and whether it is of tasks that came back.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) channel: &'a Arc<str>,
    pub(super) is_back: bool,
}

impl Part<'_> {
    fn at(self, entry: &str) -> EntryAt {
        EntryAt { channel: Arc::clone(self.channel), is_back: self.is_back, entry: entry.into() }
    }

    /// An entry in the answer of a script: `{id, fields}`.
    pub(super) fn packed(self, packed: &mut Packed) -> Option<Entry> {
        if packed.array()? != 2 {
            return None;
        }
        let at = self.at(packed.str()?);
        Some(Fields::packed(packed)?.entry(at))
    }

    /// An entry in the answer of XREADGROUP: `[id, fields]`.
    pub(super) fn entry(self, walk: &mut Walk, answer: &Bytes) -> Option<Entry> {
        if walk.array(answer)? != 2 {
            return None;
        }
        let id = walk.text(answer)?;
        let at = self.at(std::str::from_utf8(&answer[id]).ok()?);
        let mut fields = Fields::default();
        for _ in 0..walk.array(answer)? / 2 {
            let (name, value) = (walk.text(answer)?, walk.text(answer)?);
            fields.set(&answer[name], &answer[value.clone()], || payload(answer, value));
        }
        Some(fields.entry(at))
    }
}

/// A dead letter in the answer of XREVRANGE.
pub(super) fn dead_letter(value: redis::Value) -> Option<Dead> {
    let (entry, fields) = id_and_fields(value)?;
    let Fields { id, name, version, payload, record, channel, reason, instance, .. } = Fields::of(fields)?;
    let at = entry.split('-').next()?.parse().ok()?;
    let id = id.map_or_else(|| entry.clone(), |id| id.as_ref().to_owned());
    let reason = DeadReason::of_word(&reason).unwrap_or(DeadReason::Failed);
    Some(Dead { entry, id, channel, name, version, payload, record, reason, instance, at })
}

fn id_and_fields(value: redis::Value) -> Option<(String, Vec<redis::Value>)> {
    let redis::Value::Array(values) = value else { return None };
    match <[_; 2]>::try_from(values).ok()? {
        [redis::Value::BulkString(id), redis::Value::Array(fields)] => Some((text(&id), fields)),
        _ => None,
    }
}

/// How scripts say in which state a task is.
const STATES: [(TaskState, &str); 9] = [
    (TaskState::Waiting, "waiting"),
    (TaskState::Delayed, "delayed"),
    (TaskState::Running, "running"),
    (TaskState::Parked, "parked"),
    (TaskState::Completed, "completed"),
    (TaskState::Dead, "dead"),
    (TaskState::Discarded, "discarded"),
    (TaskState::Expired, "expired"),
    (TaskState::Cancelled, "cancelled"),
];

pub(super) fn state_of(word: &str) -> Option<TaskState> {
    STATES.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
