//! What an instance has of a queue, as its worker and its keeper both know it.
//!
//! The worker adds what has arrived and removes what is settled, a batch under one lock; the keeper renews what is there. So a handler that blocks
//! its thread, and its worker with it, keeps its lease.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    message::lease::Lease,
    serve::policy::rounds::renewed_until,
    transport::durable::task::{Entry, EntryAt},
};

/// What an instance has of a queue.
pub(super) struct Holdings {
    lease: Duration,
    /// Of the handler.
    timeout: Option<Duration>,
    state: Mutex<State>,
    /// The number of the task whose call is polled for the first time now: it may keep its thread for long. 0 if there is none.
    polled: AtomicU64,
    /// Whether tasks went to the dead letters since the keeper looked.
    has_buried: AtomicBool,
    /// Told when something was lost. Whatever else the worker is to look at may tell it too.
    news: Arc<Notify>,
    /// Told when the keeper has something to look for.
    keeper: Arc<Notify>,
}

#[derive(Default)]
struct State {
    held: Vec<Option<Holding>>,
    vacant: Vec<u32>,
    /// Of the last one that was added.
    number: u64,
    lost: Vec<HoldingId>,
    /// Settled by the instance when they were not its own any more: perhaps somebody has cancelled them.
    doubts: Vec<Doubt>,
    /// Cancelled lately and not here, the oldest first: the answer that brings one of them may be on its way still.
    cancelled: VecDeque<(EntryAt, Instant)>,
    calls: Calls,
    /// Whether an answer may have been lost, and with it tasks that nobody knows of.
    may_miss: bool,
    /// What could not be renewed in time, and has stopped here: it may still be the instance's for the server.
    given_up: HashSet<EntryAt>,
}

/// How many calls of the reader have begun, and how many of them have ended and brought what they had.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    begun: u64,
    ended: u64,
}

struct Holding {
    number: u64,
    at: EntryAt,
    lease: Lease,
    /// Until then it is renewed, from when its handler has begun.
    renewed_until: Option<Instant>,
    /// Whether the worker was told.
    is_lost: bool,
    /// Whether it is lost because somebody has cancelled the task.
    is_cancelled: bool,
    /// Whether it is lost because it could not be renewed in time, which is no fault of its handler.
    is_given_up: bool,
}

/// A task that was settled when it was not the instance's any more.
struct Doubt {
    at: EntryAt,
    until: Instant,
    is_cancelled: bool,
}

/// What is known of doubts by now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Somebody has cancelled them.
    pub(super) cancelled: u64,
    /// Another instance has them, or had.
    pub(super) lost: u64,
    /// When the next ones are judged.
    pub(super) next: Option<Instant>,
}

/// What a call of the reader has brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) held: Vec<(HoldingId, Lease)>,
    /// Whether one of them was cancelled before it arrived.
    pub(super) is_any_lost: bool,
}

/// The news that a task was cancelled may be faster than the answer that brings it, by so much.
const AHEAD: Duration = Duration::from_secs(10);
/// Of so many at most: those of other instances are among them.
const MOST_AHEAD: usize = 1_024;
/// The news that a task was cancelled takes another way than the answer to its settlement, and may come so long after it.
const IN_DOUBT: Duration = Duration::from_millis(500);

/// Names what is held; no other one ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HoldingId {
    index: u32,
    number: u64,
}

/// What is to be renewed.
pub(super) struct Renewal {
    id: HoldingId,
    pub(super) at: EntryAt,
}

impl Holdings {
    pub(super) fn new(lease: Duration, timeout: Option<Duration>, keeper: Arc<Notify>) -> Self {
        Self {
            lease,
            timeout,
            state: Mutex::default(),
            polled: AtomicU64::new(0),
            has_buried: AtomicBool::new(false),
            news: Arc::default(),
            keeper,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of the instance's goes to the dead letters, where others may leave for it.
    pub(super) fn buried(&self) {
        self.has_buried.store(true, Ordering::Relaxed);
    }

    /// Whether that was so since this was asked last.
    pub(super) fn takes_buried(&self) -> bool {
        self.has_buried.swap(false, Ordering::Relaxed)
    }

    /// A call of the reader begins.
    pub(super) fn call_begins(&self) {
        self.state().calls.begun += 1;
    }

    /// A call of the reader has ended, and has brought these, whose leases end then if they are not renewed.
    pub(super) fn call_ended(&self, entries: &[Entry], ends: Instant) -> Brought {
        let mut state = self.state();
        state.calls.ended += 1;
        let held: Vec<_> = entries.iter().map(|entry| state.add(entry, ends)).collect();
        let is_any_lost = !state.cancelled.is_empty() && state.cancel_arrivals(&held);
        Brought { held, is_any_lost }
    }

    /// The reader has another connection: what the one before was given may not have arrived.
    pub(super) fn may_miss(&self) {
        self.state().may_miss = true;
        self.keeper.notify_one();
    }

    /// A handler has begun, and waits for something.
    pub(super) fn begun(&self, id: HoldingId, now: Instant) {
        let until = renewed_until(now, self.timeout, self.lease);
        if let Some(holding) = self.state().get(id) {
            holding.renewed_until = until;
        }
    }

    /// A call begins to be polled for the first time.
    #[inline]
    pub(super) fn polls(&self, id: HoldingId) {
        self.polled.store(id.number, Ordering::Relaxed);
    }

    /// That is over.
    #[inline]
    pub(super) fn polled(&self) {
        self.polled.store(0, Ordering::Relaxed);
    }

    /// Somebody has cancelled a task. It is lost, where it is here.
    pub(super) fn cancelled(&self, at: EntryAt, now: Instant) {
        let mut state = self.state();
        if let Some(doubt) = state.doubts.iter_mut().find(|doubt| doubt.at == at) {
            doubt.is_cancelled = true;
            drop(state);
            return self.news.notify_one();
        }
        match state.find(&at) {
            Some(id) => state.cancel(id),
            None => state.note_cancelled(at, now),
        }
        self.tell(state);
    }

    /// The server says that it is not the instance's any more.
    pub(super) fn lost(&self, at: &EntryAt) {
        let mut state = self.state();
        if let Some(id) = state.find(at) {
            state.lose(id);
        }
        self.tell(state);
    }

    /// Whether somebody has cancelled it.
    pub(super) fn is_cancelled(&self, id: HoldingId) -> bool {
        self.state().get(id).is_some_and(|holding| holding.is_cancelled)
    }

    /// They were settled too late, and are released. Why that was so is known a little later: by [`judged`](Self::judged).
    pub(super) fn were_stale(&self, ids: Vec<HoldingId>, now: Instant) {
        let mut state = self.state();
        for id in ids {
            if let Some(Holding { at, is_cancelled, .. }) = state.take(id) {
                state.doubts.push(Doubt { at, until: now + IN_DOUBT, is_cancelled });
            }
        }
    }

    /// What is known by now of those that were settled too late; of all of them where it is `None`.
    pub(super) fn judged(&self, now: Option<Instant>) -> Judged {
        let mut state = self.state();
        let mut judged = Judged::default();
        state.doubts.retain(|doubt| {
            let is_over = now.is_none_or(|now| doubt.until <= now);
            judged.cancelled += u64::from(doubt.is_cancelled);
            judged.lost += u64::from(is_over && !doubt.is_cancelled);
            !is_over && !doubt.is_cancelled
        });
        judged.next = state.doubts.iter().map(|doubt| doubt.until).min();
        judged
    }

    /// They are settled, or lost.
    pub(super) fn release(&self, ids: impl IntoIterator<Item = HoldingId>) {
        let mut state = self.state();
        for id in ids {
            state.take(id);
        }
    }

    /// They were lost, and have stopped.
    pub(super) fn let_go(&self, ids: impl IntoIterator<Item = HoldingId>) {
        let mut state = self.state();
        let given_up = |holding: Holding| holding.is_given_up.then_some(holding.at);
        for id in ids {
            let given_up = state.take(id).and_then(given_up);
            state.may_miss |= given_up.is_some();
            state.given_up.extend(given_up);
        }
        let may_miss = state.may_miss;
        drop(state);
        if may_miss {
            self.keeper.notify_one();
        }
    }

    /// Completes when something was lost, or the worker is to look at something else.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn has_news(&self) {
        self.news.notified().await;
    }

    /// What tells the worker.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// What was lost since this was asked last.
    pub(super) fn take_lost(&self) -> HashSet<HoldingId> {
        std::mem::take(&mut self.state().lost).into_iter().collect()
    }

    /// What the keeper is to renew: all but what is lost, and handlers that have not given way for too long. What is lost only because it could not be
    /// renewed stays the instance's until its handler has stopped, or what has become of it has arrived.
    pub(super) fn to_renew(&self, now: Instant) -> Vec<Renewal> {
        let polled = self.polled.load(Ordering::Relaxed);
        let mut state = self.state();
        let mut renewals = Vec::with_capacity(state.held.len());
        for (index, holding) in state.held.iter_mut().enumerate() {
            let Some(holding) = holding else { continue };
            if holding.number == polled && holding.renewed_until.is_none() {
                // It has begun since the last look, and keeps its thread.
                holding.renewed_until = renewed_until(now, self.timeout, self.lease);
            }
            if (!holding.is_lost || holding.is_given_up) && holding.renewed_until.is_none_or(|until| now < until) {
                renewals.push(Renewal { id: holding.id(index), at: holding.at.clone() });
            }
        }
        renewals
    }

    /// They were renewed, asked for at this time, but for those that the server says are lost.
    pub(super) fn renewed(&self, renewals: &[Renewal], asked: Instant, lost: Vec<EntryAt>) {
        let lost: HashSet<EntryAt> = lost.into_iter().collect();
        let mut state = self.state();
        for Renewal { id, at } in renewals {
            if lost.contains(at) {
                state.lose_to_others(*id);
            } else if let Some(holding) = state.get(*id).filter(|holding| !holding.is_lost) {
                holding.lease.renewed(asked + self.lease);
            }
        }
        self.tell(state);
    }

    /// What could not be renewed until its lease was over is lost.
    pub(super) fn expire(&self, now: Instant) {
        let mut state = self.state();
        let ended = |(index, holding): (usize, &Option<Holding>)| {
            let holding = holding.as_ref().filter(|holding| !holding.is_lost && holding.lease.ends() <= now)?;
            Some(holding.id(index))
        };
        let ended: Vec<HoldingId> = state.held.iter().enumerate().filter_map(ended).collect();
        // The server may still take them for the instance's, which does not work on them any more.
        state.may_miss |= !ended.is_empty();
        for id in ended {
            if let Some(holding) = state.get(id) {
                // A handler that has not given way for too long is not renewed, and that is its own fault.
                holding.is_given_up = holding.renewed_until.is_none_or(|until| holding.lease.ends() < until);
            }
            state.lose(id);
        }
        self.tell(state);
    }

    /// Of what the server says that the instance has, what it has given up, and the rest.
    pub(super) fn given_up(&self, pending: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
        let given_up = std::mem::take(&mut self.state().given_up);
        pending.into_iter().partition(|entry| given_up.contains(&entry.at))
    }

    /// When the next lease is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let state = self.state();
        state.held.iter().flatten().filter(|holding| !holding.is_lost).map(|holding| holding.lease.ends()).min()
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        let is_told = !state.lost.is_empty();
        drop(state);
        if is_told {
            self.news.notify_one();
        }
    }

    /// Whether the keeper is to ask the server what it says that the instance has; asked once for each time.
    pub(super) fn takes_may_miss(&self) -> bool {
        std::mem::take(&mut self.state().may_miss)
    }

    /// How many calls of the reader had begun when the server was asked what the instance has.
    pub(super) fn calls_begun(&self) -> u64 {
        self.state().calls.begun
    }

    /// Whether all of so many calls have ended: what they brought is known then.
    pub(super) fn have_ended(&self, calls: u64) -> bool {
        self.state().calls.ended >= calls
    }

    /// Those that the instance does not know of.
    pub(super) fn unknown(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let state = self.state();
        let held: HashSet<&EntryAt> = state.held.iter().flatten().map(|holding| &holding.at).collect();
        entries.into_iter().filter(|entry| !held.contains(&entry.at)).collect()
    }
}

impl State {
    fn add(&mut self, entry: &Entry, ends: Instant) -> (HoldingId, Lease) {
        self.number += 1;
        let lease = Lease::new(entry.token(), ends);
        let holding = Holding {
            number: self.number,
            at: entry.at.clone(),
            lease: lease.clone(),
            renewed_until: None,
            is_lost: false,
            is_cancelled: false,
            is_given_up: false,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.held[index as usize] = Some(holding);
                index
            }
            None => {
                self.held.push(Some(holding));
                u32::try_from(self.held.len() - 1).unwrap_or(u32::MAX)
            }
        };
        (HoldingId { index, number: self.number }, lease)
    }

    fn get(&mut self, id: HoldingId) -> Option<&mut Holding> {
        self.held.get_mut(id.index as usize)?.as_mut().filter(|holding| holding.number == id.number)
    }

    fn find(&self, at: &EntryAt) -> Option<HoldingId> {
        let is_it = |(index, holding): (usize, &Option<Holding>)| {
            holding.as_ref().filter(|holding| holding.at == *at).map(|holding| holding.id(index))
        };
        self.held.iter().enumerate().find_map(is_it)
    }

    /// Somebody has cancelled it.
    fn cancel(&mut self, id: HoldingId) {
        if let Some(holding) = self.get(id) {
            holding.is_cancelled = true;
        }
        self.lose(id);
    }

    /// Remembers one that is not here, and forgets those that will not come any more.
    fn note_cancelled(&mut self, at: EntryAt, now: Instant) {
        let is_over = |(_, since): &(EntryAt, Instant)| now.saturating_duration_since(*since) > AHEAD;
        while self.cancelled.len() >= MOST_AHEAD || self.cancelled.front().is_some_and(is_over) {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back((at, now));
    }

    /// Whether some of what has just arrived were cancelled before.
    fn cancel_arrivals(&mut self, held: &[(HoldingId, Lease)]) -> bool {
        let mut is_any_lost = false;
        for (id, _) in held {
            let Some(at) = self.get(*id).map(|holding| holding.at.clone()) else { continue };
            if let Some(index) = self.cancelled.iter().position(|(cancelled, _)| *cancelled == at) {
                self.cancelled.remove(index);
                self.cancel(*id);
                is_any_lost = true;
            }
        }
        is_any_lost
    }

    fn take(&mut self, id: HoldingId) -> Option<Holding> {
        self.get(id)?;
        self.vacant.push(id.index);
        self.held[id.index as usize].take()
    }

    /// It is not the instance's any more.
    fn lose_to_others(&mut self, id: HoldingId) {
        if let Some(holding) = self.get(id) {
            holding.is_given_up = false;
        }
        self.lose(id);
    }

    fn lose(&mut self, id: HoldingId) {
        if let Some(holding) = self.get(id)
            && !std::mem::replace(&mut holding.is_lost, true)
        {
            self.lost.push(id);
        }
    }
}

impl Holding {
    fn id(&self, index: usize) -> HoldingId {
        HoldingId { index: u32::try_from(index).unwrap_or(u32::MAX), number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::transport::durable::record::Record;

    use super::*;

    fn entry(number: u32) -> Entry {
        let at = EntryAt { channel: "tasks".into(), is_back: false, entry: format!("{number}-0").into() };
        let (id, payload, record) = (at.entry.clone(), Bytes::new(), Record::default());
        Entry { at, id, name: None, version: None, payload, record, unique: None, expires_at: None }
    }

    fn holdings() -> (Holdings, Instant) {
        (Holdings::new(Duration::from_secs(30), None, Arc::default()), Instant::now())
    }

    fn arrives(holdings: &Holdings, number: u32, now: Instant) -> (HoldingId, bool) {
        let Brought { held, is_any_lost } = holdings.call_ended(&[entry(number)], now);
        (held[0].0, is_any_lost)
    }

    #[test]
    fn a_task_that_is_cancelled_is_lost_whether_the_news_comes_before_it_or_behind_it() {
        let (holdings, now) = holdings();
        let (first, is_lost) = arrives(&holdings, 1, now);
        assert!(!is_lost);
        holdings.cancelled(entry(1).at, now);
        assert_eq!((holdings.take_lost(), holdings.is_cancelled(first)), (HashSet::from([first]), true));
        holdings.cancelled(entry(2).at, now);
        assert!(holdings.take_lost().is_empty());
        let (second, is_lost) = arrives(&holdings, 2, now);
        assert!(is_lost && holdings.is_cancelled(second));
        assert_eq!(holdings.take_lost(), HashSet::from([second]));
        // What is remembered of others is bounded, in number and in time.
        for number in 100..100 + 2 * MOST_AHEAD as u32 {
            holdings.cancelled(entry(number).at, now);
        }
        assert_eq!(holdings.state().cancelled.len(), MOST_AHEAD);
        holdings.cancelled(entry(3).at, now + AHEAD * 2);
        assert_eq!(holdings.state().cancelled.len(), 1);
    }

    #[test]
    fn what_was_settled_too_late_is_lost_unless_it_is_heard_that_it_was_cancelled() {
        let (holdings, now) = holdings();
        let ids: Vec<HoldingId> = (1..=3).map(|number| arrives(&holdings, number, now).0).collect();
        holdings.cancelled(entry(1).at, now);
        holdings.were_stale(ids, now);
        let next = Some(now + IN_DOUBT);
        assert_eq!(holdings.judged(Some(now)), Judged { cancelled: 1, lost: 0, next });
        holdings.cancelled(entry(2).at, now);
        assert_eq!(holdings.judged(Some(now)), Judged { cancelled: 1, lost: 0, next });
        assert_eq!(holdings.judged(Some(now + IN_DOUBT)), Judged { cancelled: 0, lost: 1, next: None });
        assert!(holdings.to_renew(now).is_empty());
    }

    #[test]
    fn what_is_not_renewed_in_time_is_given_up_unless_its_handler_did_not_give_way() {
        let (lease, timeout, now) = (Duration::from_secs(30), Duration::from_secs(60), Instant::now());
        let holdings = Holdings::new(lease, Some(timeout), Arc::default());
        let ids: Vec<HoldingId> = (1..=2).map(|number| arrives(&holdings, number, now + lease).0).collect();
        holdings.begun(ids[0], now);
        holdings.expire(now + lease - Duration::from_secs(1));
        assert!(holdings.take_lost().is_empty() && !holdings.takes_may_miss());
        // The second begins later, and is not renewed beyond its time.
        holdings.begun(ids[1], now);
        let renewals = holdings.to_renew(now);
        holdings.renewed(&renewals[1..], now + timeout, Vec::new());
        for (after, lost) in [(lease, ids[0]), (timeout + lease, ids[1])] {
            holdings.expire(now + after);
            assert_eq!((holdings.take_lost(), holdings.takes_may_miss()), (HashSet::from([lost]), true));
        }
        let end = timeout + lease;
        let renewed = |after| holdings.to_renew(now + after).len();
        assert_eq!((renewed(end - Duration::from_nanos(1)), renewed(end)), (1, 0));
        // Those that have ended are settled still.
        assert!(holdings.given_up(vec![entry(1)]).0.is_empty());
        assert_eq!(holdings.to_renew(now).iter().map(|renewal| renewal.id).collect::<Vec<_>>(), [ids[0]]);
        holdings.let_go(ids);
        assert!(holdings.takes_may_miss() && holdings.to_renew(now).is_empty());
        let numbers = |entries: Vec<Entry>| entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>();
        let (given_up, others) = holdings.given_up((1..=3).map(entry).collect());
        assert_eq!((numbers(given_up), numbers(others)), (vec!["1-0".into()], vec!["2-0".into(), "3-0".into()]));
        assert!(holdings.given_up(vec![entry(1)]).0.is_empty(), "once");
    }

    #[test]
    fn what_the_server_says_is_lost_is_not_given_up() {
        let (holdings, now) = holdings();
        let (id, _) = arrives(&holdings, 1, now);
        holdings.expire(now);
        let renewals = holdings.to_renew(now);
        holdings.renewed(&renewals, now, vec![entry(1).at]);
        assert!(holdings.to_renew(now).is_empty() && holdings.takes_may_miss());
        holdings.let_go([id]);
        assert!(!holdings.takes_may_miss() && holdings.given_up(vec![entry(1)]).0.is_empty());
    }
}
