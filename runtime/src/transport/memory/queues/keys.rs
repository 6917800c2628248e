//! Deduplication keys, and those of handlers that run once.

use std::{collections::HashMap, sync::Arc};

use crate::transport::{
    durable::task::{Begun, Enqueued, OnceKey, TaskState, Unique},
    memory::queues::store::millis,
};

/// Deduplication keys: which task has them.
#[derive(Debug, Default)]
pub(crate) struct UniqueKeys(HashMap<Arc<str>, Holder>);

#[derive(Debug)]
struct Holder {
    id: Arc<str>,
    state: TaskState,
    /// The end of the window: until then the key holds after the task has ended too.
    until: u64,
}

impl UniqueKeys {
    /// The task that is in the way of another one with this key.
    pub(crate) fn holder(&mut self, key: &str, now: u64) -> Option<Enqueued> {
        let Holder { id, state, until } = self.0.get(key)?;
        if has_ended(*state) && *until <= now {
            self.0.remove(key);
            return None;
        }
        Some(Enqueued::new(id.to_string(), Some(*state)))
    }

    pub(crate) fn hold(&mut self, unique: &Unique, id: &Arc<str>, state: TaskState, now: u64) -> Arc<str> {
        let key: Arc<str> = unique.key.as_str().into();
        let until = now.saturating_add(millis(unique.window));
        self.0.insert(Arc::clone(&key), Holder { id: Arc::clone(id), state, until });
        key
    }

    /// The task is in another state now. Success and discarding leave the key for the rest of its window, and every other end frees it.
    pub(crate) fn moved(&mut self, key: Option<&Arc<str>>, id: &str, state: TaskState, now: u64) {
        let Some(key) = key else { return };
        let Some(holder) = self.0.get_mut(key) else { return };
        // Another task may have it, once the first was dead and is replayed.
        if *holder.id != *id {
            return;
        }
        holder.state = state;
        if matches!(state, TaskState::Dead | TaskState::Expired | TaskState::Cancelled)
            || (has_ended(state) && holder.until <= now)
        {
            self.0.remove(key);
        }
    }

    /// The task was never added.
    pub(crate) fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Forgets keys whose window is over.
    pub(crate) fn tidy(&mut self, now: u64) {
        self.0.retain(|_, holder| !has_ended(holder.state) || holder.until > now);
    }
}

fn has_ended(state: TaskState) -> bool {
    match state {
        TaskState::Completed | TaskState::Discarded | TaskState::Dead | TaskState::Expired | TaskState::Cancelled => {
            true
        }
        TaskState::Waiting | TaskState::Delayed | TaskState::Running | TaskState::Parked => false,
    }
}

/// Keys of handlers that run once.
#[derive(Debug, Default)]
pub(crate) struct OnceKeys {
    keys: HashMap<String, Once>,
    /// The key of each task that has begun, by its id.
    begun: HashMap<Arc<str>, OnceKey>,
}

#[derive(Debug)]
enum Once {
    Begun {
        id: Arc<str>,
        token: u64,
    },
    Done {
        until: u64,
    },
    /// Begun, and never to be finished: there is a dead letter.
    Unfinished {
        until: u64,
    },
}

impl OnceKeys {
    pub(crate) fn begin(&mut self, key: &OnceKey, id: &str, token: u64, now: u64) -> Begun {
        match self.keys.get(&key.key) {
            Some(Once::Begun { id: other, token: before }) => match **other == *id {
                true if *before == token => Begun::Now,
                true => Begun::Before,
                false => Begun::Elsewhere,
            },
            Some(Once::Done { until }) if *until > now => Begun::Done,
            Some(Once::Unfinished { until }) if *until > now => Begun::Before,
            Some(Once::Done { .. } | Once::Unfinished { .. }) | None => {
                let id: Arc<str> = id.into();
                self.begun.insert(Arc::clone(&id), key.clone());
                self.keys.insert(key.key.clone(), Once::Begun { id, token });
                Begun::Now
            }
        }
    }

    pub(crate) fn done(&mut self, key: Option<&OnceKey>, now: u64) {
        self.set(key, now, |until| Once::Done { until });
    }

    pub(crate) fn unfinished(&mut self, key: Option<&OnceKey>, now: u64) {
        self.set(key, now, |until| Once::Unfinished { until });
    }

    pub(crate) fn free(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            let before = self.keys.remove(key);
            self.left(before);
        }
    }

    /// A task was cancelled: if it had begun, it will never be finished.
    pub(crate) fn cancelled(&mut self, id: &str, now: u64) {
        let key = self.begun.get(id).cloned();
        self.unfinished(key.as_ref(), now);
    }

    pub(crate) fn tidy(&mut self, now: u64) {
        self.keys.retain(|_, once| match once {
            Once::Begun { .. } => true,
            Once::Done { until } | Once::Unfinished { until } => *until > now,
        });
    }

    fn set(&mut self, key: Option<&OnceKey>, now: u64, once: impl FnOnce(u64) -> Once) {
        if let Some(OnceKey { key, window }) = key {
            let before = self.keys.insert(key.clone(), once(now.saturating_add(millis(*window))));
            self.left(before);
        }
    }

    fn left(&mut self, before: Option<Once>) {
        if let Some(Once::Begun { id, .. }) = before {
            self.begun.remove(&id);
        }
    }
}
