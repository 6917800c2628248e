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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn description(inbox: &str, template: &str, question: Option<&str>) -> Description {
        let takes = Takes { template: template.to_owned(), message: "Quote".to_owned(), version: 1 };
        Description {
            inbox: inbox.to_owned(),
            group: "shop".to_owned(),
            state: State::Serving,
            requests: vec![takes],
            question: question.map(str::to_owned),
            shared_by: 1,
        }
    }

    fn wanted(now: Instant) -> Wanted<'static> {
        Wanted { template: "quotes:<>", message: "Quote", version: 1, group: None, tried: &[], now }
    }

    /// A book in which it was asked for quotes, and these have answered.
    fn book(inboxes: &[&str], now: Instant) -> Book {
        let book = Book::new(now);
        let Look::Ask(round) = book.look(&wanted(now), 0) else { panic!("nothing was asked before") };
        book.asked("quotes:<>", round, Some(inboxes.len() as u64));
        let question = format!("{round} quotes:<>");
        inboxes.iter().for_each(|inbox| book.learn(description(inbox, "quotes:<>", Some(&question))));
        book
    }

    fn turn(book: &Book, now: Instant) -> Turn {
        match book.look(&wanted(now), 0) {
            Look::Turn(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    /// Who gets so many requests, each of which is answered before the next one.
    fn turns(book: &Book, now: Instant, count: usize) -> Vec<String> {
        (0..count).map(|_| turn(book, now).instance.inbox().to_owned()).collect()
    }

    #[test]
    fn the_one_with_the_fewest_unanswered_requests_gets_the_next_and_equals_take_turns() {
        let now = Instant::now();
        let book = book(&["a", "b", "c"], now);
        let held: Vec<Turn> = (0..30).map(|_| turn(&book, now)).collect();
        for inbox in ["a", "b", "c"] {
            assert_eq!(held.iter().filter(|turn| turn.instance.inbox() == inbox).count(), 10);
        }
        let (mut freed, held): (Vec<_>, Vec<_>) = held.into_iter().partition(|turn| turn.instance.inbox() == "b");
        freed.truncate(9);
        assert_eq!(turns(&book, now, 3), ["b"; 3]);
        drop((freed, held));
    }

    #[test]
    fn one_that_let_the_time_pass_is_asked_last_and_once_in_a_while() {
        let now = Instant::now();
        let book = book(&["a", "b"], now);
        let held = turn(&book, now);
        let (late, other) = (Arc::clone(&held.instance), turns(&book, now, 1).remove(0));
        drop(held);
        late.is_overdue(now);
        assert_eq!(turns(&book, now + ASKED_LAST - SECOND, 20), vec![other.clone(); 20]);
        // After a while it gets one request to show that it can.
        let then = now + ASKED_LAST + SECOND;
        let again = turns(&book, then, 20);
        assert_eq!(again.iter().filter(|&inbox| inbox == late.inbox()).count(), 1, "{again:?}");
        late.answers();
        let again = turns(&book, then, 20);
        assert_eq!(again.iter().filter(|&inbox| inbox == late.inbox()).count(), 10, "{again:?}");
    }

    #[test]
    fn one_that_says_unasked_that_it_is_there_is_not_overdue_any_more() {
        let now = Instant::now();
        let book = book(&["a", "b"], now);
        let late = Arc::clone(&turn(&book, now).instance);
        late.is_overdue(now);
        book.learn(description(late.inbox(), "quotes:<>", Some("7 quotes:<>")));
        assert!(!turns(&book, now, 20).contains(&late.inbox().to_owned()), "its handlers may hang all the same");
        book.learn(description(late.inbox(), "quotes:<>", None));
        assert!(turns(&book, now, 20).contains(&late.inbox().to_owned()));
    }

    #[test]
    fn whoever_takes_nothing_that_was_asked_for_is_not_remembered() {
        let now = Instant::now();
        let book = book(&["a"], now);
        for other in 0..2 * INSTANCES {
            book.learn(description(&format!("other-{other}"), "orders", None));
        }
        book.learn(description("b", "quotes:<>", None));
        assert!(turns(&book, now, 4).contains(&"b".to_owned()));
        let orders = Wanted { template: "orders", ..wanted(now) };
        assert!(matches!(book.look(&orders, 0), Look::Ask(1)), "they are asked for when they are wanted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(message: &str, version: u32) -> Takes {
        Takes { template: "quotes:<>".to_owned(), message: message.to_owned(), version }
    }

    fn description(inbox: &str, group: &str, requests: Vec<Takes>) -> Description {
        let (inbox, group) = (inbox.to_owned(), group.to_owned());
        Description { inbox, group, state: State::Serving, requests, question: None, shared_by: 1 }
    }

    fn answer(round: u64, shared_by: u32, description: Description) -> Description {
        Description { question: Some(format!("{round} quotes:<>")), shared_by, ..description }
    }

    const WANTED: Wanted<'static> =
        Wanted { template: "quotes:<>", message: "Quote", version: 1, group: None, tried: &[] };

    /// A book that knows these instances of group `shop`, and has asked for them.
    fn book(inboxes: &[&str]) -> Book {
        let book = Book::default();
        let Look::Ask(round) = book.look(&WANTED, 0) else { panic!("nobody has asked") };
        book.asked("quotes:<>", round, Some(inboxes.len() as u64));
        for inbox in inboxes {
            book.learn(answer(round, 1, description(inbox, "shop", vec![takes("Quote", 1)])));
        }
        book
    }

    fn turn(book: &Book, wanted: &Wanted<'_>) -> Turn {
        match book.look(wanted, 1) {
            Look::Turn(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_asked_once_and_waited_until_all_have_answered_or_one_is_there() {
        let book = Book::default();
        let Look::Ask(round) = book.look(&WANTED, 0) else { panic!("nobody has asked") };
        assert!(matches!(book.look(&WANTED, 0), Look::Wait), "it is on its way");
        book.asked("quotes:<>", round, Some(2));
        assert!(matches!(book.look(&WANTED, 0), Look::Wait));
        // Two services on one connection, which the server has counted once.
        for inbox in ["a", "b"] {
            book.learn(answer(round, 2, description(inbox, "other", vec![takes("Other", 1)])));
        }
        assert!(matches!(book.look(&WANTED, 0), Look::Wait), "one of two has answered");
        book.learn(answer(round + 1, 1, description("x", "other", vec![takes("Other", 1)])));
        assert!(matches!(book.look(&WANTED, 0), Look::Wait), "that was another question");
        book.learn(answer(round, 1, description("c", "shop", vec![takes("Quote", 1)])));
        assert_eq!(turn(&book, &WANTED).instance.inbox(), "c");
    }

    #[test]
    fn nobody_is_there_only_after_a_question_of_ones_own_time() {
        let book = Book::default();
        let Look::Ask(round) = book.look(&WANTED, 0) else { panic!("nobody has asked") };
        book.asked("quotes:<>", round, Some(0));
        assert!(matches!(book.look(&WANTED, 0), Look::Nobody));
        assert!(!book.is_taken("quotes:<>"));
        // Who begins later asks again.
        let Look::Ask(again) = book.look(&WANTED, book.rounds("quotes:<>")) else { panic!("it may have changed") };
        assert_eq!(again, round + 1);
        book.not_asked("quotes:<>", again);
        assert!(matches!(book.look(&WANTED, again), Look::Ask(_)), "a question that was given up is left to others");
    }

    #[test]
    fn who_knows_the_message_in_its_version_and_is_not_tried_gets_it() {
        let book = book(&["a"]);
        book.learn(description("b", "north", vec![takes("Quote", 3)]));
        let newer = Wanted { version: 3, ..WANTED };
        let first = turn(&book, &newer);
        assert_eq!(first.instance.inbox(), "b");
        let tried = [Arc::clone(&first.instance)];
        let again = Wanted { tried: &tried, ..newer };
        assert!(matches!(book.look(&again, 0), Look::Nobody) && book.is_taken("quotes:<>"));
        assert_eq!(turn(&book, &Wanted { tried: &tried, ..WANTED }).instance.inbox(), "a");
        assert_eq!(turn(&book, &Wanted { group: Some("north"), ..WANTED }).instance.inbox(), "b");
        assert!(matches!(book.look(&Wanted { message: "Other", ..WANTED }, 0), Look::Nobody));
    }

    #[test]
    fn the_one_with_the_fewest_unanswered_gets_it_in_turn_and_who_is_overdue_comes_last() {
        let book = book(&["a", "b", "c"]);
        let mut held: Vec<Turn> = (0..6).map(|_| turn(&book, &WANTED)).collect();
        let count = |held: &[Turn], inbox| held.iter().filter(|turn| turn.instance.inbox() == inbox).count();
        assert_eq!(["a", "b", "c"].map(|inbox| count(&held, inbox)), [2, 2, 2]);
        held.retain(|turn| turn.instance.inbox() != "b");
        let next = turn(&book, &WANTED);
        assert_eq!(next.instance.inbox(), "b");
        next.instance.is_overdue();
        held.push(turn(&book, &WANTED));
        assert_ne!(held[4].instance.inbox(), "b", "it would seem to have least to do");
        next.instance.answers();
        assert_eq!(turn(&book, &WANTED).instance.inbox(), "b");
    }

    #[test]
    fn who_stops_or_is_gone_gets_nothing_and_comes_back_as_another() {
        let book = book(&["a", "b"]);
        book.learn(Description { state: State::Stopping, ..description("a", "shop", vec![takes("Quote", 1)]) });
        let held = turn(&book, &WANTED);
        assert_eq!(held.instance.inbox(), "b");
        assert!(book.lost(&held.instance) && !book.lost(&held.instance), "one of all finds out");
        assert!(held.instance.is_gone());
        assert!(matches!(book.look(&WANTED, 0), Look::Nobody));
        book.learn(description("b", "shop", vec![takes("Quote", 1)]));
        let again = turn(&book, &WANTED);
        assert!(!again.instance.is_gone() && !Arc::ptr_eq(&again.instance, &held.instance));
        // What is found out of the one of before says nothing of this one.
        book.lost(&held.instance);
        assert_eq!(turn(&book, &WANTED).instance.inbox(), "b");
    }

    #[test]
    fn what_an_instance_says_again_changes_nothing_and_what_it_says_anew_counts() {
        let book = book(&["a"]);
        let held = turn(&book, &WANTED);
        book.learn(description("a", "shop", vec![takes("Quote", 1)]));
        assert!(Arc::ptr_eq(&turn(&book, &WANTED).instance, &held.instance));
        book.learn(description("a", "shop", vec![takes("Quote", 2)]));
        assert!(matches!(book.look(&Wanted { version: 2, ..WANTED }, 0), Look::Turn(_)));
    }

    #[test]
    fn after_a_gap_it_is_asked_anew() {
        let book = book(&["a"]);
        book.gap();
        let Look::Ask(round) = book.look(&WANTED, 1) else { panic!("others may have come") };
        // Whoever is known may be asked meanwhile.
        assert!(matches!(book.look(&WANTED, 1), Look::Turn(_)));
        book.gap();
        book.asked("quotes:<>", round, Some(1));
        assert!(matches!(book.look(&WANTED, 1), Look::Ask(_)), "the answer to a question before the gap says nothing");
    }

    #[test]
    fn groups_are_complete_when_all_have_answered_or_enough_was_waited() {
        let book = Book::default();
        let (groups, Look::Ask(round)) = book.groups(&WANTED, 0) else { panic!("nobody has asked") };
        assert!(groups.is_empty());
        book.asked("quotes:<>", round, Some(3));
        for (inbox, group) in [("a", "north"), ("b", "south")] {
            book.learn(answer(round, 1, description(inbox, group, vec![takes("Quote", 1)])));
        }
        let (groups, Look::Wait) = book.groups(&WANTED, 0) else { panic!("one has not answered") };
        assert_eq!(groups, ["north", "south"]);
        book.enough("quotes:<>");
        let (groups, Look::Turn(_)) = book.groups(&WANTED, 0) else { panic!("it was waited enough") };
        assert_eq!(groups, ["north", "south"]);
        assert_eq!(book.shared(), [("Quote".to_owned(), vec!["north".to_owned(), "south".to_owned()])]);
    }
}
