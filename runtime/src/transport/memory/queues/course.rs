//! The course of tasks as others see it: what was noted of them, who waits for their end, what is kept of that, and what is published in the step
//! in which it happens.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;

use crate::transport::{
    durable::{
        course::{Announcement, Asker, EndedTask, Note, Progress, ResultBounds, TakenAway, Told, WATCHED},
        task::{DeadReason, Entry, EntryAt, QueueName, TaskState},
    },
    memory::queues::store::millis,
};

/// The course of a queue's tasks.
#[derive(Debug)]
pub(crate) struct Course {
    /// The channels of watchers and of instances, with the namespace.
    events: String,
    control: String,
    /// By the task's id.
    progress: HashMap<Arc<str>, Progress>,
    askers: HashMap<Arc<str>, Vec<Waits>>,
    pub(crate) results: Results,
    watched_until: u64,
    /// What the step that is going on publishes.
    published: Vec<(String, Vec<u8>)>,
}

/// Who waits for the end of a task.
#[derive(Debug)]
struct Waits {
    channel: String,
    payload: Vec<u8>,
    until: u64,
}

/// How a task ends.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) reason: Option<DeadReason>,
    pub(crate) error: Option<String>,
    /// What is kept; `None` keeps nothing.
    pub(crate) result: Option<Vec<u8>>,
    pub(crate) announcement: Option<Announcement>,
}

impl Course {
    pub(crate) fn new(name: &QueueName) -> Self {
        Self {
            events: format!("{}{}", name.namespace, name.events()),
            control: format!("{}{}", name.namespace, name.control()),
            progress: HashMap::new(),
            askers: HashMap::new(),
            results: Results::default(),
            watched_until: 0,
            published: Vec::new(),
        }
    }

    /// What was published since this was called last: channels with the namespace, and payloads.
    pub(crate) fn take_published(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.published)
    }

    /// Notes what an owner has said, and tells of what is new of it.
    pub(crate) fn progresses(&mut self, entry: &Entry, owner: &str, note: Note, now: u64) {
        let Note { progress, is_again, .. } = note;
        let before = self.progress.get(&entry.id).and_then(|noted| noted.reported.as_ref());
        if let Some(reported) = progress.reported.as_ref().filter(|&reported| !(is_again && before == Some(reported))) {
            let (fraction, text) = (reported.fraction, Some(&reported.text).filter(|text| !text.is_empty()).cloned());
            self.tell(now, || Told { fraction, text, ..told("progress", entry, Some(owner), now) });
        }
        self.note(&entry.id, progress);
    }

    /// What is not said anew stays.
    pub(crate) fn note(&mut self, id: &Arc<str>, progress: Progress) {
        let noted = self.progress.entry(Arc::clone(id)).or_default();
        noted.reported = progress.reported.or(noted.reported.take());
        noted.checkpoint = progress.checkpoint.or(noted.checkpoint.take());
    }

    pub(crate) fn progress(&self, id: &str) -> Option<&Progress> {
        self.progress.get(id)
    }

    pub(crate) fn ask(&mut self, id: &Arc<str>, asker: Asker, now: u64) {
        let Asker { channel, payload, within } = asker;
        let askers = self.askers.entry(Arc::clone(id)).or_default();
        askers.retain(|other| other.until > now && (&other.channel, &other.payload) != (&channel, &payload));
        askers.push(Waits { channel, payload, until: now.saturating_add(millis(within)) });
    }

    pub(crate) fn forget(&mut self, id: &str, asker: &Asker) {
        let Some(askers) = self.askers.get_mut(id) else { return };
        askers.retain(|other| (&other.channel, &other.payload) != (&asker.channel, &asker.payload));
        if askers.is_empty() {
            self.askers.remove(id);
        }
    }

    pub(crate) fn watch(&mut self, now: u64) {
        self.watched_until = now.saturating_add(millis(WATCHED));
    }

    /// The clock was moved by a test: whoever waits here has the time of this process.
    pub(crate) fn clock_moved(&mut self, by: Duration) {
        let by = millis(by);
        self.watched_until = self.watched_until.saturating_add(by);
        self.askers.values_mut().flatten().for_each(|asker| asker.until = asker.until.saturating_add(by));
    }

    pub(crate) fn taken(&mut self, entry: &Entry, owner: &str, now: u64) {
        self.tell(now, || told("taken", entry, Some(owner), now));
    }

    /// Its owner has it no longer, and it has not ended.
    pub(crate) fn returned(&mut self, what: &str, entry: &Entry, owner: &str, after: Option<u64>, now: u64) {
        let error = entry.record.error.as_ref().filter(|_| what == "failed");
        self.tell(now, || Told { error: error.cloned(), after, ..told(what, entry, Some(owner), now) });
    }

    /// An instance had it when it was cancelled.
    pub(crate) fn taken_away(&mut self, at: &EntryAt) {
        let away = TakenAway { channel: at.channel.to_string(), is_back: at.is_back, entry: at.entry.to_string() };
        self.published.push((self.control.clone(), json(&away)));
    }

    pub(crate) fn ended(&mut self, entry: &Entry, owner: Option<&str>, state: TaskState, end: End, now: u64) {
        let End { reason, error, result, announcement } = end;
        self.progress.remove(&entry.id);
        self.tell(now, || Told {
            reason: reason.map(|reason| reason.word().to_owned()),
            error: error.clone(),
            ..told(word(state), entry, owner, now)
        });
        if let Some(result) = result {
            let ended = EndedTask { state, reason, error, result: Bytes::from(result), at: now };
            self.results.keep(&entry.id, ended, now);
        }
        self.published.extend(announcement.map(|Announcement { channel, payload }| (channel, payload)));
        let askers = self.askers.remove(&entry.id).unwrap_or_default().into_iter();
        let still = askers.filter(|asker| asker.until > now);
        self.published.extend(still.map(|Waits { channel, payload, .. }| (channel, payload)));
    }

    pub(crate) fn tidy(&mut self, now: u64) {
        self.results.trim(now);
        self.askers.retain(|_, askers| {
            askers.retain(|asker| asker.until > now);
            !askers.is_empty()
        });
    }

    fn tell(&mut self, now: u64, told: impl FnOnce() -> Told) {
        if self.watched_until > now {
            self.published.push((self.events.clone(), json(&told())));
        }
    }
}

fn told(what: &str, entry: &Entry, owner: Option<&str>, now: u64) -> Told {
    Told {
        what: what.to_owned(),
        id: entry.id.to_string(),
        channel: entry.at.channel.to_string(),
        at: now,
        instance: owner.map(str::to_owned),
        ..Told::default()
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Delayed => "delayed",
        TaskState::Running => "running",
        TaskState::Parked => "parked",
        TaskState::Completed => "completed",
        TaskState::Dead => "dead",
        TaskState::Discarded => "discarded",
        TaskState::Expired => "expired",
        TaskState::Cancelled => "cancelled",
    }
}

/// What is kept of tasks that have ended.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Nothing is kept before an instance has said how much.
    bounds: Option<ResultBounds>,
    by_id: HashMap<Arc<str>, (u64, EndedTask)>,
    /// The oldest first.
    order: BTreeMap<u64, Arc<str>>,
    bytes: u64,
    next: u64,
}

impl Results {
    /// An instance that keeps none leaves the bounds of others as they are.
    pub(crate) fn bound(&mut self, bounds: Option<ResultBounds>) {
        self.bounds = bounds.or(self.bounds);
    }

    /// What is too old is there no longer.
    pub(crate) fn get(&self, id: &str, now: u64) -> Option<&EndedTask> {
        let (_, ended) = self.by_id.get(id)?;
        let age = self.bounds.map_or(0, |bounds| millis(bounds.age));
        (now.saturating_sub(ended.at) <= age).then_some(ended)
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some((number, ended)) = self.by_id.remove(id) {
            self.order.remove(&number);
            self.bytes -= ended.result.len() as u64;
        }
    }

    /// How many there are.
    pub(crate) fn count(&mut self, now: u64) -> u64 {
        self.trim(now);
        self.by_id.len() as u64
    }

    fn keep(&mut self, id: &Arc<str>, ended: EndedTask, now: u64) {
        self.remove(id);
        self.bytes += ended.result.len() as u64;
        self.next += 1;
        self.order.insert(self.next, Arc::clone(id));
        self.by_id.insert(Arc::clone(id), (self.next, ended));
        self.trim(now);
    }

    /// The oldest leave where there are too many, where they are too old, and where they are too large altogether.
    fn trim(&mut self, now: u64) {
        while let Some((_, oldest)) = self.order.first_key_value() {
            let is_kept = self.bounds.is_some_and(|bounds| {
                self.bytes <= bounds.bytes && self.by_id.len() as u64 <= bounds.count && self.get(oldest, now).is_some()
            });
            if is_kept {
                break;
            }
            let oldest = Arc::clone(oldest);
            self.remove(&oldest);
        }
    }
}
