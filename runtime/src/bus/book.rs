//! Which instances are known, and which of them gets the next request: without a clock or a transport.
//!
//! What is known of a template is complete once all have answered who the server counted when it was asked, and is kept so by what instances
//! say when they start and stop. After a gap it is asked anew, and so it is while somebody has not answered: that one may be gone, or hang, or
//! its answer was lost. An instance that is gone is found out by the request that nobody receives.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    bus::instances::{Description, State, Takes},
    codec::answers::Answered,
};

/// An instance that takes requests, as a requester knows it.
#[derive(Debug)]
pub(crate) struct Instance {
    /// With the namespace.
    inbox: String,
    group: String,
    takes: Vec<Takes>,
    /// Bytes of what it has said of itself.
    size: usize,
    /// Requests of ours that it has not answered.
    unanswered: AtomicUsize,
    times: Mutex<Times>,
    /// Whether there is a time at which it let a request pass: looked at for every request, without a lock.
    overdue: AtomicBool,
    /// Nobody receives what is sent to its inbox.
    gone: AtomicBool,
}

#[derive(Debug, Default)]
struct Times {
    /// When it let the time of a request pass, and has answered nothing since.
    overdue: Option<Instant>,
    /// When it was last looked whether it is still there.
    looked: Option<Instant>,
}

impl Instance {
    pub(crate) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// It has let the time of a request pass: for a while it is asked last, unless it answers something.
    pub(crate) fn lets_time_pass(&self, now: Instant) {
        self.times().overdue = Some(now);
        self.overdue.store(true, Ordering::Relaxed);
    }

    /// It has answered something.
    pub(crate) fn answers(&self) {
        if self.overdue.load(Ordering::Relaxed) {
            self.overdue.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether it is to be looked now whether it is still there; else when that is due. One of all who wait for it looks.
    pub(crate) fn look(&self, now: Instant, every: Duration) -> Result<(), Instant> {
        let mut times = self.times();
        match times.looked.map(|looked| looked + every) {
            Some(due) if due > now => Err(due),
            _ => {
                times.looked = Some(now);
                Ok(())
            }
        }
    }

    /// It gets a request. One that was overdue gets another one only after it has answered this one, or after a while.
    fn is_chosen(&self, now: Instant) {
        if self.overdue.load(Ordering::Relaxed) {
            self.lets_time_pass(now);
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.overdue.load(Ordering::Relaxed) && self.times().overdue.is_some_and(|since| now < since + OVERDUE)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in the hands of an instance, which counts it until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) instance: Arc<Instance>,
}

impl Turn {
    fn of(instance: &Arc<Instance>) -> Self {
        instance.unanswered.fetch_add(1, Ordering::Relaxed);
        Self { instance: Arc::clone(instance) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.instance.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is wanted for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) template: &'a str,
    pub(crate) message: &'a str,
    pub(crate) version: u32,
    /// Of this group, if it is to be one of it.
    pub(crate) group: Option<&'a str>,
    /// Who has declined it, or was lost with it.
    pub(crate) tried: &'a [Arc<Instance>],
}

impl Wanted<'_> {
    fn admits(&self, candidate: &Candidate) -> bool {
        let Candidate { instance, takes, .. } = candidate;
        let takes = &instance.takes[*takes];
        takes.message == self.message
            && takes.version >= self.version
            && self.group.is_none_or(|group| group == instance.group)
            && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, instance))
    }
}

/// What is to be done for a request.
#[derive(Debug)]
pub(crate) enum Look<T> {
    Found(T),
    /// Ask who is there, as this round of the template.
    Ask(u64),
    /// Wait for a change, until then.
    Wait(Instant),
    Nobody,
}

/// Which instances are known.
#[derive(Debug, Default)]
pub(crate) struct Book {
    state: Mutex<Pages>,
    /// Told of every change.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    by_inbox: HashMap<String, Arc<Instance>>,
    by_template: HashMap<String, Page>,
    /// Bytes of what instances have said of themselves.
    size: usize,
}

/// What is known of a template.
#[derive(Debug, Default)]
struct Page {
    candidates: Vec<Candidate>,
    /// How many requests were given to somebody.
    turns: u64,
    /// How often it was asked for.
    rounds: u64,
    asked: Asked,
}

#[derive(Debug)]
struct Candidate {
    instance: Arc<Instance>,
    /// Which of what it takes it is.
    takes: usize,
    /// When it was its turn: of equals the one comes first that has waited for longest.
    turn: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Asked {
    #[default]
    Never,
    /// The question is on its way.
    Asking { since: Instant, answered: Answered },
    /// So many have got it, where that is known.
    Sent { since: Instant, receivers: Option<u64>, answered: Answered },
    /// All have answered.
    Complete,
}

/// How far a question is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Nobody has asked, or for too long somebody has not answered.
    Due,
    /// Those who have not answered yet may do so until then.
    Open {
        until: Instant,
    },
    /// Those who have not answered are not waited for where others are known.
    Late,
    Complete,
}

impl Asked {
    /// Completes the question once all have answered who have got it.
    fn settle(&mut self) {
        if let Self::Sent { receivers: Some(receivers), answered, .. } = *self
            && answered.is_all(receivers)
        {
            *self = Self::Complete;
        }
    }

    fn stage(&self, now: Instant) -> Stage {
        match *self {
            Self::Never => Stage::Due,
            Self::Complete => Stage::Complete,
            Self::Asking { since, .. } | Self::Sent { since, .. } if now < since + ALL_ANSWER => {
                Stage::Open { until: since + ALL_ANSWER }
            }
            // Whoever asks may have been forgotten by its caller.
            Self::Asking { .. } => Stage::Due,
            Self::Sent { since, .. } if now < since + ASK_AGAIN => Stage::Late,
            Self::Sent { .. } => Stage::Due,
        }
    }
}

/// For so long it is waited at most for instances that the server has counted and that do not answer.
pub(crate) const ALL_ANSWER: Duration = Duration::from_millis(500);
/// So often it is asked again for those who have not answered, while others do what there is to do.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// For so long whoever has let the time of a request pass is asked last: one that hangs costs each requester one request in this time.
const OVERDUE: Duration = Duration::from_secs(10);
/// More instances than this are not kept, nor more bytes of what they say: whoever may publish could otherwise fill the memory.
const INSTANCES: usize = 10_000;
const SIZE: usize = 64 * 1024 * 1024;

impl Book {
    /// Who gets a request, where nothing else is to be done for it.
    pub(crate) fn choose(&self, wanted: &Wanted<'_>, now: Instant) -> Option<Turn> {
        let mut pages = self.pages();
        let page = pages.by_template.get_mut(wanted.template)?;
        if page.asked.stage(now) == Stage::Due { None } else { page.choose(wanted, now) }
    }

    /// What is to be done for a request. `begun` is the round in which somebody has first looked: who begins is told that nobody is there only
    /// after a question of its own time. Whoever does not answer that is waited for, unless others have answered and were tried.
    pub(crate) fn look(&self, wanted: &Wanted<'_>, begun: &mut Option<u64>, now: Instant) -> Look<Turn> {
        let mut pages = self.pages();
        let page = pages.page(wanted.template);
        let is_own = *begun.get_or_insert(page.rounds) < page.rounds;
        let stage = page.asked.stage(now);
        if stage != Stage::Due
            && let Some(turn) = page.choose(wanted, now)
        {
            return Look::Found(turn);
        }
        match stage {
            Stage::Open { until } => Look::Wait(until),
            Stage::Complete if is_own => Look::Nobody,
            Stage::Late if is_own && (page.is_uncounted() || !wanted.tried.is_empty()) => Look::Nobody,
            Stage::Late | Stage::Complete | Stage::Due => page.ask(now),
        }
    }

    /// The groups of which somebody takes the request, as far as instances have answered in time. `begun` as for [`look`](Self::look).
    pub(crate) fn groups(&self, wanted: &Wanted<'_>, begun: &mut Option<u64>, now: Instant) -> Look<Vec<String>> {
        let mut pages = self.pages();
        let page = pages.page(wanted.template);
        let is_own = *begun.get_or_insert(page.rounds) < page.rounds;
        match page.asked.stage(now) {
            Stage::Due => page.ask(now),
            Stage::Open { until } => Look::Wait(until),
            Stage::Late | Stage::Complete => {
                let groups = page.groups(wanted);
                match (groups.is_empty(), is_own) {
                    (false, _) => Look::Found(groups),
                    (true, true) => Look::Nobody,
                    (true, false) => page.ask(now),
                }
            }
        }
    }

    /// Whether anybody takes requests of a template, of whatever message and version.
    pub(crate) fn is_taken(&self, template: &str) -> bool {
        self.pages().by_template.get(template).is_some_and(|page| !page.candidates.is_empty())
    }

    /// So many have got the question of a round, where that is known.
    pub(crate) fn asked(&self, template: &str, round: u64, receivers: Option<u64>) {
        self.turn_page(template, round, |page| {
            if let Asked::Asking { since, answered } = page.asked {
                page.asked = Asked::Sent { since, receivers, answered };
                page.asked.settle();
            }
        });
    }

    /// The question of a round was not sent.
    pub(crate) fn not_asked(&self, template: &str, round: u64) {
        self.turn_page(template, round, |page| page.asked = Asked::Never);
    }

    fn turn_page(&self, template: &str, round: u64, change: impl FnOnce(&mut Page)) {
        if let Some(page) = self.pages().by_template.get_mut(template).filter(|page| page.rounds == round) {
            change(page);
        }
        self.changed.notify_waiters();
    }

    /// Notes what an instance says of itself, in so many bytes.
    pub(crate) fn learn(&self, description: Description, size: usize) {
        let Description { inbox, group, state, mut requests, question, shared_by } = description;
        requests.sort_unstable();
        requests.dedup();
        let mut pages = self.pages();
        let known = pages.by_inbox.get(&inbox);
        let is_same = known.is_some_and(|known| known.group == group && known.takes == requests);
        if state == State::Stopping || !is_same {
            pages.forget(&inbox);
        }
        if let (true, None, Some(known)) = (is_same, &question, pages.by_inbox.get(&inbox)) {
            // It says by itself that it is there again.
            known.answers();
        }
        // Whoever takes nothing that was asked for is asked when that is wanted: nobody would find out that it is gone.
        let is_wanted = || requests.iter().any(|takes| pages.is_asked_for(&takes.template));
        let has_room = pages.by_inbox.len() < INSTANCES && pages.size + size <= SIZE;
        if state == State::Serving && !is_same && has_room && is_wanted() {
            pages.enter(inbox, group, requests, size);
        }
        if let Some((round, template)) = question.as_deref().and_then(|question| question.split_once(' '))
            && let Some(page) = pages.by_template.get_mut(template)
            && round.parse() == Ok(page.rounds)
            && let Asked::Asking { answered, .. } | Asked::Sent { answered, .. } = &mut page.asked
        {
            answered.one_of(shared_by);
            page.asked.settle();
        }
        drop(pages);
        self.changed.notify_waiters();
    }

    /// Nobody receives what is sent to the instance. `true` for the first who has found out.
    pub(crate) fn lost(&self, instance: &Arc<Instance>) -> bool {
        let mut pages = self.pages();
        if pages.by_inbox.get(&instance.inbox).is_some_and(|known| Arc::ptr_eq(known, instance)) {
            pages.forget(&instance.inbox);
        }
        drop(pages);
        !instance.gone.swap(true, Ordering::AcqRel)
    }

    /// Instances may have come or gone unnoticed: it is asked anew.
    pub(crate) fn gap(&self) {
        self.pages().by_template.values_mut().for_each(|page| page.asked = Asked::Never);
        self.changed.notify_waiters();
    }

    /// Requests that several groups take, with the groups.
    pub(crate) fn shared(&self) -> Vec<(String, Vec<String>)> {
        let pages = self.pages();
        let mut by_message: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
        for (template, page) in &pages.by_template {
            for Candidate { instance, takes, .. } in &page.candidates {
                let groups = by_message.entry((template, &instance.takes[*takes].message)).or_default();
                if !groups.contains(&instance.group.as_str()) {
                    groups.push(&instance.group);
                }
            }
        }
        let several = by_message.into_iter().filter(|(_, groups)| groups.len() > 1);
        let mut shared: Vec<_> = several
            .map(|((_, message), mut groups)| {
                groups.sort_unstable();
                (message.to_owned(), groups.into_iter().map(str::to_owned).collect::<Vec<_>>())
            })
            .collect();
        shared.sort_unstable();
        shared
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn page(&mut self, template: &str) -> &mut Page {
        // An entry would take a copy of the name for each request.
        if !self.by_template.contains_key(template) {
            self.by_template.insert(template.to_owned(), Page::default());
        }
        self.by_template.get_mut(template).expect("it was inserted if it was not there")
    }

    fn is_asked_for(&self, template: &str) -> bool {
        self.by_template.get(template).is_some_and(|page| page.rounds > 0)
    }

    fn enter(&mut self, inbox: String, group: String, takes: Vec<Takes>, size: usize) {
        let instance = Arc::new(Instance {
            inbox: inbox.clone(),
            group,
            takes,
            size,
            unanswered: AtomicUsize::new(0),
            times: Mutex::default(),
            overdue: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        for (index, takes) in instance.takes.iter().enumerate() {
            let candidate = Candidate { instance: Arc::clone(&instance), takes: index, turn: 0 };
            self.page(&takes.template).candidates.push(candidate);
        }
        self.size += size;
        self.by_inbox.insert(inbox, instance);
    }

    fn forget(&mut self, inbox: &str) {
        let Some(instance) = self.by_inbox.remove(inbox) else { return };
        self.size -= instance.size;
        // What it takes is sorted: each page is looked through once.
        for takes in instance.takes.chunk_by(|one, other| one.template == other.template) {
            let template = takes[0].template.as_str();
            let Some(page) = self.by_template.get_mut(template) else { continue };
            page.candidates.retain(|candidate| !Arc::ptr_eq(&candidate.instance, &instance));
            if page.candidates.is_empty() && page.rounds == 0 {
                self.by_template.remove(template);
            }
        }
    }
}

impl Page {
    fn ask<T>(&mut self, now: Instant) -> Look<T> {
        self.rounds += 1;
        self.asked = Asked::Asking { since: now, answered: Answered::default() };
        Look::Ask(self.rounds)
    }

    /// Whether nobody knows how many have got the question.
    fn is_uncounted(&self) -> bool {
        matches!(self.asked, Asked::Sent { receivers: None, .. })
    }

    /// The one with the least burden, in turn among equals.
    fn choose(&mut self, wanted: &Wanted<'_>, now: Instant) -> Option<Turn> {
        let admitted = self.candidates.iter_mut().filter(|candidate| wanted.admits(candidate));
        let chosen = admitted.min_by_key(|Candidate { instance, turn, .. }| {
            (instance.is_overdue(now), instance.unanswered.load(Ordering::Relaxed), *turn)
        })?;
        self.turns += 1;
        chosen.turn = self.turns;
        chosen.instance.is_chosen(now);
        Some(Turn::of(&chosen.instance))
    }

    fn groups(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for candidate in self.candidates.iter().filter(|candidate| wanted.admits(candidate)) {
            if !groups.contains(&candidate.instance.group) {
                groups.push(candidate.instance.group.clone());
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests;
