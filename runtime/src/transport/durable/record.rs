//! What a task has been through. It travels with the task, so that a task without trouble has no key of its own and a take needs no further
//! question.

use serde::{Deserialize, Serialize};

/// What a task has been through, as the field `record` of its entry says in JSON. One that was never back has none.
///
/// The server's own count of deliveries is not asked: it also grows when nothing went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// How often the task has had an owner before: the token of its next owner is one more.
    pub(crate) owners: u64,
    /// Attempts that failed: the handler returned an error, panicked, or took longer than its timeout.
    pub(crate) failures: u32,
    /// Instances that died while they had it.
    pub(crate) crashes: u32,
    /// How often a handler asked for a later time. Costs no attempt.
    pub(crate) snoozes: u32,
    /// How often an instance gave it back without having begun, or while it was stopping. Costs no attempt.
    pub(crate) hand_backs: u32,
    /// How often an instance gave it back because it does not know its name or version.
    pub(crate) unknown: u32,
    /// Since when nobody knows its name or version, by the server's clock in milliseconds.
    pub(crate) unknown_since: Option<u64>,
    /// When it was enqueued, by the server's clock in milliseconds; the id of the entry says it where it is missing.
    pub(crate) enqueued_at: Option<u64>,
    /// The instances that died while they had it, the last ones.
    pub(crate) died: Vec<String>,
    /// What the last failure said.
    pub(crate) error: Option<String>,
}

/// How many instances that died are remembered by name.
pub(crate) const NAMES_OF_DEAD: usize = 10;
/// Bytes of an error that travel with a task.
pub(crate) const LONGEST_ERROR: usize = 1024;

impl Record {
    /// Of the field of an entry. What cannot be read did not come from us: such a task starts afresh.
    pub(crate) fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Which attempt the next one is, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_foreign_is_nothing() {
        let record = Record { failures: 2, died: vec!["a".into()], error: Some("no disk".into()), ..Record::default() };
        assert_eq!(Record::parse(record.to_text().as_bytes()), record);
        assert_eq!(Record::parse(br#"{"failures":1,"later":true}"#), Record { failures: 1, ..Record::default() });
        assert_eq!(Record::parse(b"\xff"), Record::default());
        assert_eq!(record.attempt(), 3);
    }
}
