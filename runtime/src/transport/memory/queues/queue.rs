//! One queue: its parts, what is delayed and taken, and what becomes of it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    error::EnqueueError,
    transport::{
        durable::{
            contract::{Overdue, OverdueEntry, QueueSpec, Take},
            course::Beside,
            look::{Dead, DeadLetterBounds, EndedCounts, lease_said},
            record::Record,
            task::{
                DeadReason, Due, Enqueued, Entry, EntryAt, NewTask, QueueName, Settled, Settlement, TaskState, Verdict,
                Why,
            },
        },
        memory::queues::{
            blocked::{Blocked, Waiting},
            course::{Course, End},
            keys::{OnceKeys, UniqueKeys},
            places::Place,
            store::millis,
        },
    },
};

/// Where an entry is in its stream: a time and a number within it.
pub(crate) type Position = (u64, u64);

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) parts: BTreeMap<Arc<str>, Part>,
    /// By when they are due, and in the order in which they came.
    pub(crate) delayed: BTreeMap<Position, Entry>,
    pub(crate) taken: HashMap<EntryAt, Held>,
    /// In the order in which they were parked.
    pub(crate) parked: BTreeMap<Position, Entry>,
    /// The oldest first.
    pub(crate) dead: VecDeque<DeadLetter>,
    /// Of their payloads.
    pub(crate) dead_bytes: u64,
    pub(crate) dead_bounds: DeadLetterBounds,
    pub(crate) unique: UniqueKeys,
    pub(crate) once: OnceKeys,
    /// The last heartbeat of each instance, and what it said of itself.
    pub(crate) heartbeats: BTreeMap<String, Beat>,
    pub(crate) ended: EndedCounts,
    pub(crate) waiting: Waiting,
    /// Where each task is that has not ended, or is a dead letter, by its id.
    pub(crate) places: HashMap<Arc<str>, Place>,
    pub(crate) course: Course,
    /// Whether nothing is taken.
    pub(crate) is_paused: bool,
    last: Position,
}

/// What is due in a part.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// What came back, which is taken first.
    pub(crate) back: BTreeMap<Position, Entry>,
    pub(crate) new: BTreeMap<Position, Entry>,
}

impl Part {
    pub(crate) fn stream(&self, is_back: bool) -> &BTreeMap<Position, Entry> {
        if is_back { &self.back } else { &self.new }
    }

    pub(crate) fn stream_mut(&mut self, is_back: bool) -> &mut BTreeMap<Position, Entry> {
        if is_back { &mut self.back } else { &mut self.new }
    }
}

/// What an instance has.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    pub(crate) owner: Arc<str>,
    pub(crate) taken: u64,
    /// Since it was taken, or its lease renewed.
    pub(crate) since: u64,
}

/// The last heartbeat of an instance.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) last: u64,
    /// What it says of itself, in JSON.
    pub(crate) about: String,
    /// How long it holds its tasks, where it says so there.
    pub(crate) lease: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) position: Position,
    pub(crate) dead: Dead,
    /// The key that it keeps, of a handler that runs once.
    pub(crate) once: Option<String>,
}

/// How a task that was just added can be removed again.
#[derive(Debug)]
pub(crate) enum Added {
    Waiting(Arc<str>, Option<Arc<str>>),
    Delayed(Position, Option<Arc<str>>),
    /// Another one was there.
    Nothing,
}

impl Queue {
    pub(crate) fn new(name: &QueueName) -> Self {
        Self {
            parts: BTreeMap::new(),
            delayed: BTreeMap::new(),
            taken: HashMap::new(),
            parked: BTreeMap::new(),
            dead: VecDeque::new(),
            dead_bytes: 0,
            dead_bounds: DeadLetterBounds::DEFAULT,
            unique: UniqueKeys::default(),
            once: OnceKeys::default(),
            heartbeats: BTreeMap::new(),
            ended: EndedCounts::default(),
            waiting: Waiting::default(),
            places: HashMap::new(),
            course: Course::new(name),
            is_paused: false,
            last: (0, 0),
        }
    }

    /// How much is kept, as an instance says.
    pub(crate) fn bound(&mut self, spec: &QueueSpec) {
        self.dead_bounds = spec.dead;
        self.course.results.bound(spec.results);
    }

    /// Adds a task, unless one with its key is there or as many wait as may. `is_bounded` is false for follow-ups, which have to go somewhere.
    pub(crate) fn add(&mut self, task: NewTask, is_bounded: bool, now: u64) -> (Result<Enqueued, EnqueueError>, Added) {
        if let Some(unique) = &task.unique
            && let Some(holder) = self.unique.holder(&unique.key, now)
        {
            return (Ok(holder), Added::Nothing);
        }
        if let Some(max_length) = task.max_length
            && is_bounded
            && self.waiting_count() >= max_length
        {
            return (Err(EnqueueError::QueueFull { queue: task.queue.template, max_length }), Added::Nothing);
        }
        let due = match task.due {
            Due::Now => now,
            Due::In(delay) => now.saturating_add(millis(delay)),
            Due::At(at) => at.max(now),
        };
        let is_due = due <= now;
        let id: Arc<str> = task.id.as_str().into();
        let state = if is_due { TaskState::Waiting } else { TaskState::Delayed };
        let unique = task.unique.as_ref().map(|unique| self.unique.hold(unique, &id, state, now));
        let record = Record { enqueued_at: (!is_due).then_some(now), ..Record::default() };
        let channel: Arc<str> = task.channel.into();
        let entry = Entry {
            at: EntryAt { channel: Arc::clone(&channel), is_back: false, entry: "".into() },
            id,
            name: Some(task.name.to_owned()),
            version: Some(task.version.into()),
            payload: Bytes::from(task.payload),
            record,
            unique: unique.clone(),
            expires_at: task.expires_in.map(|expires_in| due.saturating_add(millis(expires_in))),
        };
        let enqueued = Ok(Enqueued::new(task.id, None));
        if is_due {
            self.wait(entry, false, now);
            (enqueued, Added::Waiting(channel, unique))
        } else {
            (enqueued, Added::Delayed(self.delay(entry, due, now), unique))
        }
    }

    /// What was added last is not there any more.
    pub(crate) fn undo(&mut self, added: Added) {
        let (entry, unique) = match added {
            Added::Waiting(channel, unique) => (self.part(&channel).new.pop_last().map(|(_, entry)| entry), unique),
            Added::Delayed(position, unique) => (self.delayed.remove(&position), unique),
            Added::Nothing => return,
        };
        if let Some(entry) = entry {
            self.places.remove(&entry.id);
        }
        if let Some(unique) = unique {
            self.unique.forget(&unique);
        }
    }

    /// Has those wait whose time has come.
    pub(crate) fn ripen(&mut self, now: u64) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let entry = first.remove();
            self.come_back(entry, now);
        }
    }

    pub(crate) fn next_due(&self, now: u64) -> Option<Duration> {
        let ((due, _), _) = self.delayed.first_key_value()?;
        Some(Duration::from_millis(due.saturating_sub(now)))
    }

    pub(crate) fn take(
        &mut self,
        parts: &[Arc<str>],
        take: &Take,
        instance: &Arc<str>,
        done_when_taken: bool,
        now: u64,
    ) -> Vec<Entry> {
        let Take { order, want, further: (better, more), .. } = take;
        let mut taken = Vec::new();
        let limited = order.iter().copied();
        let unlimited = order.iter().map(|(part, _)| (*part, usize::MAX));
        let rounds = limited.chain(unlimited.clone()).map(|(part, limit)| (part, limit, *want));
        let further = unlimited.take(*better).map(|(part, limit)| (part, limit, want + more));
        for (part, limit, want) in rounds.chain(further) {
            let Some(channel) = parts.get(part) else { continue };
            for _ in 0..limit.min(want.saturating_sub(taken.len())) {
                let Some(entry) = self.take_one(channel, instance, done_when_taken, now) else { break };
                taken.push(entry);
            }
        }
        taken
    }

    pub(crate) fn take_one(
        &mut self,
        channel: &Arc<str>,
        instance: &Arc<str>,
        done_when_taken: bool,
        now: u64,
    ) -> Option<Entry> {
        let part = self.parts.get_mut(channel)?;
        let is_back = !part.back.is_empty();
        let (position, entry) = part.stream_mut(is_back).pop_first()?;
        self.course.taken(&entry, instance, now);
        if done_when_taken {
            self.leaves(&entry.id, &Place::Waiting { channel: Arc::clone(channel), is_back, position });
            self.end(&entry, Some(instance), TaskState::Completed, End::default(), now);
        } else {
            self.unique.moved(entry.unique.as_ref(), &entry.id, TaskState::Running, now);
            self.moves(&entry.id, Place::Taken(entry.at.clone()));
            let held = Held { entry: entry.clone(), owner: Arc::clone(instance), taken: now, since: now };
            self.taken.insert(entry.at.clone(), held);
        }
        Some(entry)
    }

    /// Carries out a settlement; what follows is returned. Where it reclaims, it counts only while the lease is over.
    pub(crate) fn settle(
        &mut self,
        settlement: Settlement,
        reclaims: Option<Duration>,
        now: u64,
    ) -> (Settled, Vec<NewTask>) {
        let Settlement { at, once, verdict, beside, .. } = settlement;
        let is_over = |held: &Held| {
            reclaims.is_none_or(|lease| now.saturating_sub(held.since) > self.lease_of(&held.owner, lease))
        };
        let is_settled = self.taken.get(&at).is_some_and(is_over);
        let Some(Held { mut entry, owner, .. }) = is_settled.then(|| self.taken.remove(&at)).flatten() else {
            return (Settled::Stale, Vec::new());
        };
        self.leaves(&entry.id, &Place::Taken(at));
        match &verdict {
            Verdict::Done { .. } => self.once.done(once.as_ref(), now),
            Verdict::Dead { reason: DeadReason::Unfinished, .. } => self.once.unfinished(once.as_ref(), now),
            _ => self.once.free(once.as_ref().map(|once| once.key.as_str())),
        }
        let Beside { result, announcement, progress } = beside.map(Arc::unwrap_or_clone).unwrap_or_default();
        // One that ends loses it with its end.
        if let Some(progress) = progress {
            self.course.note(&entry.id, progress);
        }
        let end = End { result, announcement, ..End::default() };
        let mut follow_ups = Vec::new();
        match verdict {
            Verdict::Done { follow_ups: further } => {
                follow_ups = further;
                self.end(&entry, Some(&owner), TaskState::Completed, end, now);
            }
            Verdict::Discarded => self.end(&entry, Some(&owner), TaskState::Discarded, end, now),
            Verdict::Expired => self.end(&entry, Some(&owner), TaskState::Expired, end, now),
            Verdict::Again { why, after, record } => {
                entry.record = record;
                self.again(entry, &owner, why, after.map(millis).filter(|after| *after > 0), now);
            }
            Verdict::Park { record } => {
                entry.record = record;
                self.park(entry, &owner, now);
            }
            Verdict::Dead { record, reason, instance } => {
                let end = End { reason: Some(reason), error: record.error.clone(), ..end };
                self.end(&entry, Some(&owner), TaskState::Dead, end, now);
                let once = once.filter(|_| reason == DeadReason::Unfinished).map(|once| once.key);
                self.bury(Entry { record, ..entry }, reason, &instance, once, now);
            }
        }
        (Settled::Counted, follow_ups)
    }

    fn again(&mut self, entry: Entry, owner: &str, why: Why, after: Option<u64>, now: u64) {
        self.count(why);
        let what = match why {
            Why::Failed => "failed",
            Why::Crashed => "crashed",
            Why::Snoozed | Why::HandedBack | Why::Unknown => "returned",
        };
        self.course.returned(what, &entry, owner, after, now);
        match after {
            Some(after) => drop(self.delay(entry, now.saturating_add(after), now)),
            None => self.come_back(entry, now),
        }
    }

    fn park(&mut self, entry: Entry, owner: &str, now: u64) {
        self.course.returned("parked", &entry, owner, None, now);
        self.unique.moved(entry.unique.as_ref(), &entry.id, TaskState::Parked, now);
        let position = self.next_position(now);
        self.moves(&entry.id, Place::Parked(position));
        self.parked.insert(position, entry);
    }

    /// A heartbeat; what the instance does not have any more, of what it thinks that it has.
    pub(crate) fn keep(&mut self, instance: &str, about: &str, held: &[EntryAt], now: u64) -> Vec<EntryAt> {
        let beat = Beat { last: now, about: about.to_owned(), lease: lease_said(about) };
        self.heartbeats.insert(instance.to_owned(), beat);
        let mut lost = Vec::new();
        for at in held {
            match self.taken.get_mut(at) {
                Some(held) if *held.owner == *instance => held.since = now,
                _ => lost.push(at.clone()),
            }
        }
        lost
    }

    /// How long an instance holds its tasks, in milliseconds: the lease of whoever looks, or its own where that is longer.
    pub(crate) fn lease_of(&self, instance: &str, lease: Duration) -> u64 {
        let own = self.heartbeats.get(instance).and_then(|beat| beat.lease);
        millis(own.unwrap_or_default().max(lease))
    }

    pub(crate) fn overdue(&self, lease: Duration, patience: Duration, limit: usize, now: u64) -> Overdue {
        let lease_of = |held: &Held| self.lease_of(&held.owner, lease);
        let patience = millis(patience);
        // How long it takes until it is over; `None` where it is.
        let left = |held: &Held| {
            let lease = lease_of(held);
            let left = (held.since.saturating_add(lease).saturating_add(1)).saturating_sub(now);
            Some(left.max(lease.saturating_sub(patience))).filter(|left| *left > 0)
        };
        let mut over: Vec<&Held> = self.taken.values().filter(|held| left(held).is_none()).collect();
        over.sort_by(|left, right| (left.since, &left.entry.at.entry).cmp(&(right.since, &right.entry.at.entry)));
        let next = self.taken.values().filter_map(left).map(Duration::from_millis).min();
        let entry = |held: &Held| OverdueEntry {
            entry: held.entry.clone(),
            owner: held.owner.to_string(),
            has_died: self
                .heartbeats
                .get(&*held.owner)
                .is_none_or(|beat| now.saturating_sub(beat.last) > lease_of(held)),
        };
        Overdue { entries: over.into_iter().take(limit).map(entry).collect(), next, now }
    }

    pub(crate) fn pending(&self, instance: &str) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.taken.values().filter(|held| *held.owner == *instance).map(|held| held.entry.clone()).collect();
        entries.sort_by_key(|entry| (entry.at.channel.clone(), position(&entry.at.entry)));
        entries
    }

    /// It waits again, before what has not been taken yet.
    pub(crate) fn come_back(&mut self, entry: Entry, now: u64) {
        self.unique.moved(entry.unique.as_ref(), &entry.id, TaskState::Waiting, now);
        self.wait(entry, true, now);
    }

    fn wait(&mut self, mut entry: Entry, is_back: bool, now: u64) {
        let (channel, position) = (Arc::clone(&entry.at.channel), self.next_position(now));
        self.moves(&entry.id, Place::Waiting { channel: Arc::clone(&channel), is_back, position });
        entry.at = EntryAt { channel: Arc::clone(&channel), is_back, entry: text(position).into() };
        self.part(&channel).stream_mut(is_back).insert(position, entry);
    }

    /// Whether something is due in one of these parts.
    pub(crate) fn has_any(&self, parts: &[Arc<str>]) -> bool {
        let has_any =
            |channel| self.parts.get(channel).is_some_and(|part| !part.back.is_empty() || !part.new.is_empty());
        parts.iter().any(has_any)
    }

    pub(crate) fn first_for_whom_something_is_there(&mut self) -> Option<Blocked> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let first = waiting.first(|blocked| self.has_any(&blocked.parts));
        self.waiting = waiting;
        first
    }

    pub(crate) fn part(&mut self, channel: &Arc<str>) -> &mut Part {
        self.parts.entry(Arc::clone(channel)).or_default()
    }

    /// Whoever waits for the next task that is due is told where this one is due before it.
    fn delay(&mut self, entry: Entry, due: u64, now: u64) -> Position {
        self.unique.moved(entry.unique.as_ref(), &entry.id, TaskState::Delayed, now);
        if self.delayed.first_key_value().is_none_or(|((first, _), _)| due < *first) {
            self.waiting.tell_one();
        }
        let (_, number) = self.next_position(now);
        let position = (due, now.saturating_mul(1 << 20).saturating_add(number));
        self.moves(&entry.id, Place::Delayed(position));
        self.delayed.insert(position, entry);
        position
    }

    pub(crate) fn end(&mut self, entry: &Entry, owner: Option<&str>, state: TaskState, end: End, now: u64) {
        match state {
            TaskState::Completed => self.ended.completed += 1,
            TaskState::Dead => self.ended.dead += 1,
            TaskState::Discarded => self.ended.discarded += 1,
            TaskState::Expired => self.ended.expired += 1,
            TaskState::Cancelled => self.ended.cancelled += 1,
            TaskState::Waiting | TaskState::Delayed | TaskState::Running | TaskState::Parked => {}
        }
        self.unique.moved(entry.unique.as_ref(), &entry.id, state, now);
        self.course.ended(entry, owner, state, end, now);
    }

    fn count(&mut self, why: Why) {
        match why {
            Why::Failed => self.ended.failed_attempts += 1,
            Why::Crashed => self.ended.crashed_attempts += 1,
            Why::HandedBack => self.ended.handed_back += 1,
            Why::Unknown => self.ended.unknown += 1,
            Why::Snoozed => {}
        }
    }

    fn bury(&mut self, entry: Entry, reason: DeadReason, instance: &str, once: Option<String>, now: u64) {
        let position = self.next_position(now);
        self.dead_bytes += entry.payload.len() as u64;
        self.moves(&entry.id, Place::Dead(position));
        let dead = Dead {
            entry: text(position),
            id: entry.id.to_string(),
            channel: entry.at.channel.to_string(),
            name: entry.name,
            version: entry.version,
            payload: entry.payload,
            record: entry.record,
            reason,
            instance: instance.to_owned(),
            at: now,
        };
        self.dead.push_back(DeadLetter { position, dead, once });
        self.trim_dead(now);
    }

    fn waiting_count(&self) -> u64 {
        let waiting: usize = self.parts.values().map(|part| part.back.len() + part.new.len()).sum();
        (waiting + self.delayed.len()) as u64
    }

    pub(crate) fn next_position(&mut self, now: u64) -> Position {
        self.last = if now > self.last.0 { (now, 0) } else { (self.last.0, self.last.1 + 1) };
        self.last
    }
}

/// As entries say it.
pub(crate) fn text((time, number): Position) -> String {
    format!("{time}-{number}")
}

/// Of the text of an entry.
pub(crate) fn position(text: &str) -> Option<Position> {
    let (time, number) = text.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}
