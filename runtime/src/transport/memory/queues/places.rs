//! Where tasks are: each is found by its id, listed by its state, and cancelled wherever it is.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;

use crate::transport::{
    durable::{
        contract::QueueSpec,
        course::{Asker, Cancelling, EndedTask, Known, Note, Page, Progress, Seen},
        look::Dead,
        task::{Entry, EntryAt, Settled, TaskState},
    },
    memory::queues::{
        course::End,
        queue::{DeadLetter, Held, Position, Queue, position},
    },
};

/// Where a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting { channel: Arc<str>, is_back: bool, position: Position },
    Delayed(Position),
    Taken(EntryAt),
    Parked(Position),
    Dead(Position),
}

/// Where a task is among those of its state, in the order in which they are listed.
type Mark = (usize, Position);

impl Queue {
    /// The task is here now.
    pub(crate) fn moves(&mut self, id: &Arc<str>, place: Place) {
        self.places.insert(Arc::clone(id), place);
    }

    /// The task was here. Another one of the same id may be elsewhere.
    pub(crate) fn leaves(&mut self, id: &str, place: &Place) {
        if self.places.get(id) == Some(place) {
            self.places.remove(id);
        }
    }

    /// Who has the task.
    pub(crate) fn owner(&self, id: &str) -> Option<Arc<str>> {
        let Place::Taken(at) = self.places.get(id)? else { return None };
        self.taken.get(at).map(|held| Arc::clone(&held.owner))
    }

    pub(crate) fn find(&self, id: &str, now: u64) -> Option<Seen> {
        match self.places.get(id)? {
            Place::Waiting { channel, is_back, position } => {
                let entry = self.parts.get(channel)?.stream(*is_back).get(position)?;
                Some(self.seen(entry, TaskState::Waiting))
            }
            Place::Delayed(position) => Some(self.delayed(*position, self.delayed.get(position)?, now)),
            Place::Taken(at) => Some(self.held(self.taken.get(at)?)),
            Place::Parked(position) => Some(self.seen(self.parked.get(position)?, TaskState::Parked)),
            Place::Dead(position) => Some(dead(&self.letter(*position)?.dead)),
        }
    }

    pub(crate) fn list(
        &self,
        parts: &[Arc<str>],
        state: TaskState,
        from: Option<&str>,
        limit: usize,
        now: u64,
    ) -> Page {
        let from = from.and_then(mark);
        // One more shows whether there is another page.
        let (page, limit) = (limit, limit.saturating_add(1));
        let mut found: Vec<(Mark, Seen)> = match state {
            TaskState::Waiting => self.list_waiting(parts, from, limit, now),
            TaskState::Delayed => {
                let rows = self.delayed.range((Bound::Excluded((now, u64::MAX)), Bound::Unbounded));
                let rows = rows.filter(|(_, entry)| parts.contains(&entry.at.channel));
                let rows = rows.map(|(position, entry)| ((0, *position), self.delayed(*position, entry, now)));
                rows.filter(|(mark, _)| Some(*mark) > from).take(limit).collect()
            }
            TaskState::Running => {
                let rows = self.taken.values().filter_map(|held| {
                    let part = parts.iter().position(|channel| *channel == held.entry.at.channel)?;
                    let segment = 2 * part + usize::from(!held.entry.at.is_back);
                    Some(((segment, position(&held.entry.at.entry)?), held))
                });
                let mut rows: Vec<(Mark, &Held)> = rows.filter(|(mark, _)| Some(*mark) > from).collect();
                rows.sort_by_key(|(mark, _)| *mark);
                rows.into_iter().take(limit).map(|(mark, held)| (mark, self.held(held))).collect()
            }
            TaskState::Parked => {
                let rows = self.parked.iter().map(|(position, entry)| ((0, *position), entry));
                let rows = rows.filter(|(mark, _)| Some(*mark) > from).take(limit);
                rows.map(|(mark, entry)| (mark, self.seen(entry, TaskState::Parked))).collect()
            }
            TaskState::Dead => {
                let rows = self.dead.iter().rev().map(|letter| ((0, letter.position), &letter.dead));
                let rows = rows.filter(|(mark, _)| from.is_none_or(|from| *mark < from)).take(limit);
                rows.map(|(mark, letter)| (mark, dead(letter))).collect()
            }
            TaskState::Completed | TaskState::Discarded | TaskState::Expired | TaskState::Cancelled => Vec::new(),
        };
        let is_last = found.len() <= page;
        found.truncate(page);
        let next = found.last().filter(|_| !is_last).map(|(mark, _)| token(*mark));
        Page { tasks: found.into_iter().map(|(_, seen)| seen).collect(), next }
    }

    /// What is due and not in its part yet first, then part by part.
    fn list_waiting(&self, parts: &[Arc<str>], from: Option<Mark>, limit: usize, now: u64) -> Vec<(Mark, Seen)> {
        let due = self.delayed.range(..=(now, u64::MAX)).filter(|(_, entry)| parts.contains(&entry.at.channel));
        let due = due.map(|(position, entry)| ((0, *position), entry));
        let streams = parts.iter().enumerate().flat_map(|(number, channel)| {
            let part = self.parts.get(channel);
            [(2 * number + 1, true), (2 * number + 2, false)].into_iter().filter_map(move |(segment, is_back)| {
                // What is before the mark is not walked through.
                let first = match from {
                    Some((before, _)) if segment < before => return None,
                    Some((here, position)) if segment == here => Bound::Excluded(position),
                    _ => Bound::Unbounded,
                };
                let rows = part?.stream(is_back).range((first, Bound::Unbounded));
                Some(rows.map(move |(position, entry)| ((segment, *position), entry)))
            })
        });
        let rows = due.filter(|(mark, _)| Some(*mark) > from).chain(streams.flatten()).take(limit);
        rows.map(|(mark, entry)| (mark, self.seen(entry, TaskState::Waiting))).collect()
    }

    /// Ends a task that has not ended.
    pub(crate) fn cancel(&mut self, spec: &QueueSpec, id: &str, now: u64) -> Cancelling {
        self.course.results.bound(spec.results);
        let Some(place) = self.places.get(id).cloned() else {
            let ended = self.course.results.get(id, now);
            return ended.map_or(Cancelling::Nothing, |ended| Cancelling::Ended(ended.state));
        };
        let (entry, owner, state) = match &place {
            Place::Waiting { channel, is_back, position } => {
                let entry = self.part(channel).stream_mut(*is_back).remove(position);
                (entry, None, TaskState::Waiting)
            }
            Place::Delayed(position @ (due, _)) => {
                (self.delayed.remove(position), None, if *due <= now { TaskState::Waiting } else { TaskState::Delayed })
            }
            Place::Taken(at) => match self.taken.remove(at) {
                Some(Held { entry, owner, .. }) => (Some(entry), Some(owner), TaskState::Running),
                None => (None, None, TaskState::Running),
            },
            Place::Parked(position) => (self.parked.remove(position), None, TaskState::Parked),
            Place::Dead(_) => return Cancelling::Ended(TaskState::Dead),
        };
        self.leaves(id, &place);
        let Some(entry) = entry else { return Cancelling::Nothing };
        if let Place::Taken(at) = &place {
            self.course.taken_away(at);
        }
        self.once.cancelled(id, now);
        let end = End { result: spec.results.map(|_| Vec::new()), ..End::default() };
        self.end(&entry, owner.as_deref(), TaskState::Cancelled, end, now);
        Cancelling::Cancelled(state)
    }

    pub(crate) fn ask(&mut self, id: &str, asker: Option<Asker>, now: u64) -> Known {
        let kept = || self.course.results.get(id, now).cloned().map(Known::Ended);
        let Some((id, place)) = self.places.get_key_value(id) else { return kept().unwrap_or(Known::Nothing) };
        let state = match place {
            Place::Dead(position) => {
                let letter = || self.letter(*position).map(|letter| ended(&letter.dead));
                return kept().or_else(|| letter().map(Known::Ended)).unwrap_or(Known::Nothing);
            }
            Place::Waiting { .. } => TaskState::Waiting,
            Place::Delayed((due, _)) if *due <= now => TaskState::Waiting,
            Place::Delayed(_) => TaskState::Delayed,
            Place::Taken(_) => TaskState::Running,
            Place::Parked(_) => TaskState::Parked,
        };
        let id = Arc::clone(id);
        if let Some(asker) = asker {
            self.course.ask(&id, asker, now);
        }
        Known::Open(state)
    }

    pub(crate) fn note(&mut self, instance: &str, note: Note, now: u64) -> Settled {
        let Some(held) = self.taken.get(&note.at).filter(|held| *held.owner == *instance) else {
            return Settled::Stale;
        };
        self.course.progresses(&held.entry, instance, note, now);
        Settled::Counted
    }

    /// Of a task that has not ended.
    pub(crate) fn progress(&self, id: &str) -> Option<Progress> {
        self.course.progress(id).cloned()
    }

    pub(crate) fn letter(&self, position: Position) -> Option<&DeadLetter> {
        let at = self.dead.binary_search_by_key(&position, |letter| letter.position).ok()?;
        self.dead.get(at)
    }

    fn held(&self, held: &Held) -> Seen {
        Seen { instance: Some(held.owner.to_string()), ..self.seen(&held.entry, TaskState::Running) }
    }

    fn delayed(&self, (due, _): Position, entry: &Entry, now: u64) -> Seen {
        match due {
            due if due <= now => self.seen(entry, TaskState::Waiting),
            due => Seen { due: Some(due), ..self.seen(entry, TaskState::Delayed) },
        }
    }

    fn seen(&self, entry: &Entry, state: TaskState) -> Seen {
        Seen {
            id: entry.id.to_string(),
            channel: Arc::clone(&entry.at.channel),
            state,
            name: entry.name.clone(),
            version: entry.version,
            payload: entry.payload.clone(),
            record: entry.record.clone(),
            enqueued_at: entry.enqueued_at(),
            due: None,
            instance: None,
            progress: self.progress(&entry.id),
        }
    }
}

fn dead(dead: &Dead) -> Seen {
    let Dead { id, channel, name, version, payload, record, instance, .. } = dead;
    Seen {
        id: id.clone(),
        channel: channel.as_str().into(),
        state: TaskState::Dead,
        name: name.clone(),
        version: *version,
        payload: payload.clone(),
        record: record.clone(),
        enqueued_at: record.enqueued_at,
        due: None,
        instance: Some(instance.clone()),
        progress: None,
    }
}

/// Of a dead letter of which no more was kept.
fn ended(dead: &Dead) -> EndedTask {
    EndedTask {
        state: TaskState::Dead,
        reason: Some(dead.reason),
        error: dead.record.error.clone(),
        result: Bytes::new(),
        at: dead.at,
    }
}

fn token((segment, (time, number)): Mark) -> String {
    format!("{segment}-{time}-{number}")
}

/// What is no token is where the list begins.
fn mark(token: &str) -> Option<Mark> {
    let (segment, rest) = token.split_once('-')?;
    Some((segment.parse().ok()?, position(rest)?))
}
