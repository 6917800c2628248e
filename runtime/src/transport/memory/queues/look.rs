//! What can be seen of a queue, and mended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::transport::{
    durable::{
        look::{Dead, Mend, PartCounts, QueueCounts, RunningTask, Worker},
        record::Record,
        task::{Entry, EntryAt},
    },
    memory::queues::{
        places::Place,
        queue::{Beat, DeadLetter, Held, Position, Queue, position},
        store::millis,
    },
};

impl Queue {
    pub(crate) fn counts(&mut self, parts: &[Arc<str>], now: u64) -> QueueCounts {
        let mut counts: BTreeMap<String, PartCounts> =
            parts.iter().map(|channel| (channel.to_string(), PartCounts::default())).collect();
        let mut oldest = None::<u64>;
        let mut wait = |since: u64| oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
        for (channel, part) in &self.parts {
            let waiting = part.back.len() + part.new.len();
            // Of a queue that is bound there may be other parts than these.
            let Some(count) = counts.get_mut(&**channel) else { continue };
            count.waiting += waiting as u64;
            for ((since, _), _) in [part.back.first_key_value(), part.new.first_key_value()].into_iter().flatten() {
                wait(*since);
            }
        }
        for ((due, _), entry) in &self.delayed {
            let Some(part) = counts.get_mut(&*entry.at.channel) else { continue };
            if *due <= now {
                part.waiting += 1;
                wait(*due);
            } else {
                part.delayed += 1;
            }
        }
        for held in self.taken.values() {
            if let Some(part) = counts.get_mut(&*held.entry.at.channel) {
                part.running += 1;
            }
        }
        QueueCounts {
            results: self.course.results.count(now),
            is_paused: self.is_paused,
            parts: counts,
            parked: self.parked.len() as u64,
            dead: self.dead.len() as u64,
            ended: self.ended,
            oldest: oldest.map(|since| Duration::from_millis(now.saturating_sub(since))),
        }
    }

    /// What waits, as it will be taken from each part, and then what is delayed.
    pub(crate) fn entries_in_wait(&self, now: u64) -> Vec<Entry> {
        let (due, later) = self.delayed.iter().partition::<Vec<_>, _>(|((due, _), _)| *due <= now);
        let due = due.into_iter().map(|(_, entry)| entry);
        let waiting = self.parts.values().flat_map(|part| part.back.values().chain(part.new.values()));
        due.chain(waiting).chain(later.into_iter().map(|(_, entry)| entry)).cloned().collect()
    }

    pub(crate) fn running(&self, limit: usize, now: u64) -> Vec<RunningTask> {
        let mut held: Vec<&Held> = self.taken.values().collect();
        held.sort_by_key(|held| (held.entry.at.channel.clone(), position(&held.entry.at.entry)));
        let task = |held: &Held| RunningTask {
            id: held.entry.id.to_string(),
            channel: Arc::clone(&held.entry.at.channel),
            instance: held.owner.to_string(),
            idle: Duration::from_millis(now.saturating_sub(held.since)),
            held: Duration::from_millis(now.saturating_sub(held.taken)),
        };
        held.into_iter().take(limit).map(task).collect()
    }

    pub(crate) fn workers(&self, now: u64) -> Vec<Worker> {
        let worker = |(instance, Beat { last, about, .. }): (&String, &Beat)| Worker {
            instance: instance.clone(),
            silent: Duration::from_millis(now.saturating_sub(*last)),
            about: about.clone(),
        };
        self.heartbeats.iter().map(worker).collect()
    }

    pub(crate) fn dead_letters(&self, before: Option<&str>, limit: usize) -> Vec<Dead> {
        let before = before.and_then(position);
        let letters = self.dead.iter().rev().filter(|letter| before.is_none_or(|before| letter.position < before));
        letters.take(limit).map(|letter| letter.dead.clone()).collect()
    }

    pub(crate) fn mend(&mut self, entries: &[String], mend: &Mend, now: u64) -> u64 {
        let mut mended = 0;
        for entry in entries {
            let Some(at) = self.dead.iter().position(|letter| letter.dead.entry == *entry) else { continue };
            let Some(DeadLetter { position, dead, once }) = self.dead.remove(at) else { continue };
            self.dead_bytes -= dead.payload.len() as u64;
            mended += 1;
            self.leaves(&dead.id, &Place::Dead(position));
            self.once.free(once.as_deref());
            if matches!(mend, Mend::Replay) {
                // It has not ended any more.
                self.course.results.remove(&dead.id);
                self.come_back(replayed(dead), now);
            }
        }
        mended
    }

    pub(crate) fn unpark(&mut self, name: &str, version: u32, now: u64) -> u64 {
        let is_known = |_: &Position, entry: &mut Entry| {
            entry.name.as_deref().is_none_or(|own| own == name)
                && entry.version.is_none_or(|own| own <= u64::from(version))
        };
        let known: Vec<Entry> = self.parked.extract_if(.., is_known).map(|(_, entry)| entry).collect();
        let count = known.len() as u64;
        known.into_iter().for_each(|entry| self.come_back(entry, now));
        count
    }

    /// The instance that leaves has no heartbeat any more, nor have others that were silent for ten leases. What has tasks stays, as one that has
    /// died.
    pub(crate) fn tidy(&mut self, lease: Duration, leaving: Option<&str>, now: u64) {
        let taken = &self.taken;
        self.heartbeats.retain(|instance, Beat { last, lease: own, .. }| {
            if leaving == Some(instance) {
                *last = 0;
            }
            let lease = own.unwrap_or_default().max(lease);
            now.saturating_sub(*last) <= millis(lease).saturating_mul(10)
                || taken.values().any(|held| *held.owner == **instance)
        });
        self.unique.tidy(now);
        self.once.tidy(now);
        self.trim_dead(now);
        self.course.tidy(now);
    }

    /// The oldest dead letters leave where there are too many, where they are too old, and where they are too large altogether.
    pub(crate) fn trim_dead(&mut self, now: u64) {
        let bounds = self.dead_bounds;
        while let Some(oldest) = self.dead.front() {
            let is_old = now.saturating_sub(oldest.dead.at) > millis(bounds.age);
            if !is_old && self.dead_bytes <= bounds.bytes && self.dead.len() as u64 <= bounds.count {
                break;
            }
            self.dead_bytes -= oldest.dead.payload.len() as u64;
            if let Some(letter) = self.dead.pop_front() {
                self.leaves(&letter.dead.id, &Place::Dead(letter.position));
            }
            self.ended.dead_trimmed += 1;
        }
    }
}

/// It begins afresh, but for its token. It does not expire: whoever replays it wants it run.
fn replayed(dead: Dead) -> Entry {
    let Dead { id, channel, name, version, payload, record, .. } = dead;
    Entry {
        at: EntryAt { channel: channel.into(), is_back: true, entry: "".into() },
        id: id.into(),
        name,
        version,
        payload,
        record: Record { owners: record.owners, ..Record::default() },
        unique: None,
        expires_at: None,
    }
}
