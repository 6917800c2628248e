//! Which instances are known, and which of them gets the next request: without a clock or a transport.
//!
//! What is known of a template is complete once all have answered who the server counted when it was asked, and is kept so by what instances
//! say when they start and stop. After a gap it is asked anew. An instance that is gone is found out by the request that nobody receives. One that
//! let the time of a request pass is asked last until it answers something or says that it is there again, and gets one request in a while to
//! show that it can.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

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
    /// Requests of ours that it has not answered.
    unanswered: AtomicUsize,
    /// It has let the time of a request pass, and answered nothing since: until when it is asked last, in milliseconds from `epoch` on. Else 0.
    overdue: AtomicU64,
    epoch: Instant,
    /// Nobody receives what is sent to its inbox.
    gone: AtomicBool,
}

impl Instance {
    pub(crate) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// It has let the time of a request pass, which was over then: it is asked last for a while, or until it answers something.
    pub(crate) fn is_overdue(&self, then: Instant) {
        self.overdue.store(self.millis(then + ASKED_LAST), Ordering::Relaxed);
    }

    /// It has answered something.
    pub(crate) fn answers(&self) {
        if self.overdue.load(Ordering::Relaxed) > 0 {
            self.overdue.store(0, Ordering::Relaxed);
        }
    }

    /// It gets a request. One that was overdue gets another one only after it has answered this one, or after a while.
    fn is_chosen(&self, now: Instant) {
        if self.overdue.load(Ordering::Relaxed) > 0 {
            self.is_overdue(now);
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Those with less of it come first.
    fn burden(&self, now: Instant) -> (bool, usize) {
        let overdue = self.overdue.load(Ordering::Relaxed);
        (overdue > 0 && overdue > self.millis(now), self.unanswered.load(Ordering::Relaxed))
    }
}

/// So long an instance is asked last that let the time of a request pass: one that hangs costs each requester one request in this time.
const ASKED_LAST: Duration = Duration::from_secs(5);

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
    /// When it was begun.
    pub(crate) now: Instant,
}

impl Wanted<'_> {
    fn admits(&self, candidate: &Candidate) -> bool {
        let Candidate { instance, takes } = candidate;
        let takes = &instance.takes[*takes];
        takes.message == self.message
            && takes.version >= self.version
            && self.group.is_none_or(|group| group == instance.group)
            && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, instance))
    }
}

/// What is to be done for a request.
#[derive(Debug)]
pub(crate) enum Look {
    /// Give it to this one.
    Turn(Turn),
    /// Ask who is there, as this round of the template.
    Ask(u64),
    /// Wait for a change.
    Wait,
    Nobody,
}

/// Which instances are known.
#[derive(Debug)]
pub(crate) struct Book {
    state: Mutex<Pages>,
    /// Told of every change.
    pub(crate) changed: Notify,
    /// When it was opened: times are counted from then on.
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Pages {
    by_inbox: HashMap<String, Arc<Instance>>,
    by_template: HashMap<String, Page>,
    /// Whose turn it is among equals.
    turn: usize,
}

/// What is known of a template.
#[derive(Debug, Default)]
struct Page {
    candidates: Vec<Candidate>,
    /// How often it was asked for.
    rounds: u64,
    asked: Asked,
    /// Whether anybody has got the question.
    has_receivers: bool,
}

#[derive(Debug)]
struct Candidate {
    instance: Arc<Instance>,
    /// Which of what it takes it is.
    takes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Asked {
    #[default]
    Never,
    /// The question is on its way.
    Asking { answered: Answered },
    /// So many have got it.
    Sent { receivers: u64, answered: Answered },
    /// Nobody is waited for any more.
    Complete,
}

impl Asked {
    /// Completes the question once all have answered who have got it.
    fn settle(&mut self) {
        if let Self::Sent { receivers, answered } = *self
            && answered.is_all(receivers)
        {
            *self = Self::Complete;
        }
    }
}

/// More instances than this are not kept: whoever may publish could otherwise fill the memory.
const INSTANCES: usize = 10_000;

impl Book {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), epoch }
    }

    /// How often a template was asked for.
    pub(crate) fn rounds(&self, template: &str) -> u64 {
        self.pages().by_template.get(template).map_or(0, |page| page.rounds)
    }

    /// What is to be done for a request. Somebody who has begun it in an earlier round is told that nobody is there only after another one.
    pub(crate) fn look(&self, wanted: &Wanted<'_>, begun: u64) -> Look {
        let mut pages = self.pages();
        let Pages { by_template, turn, .. } = &mut *pages;
        if !by_template.contains_key(wanted.template) {
            by_template.insert(wanted.template.to_owned(), Page::default());
        }
        let Some(page) = by_template.get_mut(wanted.template) else { return Look::Nobody };
        if page.asked != Asked::Never
            && let Some(instance) = choose(&page.candidates, wanted, *turn)
        {
            *turn = turn.wrapping_add(1);
            instance.is_chosen(wanted.now);
            return Look::Turn(Turn::of(instance));
        }
        match page.asked {
            Asked::Asking { .. } | Asked::Sent { .. } => Look::Wait,
            Asked::Complete if page.rounds > begun => Look::Nobody,
            Asked::Complete | Asked::Never => {
                page.rounds += 1;
                page.asked = Asked::Asking { answered: Answered::default() };
                Look::Ask(page.rounds)
            }
        }
    }

    /// The groups of which somebody takes the request, and whether more may become known. `Ask` and `Wait` as for [`look`](Self::look).
    pub(crate) fn groups(&self, wanted: &Wanted<'_>, begun: u64) -> (Vec<String>, Look) {
        let look = match self.look(wanted, begun) {
            // Whoever it is: it is only asked whether there is somebody.
            Look::Turn(_) if !self.is_complete(wanted.template) => Look::Wait,
            other => other,
        };
        let mut groups: Vec<String> = Vec::new();
        if let Some(page) = self.pages().by_template.get(wanted.template) {
            for candidate in page.candidates.iter().filter(|candidate| wanted.admits(candidate)) {
                if !groups.contains(&candidate.instance.group) {
                    groups.push(candidate.instance.group.clone());
                }
            }
        }
        (groups, look)
    }

    /// Whether anybody takes requests of a template, of whatever message and version.
    pub(crate) fn is_taken(&self, template: &str) -> bool {
        let pages = self.pages();
        let page = pages.by_template.get(template);
        page.is_some_and(|page| !page.candidates.is_empty() || matches!(page.asked, Asked::Sent { receivers: 1.., .. }))
    }

    fn is_complete(&self, template: &str) -> bool {
        self.pages().by_template.get(template).is_some_and(|page| page.asked == Asked::Complete)
    }

    /// So many have got the question of a round; `None` where that is not known, and then nobody waits for all of them.
    pub(crate) fn asked(&self, template: &str, round: u64, receivers: Option<u64>) {
        self.turn_page(template, round, |page| {
            if let Asked::Asking { answered } = page.asked {
                page.asked = receivers.map_or(Asked::Complete, |receivers| Asked::Sent { receivers, answered });
                page.asked.settle();
            }
            page.has_receivers = receivers != Some(0);
        });
    }

    /// The question of a round was not sent.
    pub(crate) fn not_asked(&self, template: &str, round: u64) {
        self.turn_page(template, round, |page| page.asked = Asked::Never);
    }

    /// Whoever has not answered by now is not waited for any more.
    pub(crate) fn enough(&self, template: &str) {
        if let Some(page) = self.pages().by_template.get_mut(template)
            && let Asked::Sent { .. } = page.asked
        {
            page.asked = Asked::Complete;
        }
        self.changed.notify_waiters();
    }

    fn turn_page(&self, template: &str, round: u64, change: impl FnOnce(&mut Page)) {
        if let Some(page) = self.pages().by_template.get_mut(template).filter(|page| page.rounds == round) {
            change(page);
        }
        self.changed.notify_waiters();
    }

    /// Notes what an instance says of itself. It is remembered if something was asked for that it takes: who asks for something else later is
    /// told of all who are there.
    pub(crate) fn learn(&self, description: Description) {
        let mut pages = self.pages();
        let Description { inbox, group, state, requests, question, shared_by } = description;
        let known = pages.by_inbox.get(&inbox).filter(|known| known.group == group && known.takes == requests);
        match (state, known) {
            (State::Stopping, _) => pages.forget(&inbox),
            (State::Serving, Some(known)) => {
                // Said unasked after it was cut off: what it had then was lost with the connection, and says nothing of it.
                if question.is_none() {
                    known.answers();
                }
            }
            (State::Serving, None) => {
                pages.forget(&inbox);
                if pages.is_asked_for(&requests) && pages.by_inbox.len() < INSTANCES {
                    pages.enter(inbox, group, requests, self.epoch);
                }
            }
        }
        if let Some((round, template)) = question.as_deref().and_then(|question| question.split_once(' '))
            && let Some(page) = pages.by_template.get_mut(template)
            && round.parse() == Ok(page.rounds)
            && let Asked::Asking { answered } | Asked::Sent { answered, .. } = &mut page.asked
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
            for Candidate { instance, takes } in &page.candidates {
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
    /// Whether any of it was asked for.
    fn is_asked_for(&self, requests: &[Takes]) -> bool {
        requests.iter().any(|takes| self.by_template.get(&takes.template).is_some_and(|page| page.rounds > 0))
    }

    fn enter(&mut self, inbox: String, group: String, takes: Vec<Takes>, epoch: Instant) {
        let instance = Arc::new(Instance {
            inbox: inbox.clone(),
            group,
            takes,
            unanswered: AtomicUsize::new(0),
            overdue: AtomicU64::new(0),
            epoch,
            gone: AtomicBool::new(false),
        });
        for (index, takes) in instance.takes.iter().enumerate() {
            let candidate = Candidate { instance: Arc::clone(&instance), takes: index };
            match self.by_template.get_mut(&takes.template) {
                Some(page) => page.candidates.push(candidate),
                None => {
                    let page = Page { candidates: vec![candidate], ..Page::default() };
                    self.by_template.insert(takes.template.clone(), page);
                }
            }
        }
        self.by_inbox.insert(inbox, instance);
    }

    fn forget(&mut self, inbox: &str) {
        let Some(instance) = self.by_inbox.remove(inbox) else { return };
        for takes in &instance.takes {
            if let Some(page) = self.by_template.get_mut(&takes.template) {
                page.candidates.retain(|candidate| !Arc::ptr_eq(&candidate.instance, &instance));
            }
        }
    }
}

/// The one with the least burden, in turn among equals.
fn choose<'a>(candidates: &'a [Candidate], wanted: &Wanted<'_>, turn: usize) -> Option<&'a Arc<Instance>> {
    let (before, from) = candidates.split_at(turn.checked_rem(candidates.len())?);
    let in_turn = from.iter().chain(before).filter(|candidate| wanted.admits(candidate));
    in_turn.map(|candidate| &candidate.instance).min_by_key(|instance| instance.burden(wanted.now))
}

#[cfg(test)]
mod tests;
