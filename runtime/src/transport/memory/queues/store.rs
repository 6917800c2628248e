//! All queues of a broker, their clock, and the crashes that a test asks for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    error::EnqueueError,
    time::{now, unix_millis},
    transport::{
        contract::Reach,
        durable::{
            contract::{QueueSpec, Take, Taken, Waited, whole},
            course::Note,
            task::{Begun, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement, Verdict},
        },
        memory::queues::{
            blocked::{Blocked, Cut},
            queue::{Added, Queue},
        },
    },
};

/// All queues of a broker.
#[derive(Debug, Default)]
pub(crate) struct Store {
    queues: HashMap<QueueName, Queue>,
    crash: Option<CrashPoint>,
    /// Instances that have crashed, as the test wanted. Nothing of them reaches the broker any more.
    crashed: HashSet<Arc<str>>,
    /// How often every connection was cut.
    pub(crate) cuts: u64,
    /// Whether those who take tasks hear nothing, as on connections that are half open.
    pub(crate) is_mute: bool,
    next_ticket: u64,
    /// What a batch publishes in the same step, with the namespace.
    messages: Vec<Message>,
}

/// How far a message goes, its channel and its payload.
pub(crate) type Message = (Reach, String, Vec<u8>);

/// Where the next instance that gets there dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrashPoint {
    /// It was given a task, and its handler has not begun.
    BeforeHandler,
    /// Its handler has succeeded, and the broker does not know of it.
    BeforeAcknowledgement,
    /// The broker knows that the task is done, and has what follows from it; the instance does not know that.
    AfterFollowUps,
}

/// What an instance that has crashed asks for.
#[derive(Debug)]
pub(crate) struct Crashed;

impl Store {
    pub(crate) fn queue(&mut self, name: &QueueName) -> &mut Queue {
        self.queues.entry(name.clone()).or_insert_with(|| Queue::new(name))
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = (&QueueName, &Queue)> {
        self.queues.iter()
    }

    pub(crate) fn declare(&mut self, spec: &QueueSpec) -> Result<(), Crashed> {
        let queue = self.queue(&spec.name);
        queue.bound(spec);
        for channel in &spec.parts {
            let _ = queue.part(channel);
        }
        // Whoever declares is no instance yet.
        Ok(())
    }

    pub(crate) fn enqueue(
        &mut self,
        tasks: Vec<NewTask>,
        atomic: bool,
        now: u64,
    ) -> Vec<Result<Enqueued, EnqueueError>> {
        let names: Vec<QueueName> = tasks.iter().map(|task| task.queue.clone()).collect();
        let (mut results, mut added) = (Vec::with_capacity(tasks.len()), Vec::new());
        for task in tasks {
            let name = task.queue.clone();
            let queue = self.queue(&name);
            queue.ripen(now);
            let (result, how) = queue.add(task, true, now);
            if atomic && result.is_err() {
                self.undo(added);
                return aborted(&names, results.len(), result);
            }
            results.push(result);
            added.push((name, how));
        }
        self.serve_blocked(names.iter(), now);
        results
    }

    /// The same of all tasks or none; with them these messages are published.
    pub(crate) fn enqueue_and_publish(
        &mut self,
        tasks: Vec<NewTask>,
        messages: Vec<Message>,
        now: u64,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let enqueued = whole(self.enqueue(tasks, true, now))?;
        self.messages.extend(messages);
        Ok(enqueued)
    }

    pub(crate) fn settle(
        &mut self,
        name: &QueueName,
        settlements: Vec<Settlement>,
        reclaims: Option<Duration>,
        now: u64,
    ) -> Result<Vec<Settled>, Crashed> {
        let mut settled = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let owner = self.queue(name).taken.get(&settlement.at).map(|held| Arc::clone(&held.owner));
            let succeeded = matches!(settlement.verdict, Verdict::Done { .. });
            // Whoever reclaims is another one than the owner.
            let owner = owner.filter(|_| reclaims.is_none());
            self.lives(owner.as_deref())?;
            if succeeded {
                self.reach(CrashPoint::BeforeAcknowledgement, owner.as_ref())?;
            }
            let (result, follow_ups) = self.queue(name).settle(settlement, reclaims, now);
            for task in follow_ups {
                let name = task.queue.clone();
                let _ = self.queue(&name).add(task, false, now);
                self.serve_blocked([&name].into_iter(), now);
            }
            if succeeded && let Err(crashed) = self.reach(CrashPoint::AfterFollowUps, owner.as_ref()) {
                self.serve_blocked([name].into_iter(), now);
                return Err(crashed);
            }
            settled.push(result);
        }
        self.serve_blocked([name].into_iter(), now);
        Ok(settled)
    }

    pub(crate) fn begin(
        &mut self,
        name: &QueueName,
        key: &OnceKey,
        (id, token): (&str, u64),
        now: u64,
    ) -> Result<Begun, Crashed> {
        let owner = self.queue(name).owner(id);
        self.lives(owner.as_deref())?;
        Ok(self.queue(name).once.begin(key, id, token, now))
    }

    pub(crate) fn take(
        &mut self,
        spec: &QueueSpec,
        instance: &Arc<str>,
        mut take: Take,
        now: u64,
    ) -> Result<Taken, Crashed> {
        self.lives(Some(instance))?;
        let settled = self.settle(&spec.name, std::mem::take(&mut take.settlements), None, now)?;
        let queue = self.queue(&spec.name);
        queue.bound(spec);
        queue.ripen(now);
        let is_paused = queue.is_paused;
        let entries = match is_paused {
            true => Vec::new(),
            false => queue.take(&spec.parts, &take, instance, spec.at_most_once, now),
        };
        let next_due = queue.next_due(now);
        // Others may wait for what has become due and was not taken.
        self.serve_blocked([&spec.name].into_iter(), now);
        self.given(instance, &entries)?;
        Ok(Taken { settled, entries, is_paused, next_due, now })
    }

    /// What is there at once; a ticket for whoever has to wait.
    pub(crate) fn wait(
        &mut self,
        spec: &QueueSpec,
        instance: &Arc<str>,
        answer: oneshot::Sender<Result<Waited, Cut>>,
        now: u64,
    ) -> Result<u64, Crashed> {
        self.lives(Some(instance))?;
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let queue = self.queue(&spec.name);
        let (is_paused, has_any) = (queue.is_paused, queue.has_any(&spec.parts));
        let take = |channel| queue.take_one(channel, instance, spec.at_most_once, now);
        let entries: Vec<Entry> = match is_paused && spec.at_most_once {
            // It could not be given back.
            true => Vec::new(),
            false => spec.parts.iter().filter_map(take).collect(),
        };
        if has_any || queue.waiting.take_news() {
            self.given(instance, &entries)?;
            let _ = answer.send(Ok(Waited { entries, is_paused }));
            return Ok(ticket);
        }
        let (instance, parts, at_most_once) = (Arc::clone(instance), spec.parts.clone(), spec.at_most_once);
        queue.waiting.push(Blocked { ticket, instance, parts, at_most_once, answer });
        Ok(ticket)
    }

    /// A ticket for whoever rests until the queue goes on.
    pub(crate) fn rest(
        &mut self,
        spec: &QueueSpec,
        instance: &Arc<str>,
        answer: oneshot::Sender<Result<Waited, Cut>>,
    ) -> Result<u64, Crashed> {
        self.lives(Some(instance))?;
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let queue = self.queue(&spec.name);
        if queue.is_paused {
            let (instance, parts) = (Arc::clone(instance), Vec::new());
            queue.waiting.push(Blocked { ticket, instance, parts, at_most_once: spec.at_most_once, answer });
        } else {
            let _ = answer.send(Ok(Waited::default()));
        }
        Ok(ticket)
    }

    /// Whether it was so before. Whoever waits looks.
    pub(crate) fn pause(&mut self, name: &QueueName, pauses: bool) -> bool {
        let queue = self.queue(name);
        let was_paused = std::mem::replace(&mut queue.is_paused, pauses);
        if pauses {
            queue.waiting.tell(queue.heartbeats.len());
            queue.waiting.pass_on_news(true);
        } else {
            queue.waiting.wake_all(false);
        }
        was_paused
    }

    pub(crate) fn note(
        &mut self,
        name: &QueueName,
        instance: &str,
        notes: Vec<Note>,
        now: u64,
    ) -> Result<Vec<Settled>, Crashed> {
        self.lives(Some(instance))?;
        let queue = self.queue(name);
        Ok(notes.into_iter().map(|note| queue.note(instance, note, now)).collect())
    }

    pub(crate) fn keep(
        &mut self,
        name: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
        now: u64,
    ) -> Result<Vec<EntryAt>, Crashed> {
        self.lives(Some(instance))?;
        Ok(self.queue(name).keep(instance, about, held, now))
    }

    /// Gives what is there to those who wait for it, one task to each.
    pub(crate) fn serve_blocked<'a>(&mut self, names: impl Iterator<Item = &'a QueueName>, now: u64) {
        for name in names {
            loop {
                let queue = self.queue(name);
                let Some(blocked) = queue.first_for_whom_something_is_there() else { break };
                let (Blocked { instance, parts, at_most_once, answer, .. }, is_paused) = (blocked, queue.is_paused);
                let take = |channel| queue.take_one(channel, &instance, at_most_once, now);
                // What is done when it is taken could not be given back.
                let given = parts.iter().filter(|_| !(is_paused && at_most_once)).find_map(take);
                let entries: Vec<Entry> = given.into_iter().collect();
                let given = self.given(&instance, &entries).map(|()| Waited { entries, is_paused });
                // Whoever is gone has it all the same, as on a server.
                let _ = answer.send(given.map_err(|Crashed| Cut::Crashed));
            }
            let queue = self.queue(name);
            queue.waiting.pass_on_news(queue.is_paused);
        }
    }

    /// The clock was moved: what has become due is given to those who wait, and the others look when the next task is due.
    pub(crate) fn clock_moved(&mut self, now: u64) {
        self.queues.values_mut().for_each(|queue| queue.ripen(now));
        let names: Vec<QueueName> = self.queues.keys().cloned().collect();
        self.serve_blocked(names.iter(), now);
        self.queues.values_mut().for_each(|queue| queue.waiting.wake_all(queue.is_paused));
    }

    /// Whoever waits for something else than a task has the time of this process.
    pub(crate) fn clock_moves(&mut self, by: Duration) {
        self.queues.values_mut().for_each(|queue| queue.course.clock_moved(by));
    }

    /// What a batch publishes in the last step.
    pub(crate) fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// What the last step tells: channels with the namespace, and payloads.
    pub(crate) fn take_published(&mut self) -> Vec<(String, Vec<u8>)> {
        self.queues.values_mut().flat_map(|queue| queue.course.take_published()).collect()
    }

    pub(crate) fn cut_all(&mut self) {
        self.cuts += 1;
        self.queues.values_mut().for_each(|queue| queue.waiting.cut_all());
    }

    pub(crate) fn next_due(&self, now: u64) -> Option<Duration> {
        self.queues().filter_map(|(_, queue)| queue.next_due(now)).min()
    }

    pub(crate) fn crash_at(&mut self, point: CrashPoint) {
        self.crash = Some(point);
    }

    /// Has the instance die at once that has this task, if one has it.
    pub(crate) fn crash_owner(&mut self, name: &QueueName, id: &str) {
        let owner =
            self.queue(name).taken.values().find(|held| *held.entry.id == *id).map(|held| Arc::clone(&held.owner));
        if let Some(instance) = owner {
            self.crash(&instance);
        }
    }

    /// Whether an instance has crashed.
    pub(crate) fn has_crashed(&self) -> bool {
        !self.crashed.is_empty()
    }

    fn crash(&mut self, instance: &Arc<str>) {
        self.crashed.insert(Arc::clone(instance));
        self.queues.values_mut().for_each(|queue| queue.waiting.crashed(instance));
    }

    pub(crate) fn lives(&self, instance: Option<&str>) -> Result<(), Crashed> {
        if instance.is_some_and(|instance| self.crashed.contains(instance)) { Err(Crashed) } else { Ok(()) }
    }

    fn given(&mut self, instance: &Arc<str>, entries: &[Entry]) -> Result<(), Crashed> {
        if entries.is_empty() { Ok(()) } else { self.reach(CrashPoint::BeforeHandler, Some(instance)) }
    }

    /// An instance is at this point: it dies there if the test wants it.
    fn reach(&mut self, point: CrashPoint, instance: Option<&Arc<str>>) -> Result<(), Crashed> {
        let Some(instance) = instance.filter(|_| self.crash == Some(point)) else { return Ok(()) };
        self.crash = None;
        self.crash(instance);
        Err(Crashed)
    }

    /// In the reverse order.
    fn undo(&mut self, added: Vec<(QueueName, Added)>) {
        for (name, how) in added.into_iter().rev() {
            self.queue(&name).undo(how);
        }
    }
}

/// The results of a batch of which this one was refused.
fn aborted(
    names: &[QueueName],
    at: usize,
    refused: Result<Enqueued, EnqueueError>,
) -> Vec<Result<Enqueued, EnqueueError>> {
    let abort = |name: &QueueName| Err(EnqueueError::Aborted { queue: name.template });
    let mut results: Vec<_> = names.iter().map(abort).collect();
    results[at] = refused;
    results
}

/// The clock of a broker. It goes with the time of this process, and a test can move it on.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// The time of day then, in milliseconds.
    at: u64,
    moved: Duration,
    /// It never goes back, though a test that pauses time has several of them.
    latest: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { started: now(), at: unix_millis(), moved: Duration::ZERO, latest: 0 }
    }

    pub(crate) fn now(&mut self) -> u64 {
        let since = now().saturating_duration_since(self.started).saturating_add(self.moved);
        let whole = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.latest = self.latest.max(self.at.saturating_add(whole));
        self.latest
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.moved = self.moved.saturating_add(by);
    }
}

/// Whole milliseconds, rounded up: nothing is early.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
