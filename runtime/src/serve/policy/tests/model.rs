//! The policy and the queues of the memory broker together, in every order of what two instances, their connections and the clock can do.
//!
//! After each step: no task is lost and none is there twice, no two owners were ever given one token, tokens only grow, what counts was settled by
//! the owner of that moment, and attempts stay within their bounds. And whatever has happened, once nothing happens any more each task ends.

mod orders;

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    handler::outcome::Rule,
    route::entry::HandlerOptions,
    serve::policy::{
        rounds::Rounds,
        verdict::{Admission, How, Moment, OnceBefore, Policy, admit},
    },
    transport::{
        durable::{
            contract::{QueueSpec, Take},
            look::DeadLetterBounds,
            look::Mend,
            task::{Begun, Due, NewTask, QueueName, Settled, Settlement, TaskState, Unique, Verdict, Why},
        },
        memory::queues::{queue::Queue, store::Store},
    },
};

use super::*;

const LEASE: Duration = Duration::from_secs(30);
/// Shorter than it is, since the pauses of what nobody knows are many.
const PARK_AFTER: Duration = Duration::from_secs(4 * 60);
const RETRIES: u32 = 2;
const CRASHES: u32 = 2;
const PARTS: [&str; 2] = ["jobs:high", "jobs:low"];

/// What can happen. What cannot at that moment is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Enqueue(Kind),
    /// An instance takes a task, and begins with it.
    Take(usize),
    /// The same, and the answer is lost with the connection.
    TakeInVain(usize),
    /// The handler of the oldest task that an instance has ends.
    End(usize, End),
    /// The same, and the settlement is on its way.
    Send(usize, End),
    /// The oldest or the newest settlement that is on its way arrives; its answer is lost.
    Arrive(Side),
    /// The oldest settlement that was sent is sent again.
    Repeat,
    Renew(usize),
    /// Another one starts in its place.
    Crash(usize),
    Cut(usize),
    Connect(usize),
    /// Takes tasks from those whose leases are over.
    Look(usize),
    /// The same; but what follows is on its way.
    LookAndSend(usize),
    Pass(Duration),
    Stop(usize),
    Unpark,
    Replay,
    Tidy(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Low,
    Delayed,
    Expiring,
    Unique,
    Newer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Success,
    Error,
    Snooze,
    DeadLetter,
    Discard,
    Panic,
    Timeout,
    HandBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Oldest,
    Newest,
}

/// Of a seed, the same each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).unwrap()]
    }
}

struct Instance {
    name: Arc<str>,
    policy: Policy,
    is_connected: bool,
    /// The tasks that it works on, and the key under which their handlers have begun.
    held: Vec<(Entry, Option<OnceKey>)>,
    rounds: Rounds,
}

/// A settlement that was sent and has not arrived.
#[derive(Clone)]
struct Sent {
    settlement: Settlement,
    token: u64,
    reclaims: bool,
}

/// What is known of a task, beside the queue.
#[derive(Default)]
struct Ledger {
    /// The last token that was given.
    token: u64,
    /// When it was due at the earliest.
    due: u64,
    end: Option<TaskState>,
    /// Whether a handler that runs once has begun, and has not said with an error that it may begin again.
    has_begun: bool,
    begun: u32,
    is_replayed: bool,
}

struct Model {
    store: Store,
    spec: QueueSpec,
    start: Instant,
    now: u64,
    runs_once: bool,
    instances: Vec<Instance>,
    started: u32,
    sent: Vec<Sent>,
    arrived: Vec<Sent>,
    ledger: BTreeMap<String, Ledger>,
    chance: Chance,
    trace: Vec<Step>,
}

fn options(runs_once: bool) -> HandlerOptions {
    let options = HandlerOptions::DEFAULT.timeout_nanos(60_000_000_000).retries(RETRIES).crashes(CRASHES);
    if runs_once { options.once(3_600_000_000_000, false) } else { options.idempotent() }
}

impl Model {
    fn new(runs_once: bool, seed: u64) -> Self {
        let spec = QueueSpec {
            name: QueueName { template: "jobs:<priority>", namespace: "".into() },
            parts: PARTS.map(Arc::from).to_vec(),
            lease: LEASE,
            at_most_once: false,
            dead: DeadLetterBounds::DEFAULT,
            results: None,
        };
        let mut model = Self {
            store: Store::default(),
            spec,
            start: Instant::now(),
            now: 1_000_000,
            runs_once,
            instances: Vec::new(),
            started: 0,
            sent: Vec::new(),
            arrived: Vec::new(),
            ledger: BTreeMap::new(),
            chance: Chance(seed),
            trace: Vec::new(),
        };
        for _ in 0..2 {
            let instance = model.starts();
            model.instances.push(instance);
        }
        // Both are there for long.
        model.now += 60_000;
        model
    }

    fn starts(&mut self) -> Instance {
        self.started += 1;
        let name: Arc<str> = format!("instance-{}", self.started).into();
        Instance {
            policy: Policy::new(&options(self.runs_once), PARK_AFTER, Arc::clone(&name)),
            name,
            is_connected: true,
            held: Vec::new(),
            rounds: Rounds::new(LEASE, self.instant()),
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn moment(&mut self) -> Moment {
        Moment { now: self.now, random: self.chance.next() }
    }

    fn queue(&mut self) -> &mut Queue {
        self.store.queue(&self.spec.name)
    }

    /// Whether it was one.
    fn step(&mut self, step: Step) -> bool {
        self.trace.push(step);
        let connected = |at: usize| self.instances[at].is_connected;
        match step {
            Step::Take(at) | Step::TakeInVain(at) | Step::Renew(at) | Step::Look(at) | Step::LookAndSend(at)
                if !connected(at) =>
            {
                return false;
            }
            Step::End(at, _) | Step::Stop(at) | Step::Tidy(at) | Step::Cut(at) if !connected(at) => return false,
            Step::Enqueue(kind) => self.enqueue(kind),
            Step::Take(at) => return self.take(at, true),
            Step::TakeInVain(at) => return self.take(at, false),
            Step::End(at, end) | Step::Send(at, end) => {
                let Some(sent) = self.ends(at, end) else { return false };
                self.sent.push(sent);
                if matches!(step, Step::End(..)) {
                    self.arrive(Side::Newest);
                    self.arrived.pop();
                }
            }
            Step::Arrive(side) => return self.arrive(side),
            Step::Repeat => {
                if self.arrived.is_empty() {
                    return false;
                }
                let sent = self.arrived.remove(0);
                assert_eq!(self.settle(&sent), Settled::Stale, "what is sent again counted twice");
            }
            Step::Renew(at) => self.renew(at),
            Step::Crash(at) => self.instances[at] = self.starts(),
            Step::Cut(at) => self.instances[at].is_connected = false,
            Step::Connect(at) => return self.connect(at),
            Step::Look(at) => return self.look(at, true),
            Step::LookAndSend(at) => return self.look(at, false),
            Step::Pass(time) => self.now += u64::try_from(time.as_millis()).unwrap(),
            Step::Stop(at) => {
                while self.step(Step::End(at, End::HandBack)) {}
                let (lease, name, now) = (self.spec.lease, Arc::clone(&self.instances[at].name), self.now);
                self.queue().tidy(lease, Some(&name), now);
                self.instances[at] = self.starts();
            }
            Step::Unpark => {
                let now = self.now;
                return self.queue().unpark("Job", 2, now) > 0;
            }
            Step::Replay => return self.replay(),
            Step::Tidy(_) => {
                let (lease, now) = (self.spec.lease, self.now);
                self.queue().tidy(lease, None, now);
            }
        }
        true
    }

    fn enqueue(&mut self, kind: Kind) {
        let id = format!("task-{}", self.ledger.len());
        let task = NewTask {
            queue: self.spec.name.clone(),
            channel: PARTS[usize::from(kind == Kind::Low)].to_owned(),
            name: "Job",
            version: if kind == Kind::Newer { 2 } else { 1 },
            id: id.clone(),
            payload: Vec::new(),
            due: if kind == Kind::Delayed { Due::In(LEASE / 2) } else { Due::Now },
            expires_in: (kind == Kind::Expiring).then_some(LEASE * 2),
            unique: (kind == Kind::Unique).then(|| Unique { key: "key".to_owned(), window: LEASE }),
            max_length: None,
        };
        let results = self.store.enqueue(vec![task], false, self.now);
        let enqueued = results[0].as_ref().unwrap();
        if let Some(state) = enqueued.was_there {
            let holder = &self.ledger[&enqueued.id];
            assert!(holder.end.is_none_or(|end| end == state), "{state:?} of one that ended as {:?}", holder.end);
            return;
        }
        let due = if kind == Kind::Delayed { self.now + 15_000 } else { self.now };
        self.ledger.insert(id, Ledger { due, ..Ledger::default() });
    }

    fn take(&mut self, at: usize, arrives: bool) -> bool {
        let order = vec![(0, 1), (1, 1)];
        let (spec, name, now) = (self.spec.clone(), Arc::clone(&self.instances[at].name), self.now);
        let taken = self.store.take(&spec, &name, Take { order, want: 1, ..Take::default() }, now).unwrap();
        let Some(entry) = taken.entries.into_iter().next() else { return false };
        let task = self.ledger.get_mut(&*entry.id).unwrap();
        assert!(task.end.is_none(), "{} has ended, and is given again", entry.id);
        assert!(entry.token() > task.token, "{}: the token {} after {}", entry.id, entry.token(), task.token);
        assert!(task.due <= now, "{} is early", entry.id);
        task.token = entry.token();
        if arrives {
            self.begin(at, entry);
        } else {
            self.instances[at].is_connected = false;
        }
        true
    }

    /// An instance has been given a task: it begins, or finds that it is not to.
    fn begin(&mut self, at: usize, entry: Entry) {
        let moment = self.moment();
        let how = match admit(&entry, "Job", 1, moment.now) {
            Admission::Unknown => Some(How::Unknown),
            Admission::Expired => Some(How::Expired),
            Admission::Run => None,
        };
        let mut once = None;
        let how = how.or_else(|| {
            if !self.runs_once {
                return None;
            }
            let key = OnceKey { key: entry.id.to_string(), window: LEASE * 100 };
            let name = self.spec.name.clone();
            let begun = self.store.begin(&name, &key, (&entry.id, entry.token()), moment.now).unwrap();
            once = Some(key);
            let task = self.ledger.get_mut(&*entry.id).unwrap();
            match begun {
                Begun::Now => {
                    assert!(!task.has_begun || task.is_replayed, "{} runs twice", entry.id);
                    (task.has_begun, task.is_replayed) = (true, false);
                    task.begun += 1;
                    None
                }
                Begun::Done => Some(How::Once(OnceBefore::Done)),
                Begun::Before => Some(How::Once(OnceBefore::Unfinished)),
                Begun::Elsewhere => panic!("{} has a key of its own", entry.id),
            }
        });
        match how {
            None => self.instances[at].held.push((entry, once)),
            Some(how) => {
                let settlement = self.instances[at].policy.settle(&entry, once, how, moment);
                assert_eq!(self.settle(&Sent { settlement, token: entry.token(), reclaims: false }), Settled::Counted);
            }
        }
    }

    /// The handler of the oldest task ends.
    fn ends(&mut self, at: usize, end: End) -> Option<Sent> {
        if self.instances[at].held.is_empty() {
            return None;
        }
        let (entry, once) = self.instances[at].held.remove(0);
        let failed = |rule| How::Failed { rule, error: "no disk".to_owned() };
        let how = match end {
            End::Success => How::Succeeded { follow_ups: Vec::new() },
            End::Error => failed(Rule::Retry),
            End::Snooze => failed(Rule::RetryAfter(LEASE / 3)),
            End::DeadLetter => failed(Rule::DeadLetter),
            End::Discard => failed(Rule::Discard),
            End::Panic => How::Panicked,
            End::Timeout => How::TimedOut,
            End::HandBack => How::HandedBack,
        };
        let moment = self.moment();
        let settlement = self.instances[at].policy.settle(&entry, once, how, moment);
        Some(Sent { settlement, token: entry.token(), reclaims: false })
    }

    fn arrive(&mut self, side: Side) -> bool {
        let sent = match side {
            Side::Oldest if self.sent.is_empty() => return false,
            Side::Oldest => self.sent.remove(0),
            Side::Newest => match self.sent.pop() {
                Some(sent) => sent,
                None => return false,
            },
        };
        // What reclaims and came too soon may count another time.
        if self.settle(&sent) == Settled::Counted || !sent.reclaims {
            self.arrived.push(sent);
        }
        true
    }

    fn settle(&mut self, sent: &Sent) -> Settled {
        let Sent { settlement, token, reclaims } = sent.clone();
        let before = self.sizes();
        let lease = reclaims.then_some(LEASE);
        let settled = self.store.settle(&self.spec.name, vec![settlement.clone()], lease, self.now).unwrap()[0];
        let task = self.ledger.get_mut(&*settlement.id).unwrap();
        if settled == Settled::Stale {
            assert_eq!(before, self.sizes(), "a stale settlement did something");
            return settled;
        }
        assert_eq!(token, task.token, "{}: settled by an owner that is not the last one", settlement.id);
        assert!(task.end.is_none(), "{} ends twice", settlement.id);
        let frees = settlement.once.is_some();
        match &settlement.verdict {
            Verdict::Done { .. } => task.end = Some(TaskState::Completed),
            Verdict::Discarded => task.end = Some(TaskState::Discarded),
            Verdict::Expired => task.end = Some(TaskState::Expired),
            Verdict::Dead { record, .. } => {
                task.end = Some(TaskState::Dead);
                assert!(record.failures <= RETRIES + 1 && record.crashes <= CRASHES, "{record:?}");
            }
            Verdict::Again { record, after, why } => {
                assert!(record.failures <= RETRIES && record.crashes < CRASHES, "{record:?}");
                assert_eq!(record.owners, token);
                task.due = self.now + after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap());
                if frees && matches!(why, Why::Failed | Why::Snoozed) {
                    task.has_begun = false;
                }
            }
            Verdict::Park { record } => assert_eq!(record.owners, token),
        }
        settled
    }

    fn renew(&mut self, at: usize) {
        let instance = &self.instances[at];
        let (name, now, instant) = (Arc::clone(&instance.name), self.now, self.instant());
        let held: Vec<EntryAt> = instance.held.iter().map(|(entry, _)| entry.at.clone()).collect();
        let lost: HashSet<EntryAt> = self.queue().keep(&name, "{}", &held, now).into_iter().collect();
        let instance = &mut self.instances[at];
        // Their handlers are cancelled, and there is nothing to settle.
        instance.held.retain(|(entry, _)| !lost.contains(&entry.at));
        instance.rounds.renewed(instant, instant);
    }

    /// After a loss of its connection it may have been given what it does not know of.
    fn connect(&mut self, at: usize) -> bool {
        if std::mem::replace(&mut self.instances[at].is_connected, true) {
            return false;
        }
        let (instant, name) = (self.instant(), Arc::clone(&self.instances[at].name));
        self.instances[at].rounds.connected(instant);
        self.renew(at);
        for entry in self.queue().pending(&name) {
            let is_known = self.instances[at].held.iter().any(|(held, _)| held.at == entry.at);
            let is_settled = self.sent.iter().any(|sent| sent.settlement.at == entry.at);
            if !is_known && !is_settled {
                let settlement = self.instances[at].policy.found(&entry);
                self.settle(&Sent { settlement, token: entry.token(), reclaims: false });
            }
        }
        true
    }

    fn look(&mut self, at: usize, arrives: bool) -> bool {
        if !self.instances[at].rounds.may_reclaim(self.instant()) {
            return false;
        }
        let now = self.now;
        let overdue = self.queue().overdue(LEASE, Duration::MAX, 10, now);
        let is_any = !overdue.entries.is_empty();
        for found in overdue.entries {
            let moment = self.moment();
            let owner = self.instances.iter().find(|instance| *instance.name == found.owner);
            // One that lives and is connected may not have renewed, but has not died within a lease of its heartbeat.
            let is_gone = owner.is_none() || found.has_died;
            let settlement = self.instances[at].policy.reclaim(&found, moment);
            let is_crash = matches!(settlement.verdict, Verdict::Again { why: Why::Crashed, .. });
            assert!(!is_crash || is_gone, "a crash of {}, which lives", found.owner);
            let sent = Sent { settlement, token: found.entry.token(), reclaims: true };
            if arrives {
                assert_eq!(self.settle(&sent), Settled::Counted);
            } else {
                self.sent.push(sent);
            }
        }
        is_any
    }

    fn replay(&mut self) -> bool {
        let now = self.now;
        let Some(letter) = self.queue().dead_letters(None, 1).pop() else { return false };
        assert_eq!(self.queue().mend(&[letter.entry], &Mend::Replay, now), 1);
        let task = self.ledger.get_mut(&letter.id).unwrap();
        assert_eq!(task.end, Some(TaskState::Dead));
        (task.end, task.due, task.is_replayed) = (None, now, true);
        true
    }

    fn sizes(&mut self) -> ([usize; 5], u64) {
        let queue = self.queue();
        let due = queue.parts.values().map(|part| part.back.len() + part.new.len()).sum();
        let sizes = [due, queue.delayed.len(), queue.taken.len(), queue.parked.len(), queue.dead.len()];
        (sizes, queue.ended.completed + queue.ended.discarded + queue.ended.expired)
    }

    /// Where each task is, as the queue says: in one place, or nowhere.
    fn places(&mut self) -> Vec<(String, &'static str, u64)> {
        let queue = self.queue();
        let mut places = Vec::new();
        let mut place = |id: &str, place, owners| places.push((id.to_owned(), place, owners));
        for part in queue.parts.values() {
            part.back.values().for_each(|entry| place(&entry.id, "back", entry.record.owners));
            part.new.values().for_each(|entry| place(&entry.id, "new", entry.record.owners));
        }
        queue.delayed.values().for_each(|entry| place(&entry.id, "delayed", entry.record.owners));
        queue.taken.values().for_each(|held| place(&held.entry.id, "taken", held.entry.record.owners));
        queue.parked.values().for_each(|entry| place(&entry.id, "parked", entry.record.owners));
        queue.dead.iter().for_each(|letter| place(&letter.dead.id, "dead", letter.dead.record.owners));
        places.sort();
        places
    }

    /// No task is lost, and none is there twice.
    fn check(&mut self) {
        let places = self.places();
        let expected: Vec<&str> = self
            .ledger
            .iter()
            .filter(|(_, task)| task.end.is_none_or(|end| end == TaskState::Dead))
            .map(|(id, _)| id.as_str())
            .collect();
        let found: Vec<&str> = places.iter().map(|(id, ..)| id.as_str()).collect();
        assert_eq!(found, expected, "what is there, and what was accepted and has not ended");
        let now = self.now;
        let queue = self.queue();
        assert_eq!(queue.places.len(), places.len(), "what is found by its id");
        for (id, place, _) in &places {
            let state = queue.find(id, now).map(|seen| seen.state);
            let expected = match *place {
                "taken" => TaskState::Running,
                "parked" => TaskState::Parked,
                "dead" => TaskState::Dead,
                "delayed" if state == Some(TaskState::Delayed) => TaskState::Delayed,
                _ => TaskState::Waiting,
            };
            assert_eq!(state, Some(expected), "{id} is {place}");
        }
        for (id, place, owners) in &places {
            let task = &self.ledger[id];
            assert_eq!(task.end.is_some(), *place == "dead", "{id} is {place}");
            // Whoever has it has the last token, and whoever gets it next has a larger one.
            let last = if *place == "taken" { owners + 1 } else { *owners };
            assert_eq!(last, task.token, "{id} is {place}");
        }
    }

    /// Nothing fails any more: each task comes to its end.
    fn drain(&mut self) {
        for _ in 0..100 {
            for at in [0, 1] {
                self.step(Step::Connect(at));
                self.step(Step::Renew(at));
                self.step(Step::Look(at));
                while self.step(Step::Take(at)) {
                    self.step(Step::End(at, End::Success));
                }
                while self.step(Step::End(at, End::Success)) {}
            }
            self.step(Step::Pass(LEASE / 2));
            // What this fleet does not know is parked in the end, and another one takes it from there.
            let is_left = |(_, place, _): &(String, &str, u64)| !matches!(*place, "parked" | "dead");
            if !self.places().iter().any(is_left) {
                return self.check();
            }
        }
        panic!("some are never done: {:?}", self.places());
    }
}
