//! What was published, what arrived, and what that proves.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, GapCause, Message, PublishError, Subscription};
use tidings_tests::{Recorder, eventually};
use tokio::task::JoinSet;

use crate::seed::seed;

/// A deadline for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// An entry of the ledger: number `n` of a publisher, with a text that only this entry has.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[channel("ledger:<publisher>")]
pub(crate) struct Entry {
    pub(crate) publisher: u64,
    pub(crate) n: u64,
    pub(crate) check: String,
}

impl Entry {
    pub(crate) fn new(publisher: u64, n: u64) -> Self {
        let mixed = seed() ^ publisher.rotate_left(32) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { publisher, n, check: format!("{publisher}/{n}/{mixed:016x}") }
    }

    fn is_genuine(&self) -> bool {
        self.check == Self::new(self.publisher, self.n).check
    }
}

/// The last number of every publisher.
const END: u64 = u64::MAX;

/// What became of a publish, as the publisher was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Certain,
    /// It may or may not have been published.
    Unknown,
    /// Nothing was published.
    Failed,
}

/// One line of a consumer's journal.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Entry {
        publisher: u64,
        n: u64,
        genuine: bool,
    },
    Gap {
        lasted: Duration,
        timeout: bool,
    },
    Lagged(u64),
    Invalid,
    /// So many were of no template: a channel that was damaged is of none, perhaps.
    Unmatched(u64),
}

/// What a journal comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) published: u64,
    pub(crate) received: u64,
    /// Missing where a gap says that something may be missing.
    pub(crate) missed_in_gaps: u64,
    /// Reported as dropped or as unreadable.
    pub(crate) lagged: u64,
    /// Missing, and nothing says so.
    pub(crate) unreported: u64,
    pub(crate) duplicates: u64,
    /// Not what was published, or not in its order.
    pub(crate) wrong: u64,
    pub(crate) gaps: Vec<Duration>,
    /// How many of the gaps are because the server was silent.
    pub(crate) timeouts: usize,
}

/// Publishers that number their messages, and consumers that write down what they see.
pub(crate) struct Ledger {
    publishers: JoinSet<()>,
    results: Arc<Mutex<HashMap<u64, Vec<Published>>>>,
    consumers: JoinSet<()>,
    journals: Vec<Recorder<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Ledger {
    /// Starts `publishers` publishers, each of `per_millisecond` messages, on one bus, and on another bus a consumer of each publisher's channel
    /// and one of the pattern over all of them.
    pub(crate) async fn open(from: &Bus, to: &Bus, publishers: u64, per_millisecond: u64) -> Self {
        let mut ledger = Self {
            publishers: JoinSet::new(),
            results: Arc::default(),
            consumers: JoinSet::new(),
            journals: Vec::new(),
            stop: Arc::default(),
        };
        for publisher in 0..publishers {
            ledger.follow(to.subscribe(Entry::channel(publisher)).await.unwrap(), 1);
        }
        ledger.follow(to.subscribe(Entry::any()).await.unwrap(), publishers);
        for publisher in 0..publishers {
            let (bus, stop, results) = (from.clone(), Arc::clone(&ledger.stop), Arc::clone(&ledger.results));
            ledger.publishers.spawn(publish(bus, publisher, per_millisecond, stop, results));
        }
        ledger
    }

    fn follow(&mut self, subscription: Subscription<Entry>, publishers: u64) {
        let journal = Recorder::new();
        self.journals.push(journal.clone());
        self.consumers.spawn(write_down(subscription, journal, publishers));
    }

    /// How many gaps the journal with the fewest has.
    pub(crate) fn gaps(&self) -> usize {
        self.journals.iter().map(|journal| gaps_in(&journal.all())).min().unwrap_or(0)
    }

    /// Waits until every journal has so many gaps, and an entry after the last of them.
    pub(crate) async fn recovered(&self, gaps: usize) {
        let back = |journal: &[Seen]| gaps_in(journal) >= gaps && matches!(journal.last(), Some(Seen::Entry { .. }));
        eventually(SOON, async || self.journals.iter().all(|journal| back(&journal.all()))).await;
    }

    /// Waits until every journal has some entries, so that what follows happens under load.
    pub(crate) async fn under_way(&self) {
        eventually(SOON, async || self.journals.iter().all(|journal| journal.len() > 20)).await;
    }

    /// Ends the publishers, waits for what they have published, and judges each journal.
    pub(crate) async fn close(mut self, from: &Bus) -> Vec<Verdict> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(result) = self.publishers.join_next().await {
            result.unwrap();
        }
        let results = std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner));
        // Each consumer ends with the last entry of its publishers. One that a loss took is sent again.
        let mut waiting = Box::pin(async { while self.consumers.join_next().await.is_some() {} });
        let ended = tokio::time::timeout(SOON, async {
            loop {
                for &publisher in results.keys() {
                    let _ = Entry::new(publisher, END).publish(from).await;
                }
                if tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_ok() {
                    return;
                }
            }
        });
        assert!(ended.await.is_ok(), "a consumer never saw the end; seed {}", seed());
        let consumers = self.journals.iter().enumerate();
        let only = |index: usize| (index < results.len()).then_some(index as u64);
        consumers.map(|(index, journal)| judge(&journal.all(), &results, only(index))).collect()
    }
}

fn gaps_in(journal: &[Seen]) -> usize {
    journal.iter().filter(|seen| matches!(seen, Seen::Gap { .. })).count()
}

async fn publish(
    bus: Bus,
    publisher: u64,
    per_millisecond: u64,
    stop: Arc<AtomicBool>,
    results: Arc<Mutex<HashMap<u64, Vec<Published>>>>,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        for _ in 0..per_millisecond {
            let entry = Entry::new(publisher, told.len() as u64);
            told.push(match entry.publish(&bus).await {
                Ok(_) => Published::Certain,
                Err(PublishError::TimedOut { .. } | PublishError::ConnectionLost { .. }) => Published::Unknown,
                Err(_) => Published::Failed,
            });
        }
    }
    results.lock().unwrap_or_else(PoisonError::into_inner).insert(publisher, told);
}

async fn write_down(mut subscription: Subscription<Entry>, journal: Recorder<Seen>, mut publishers: u64) {
    let mut ended = Vec::new();
    while publishers > 0 {
        match subscription.next().await {
            Some(Event::Message(entry)) if entry.n == END => {
                if !ended.contains(&entry.publisher) {
                    ended.push(entry.publisher);
                    publishers -= 1;
                }
            }
            Some(Event::Message(entry)) => {
                let (publisher, n, genuine) = (entry.publisher, entry.n, entry.is_genuine());
                journal.record(Seen::Entry { publisher, n, genuine });
            }
            Some(Event::Gap(gap)) => {
                let timeout = gap.cause == GapCause::Timeout;
                journal.record(Seen::Gap { lasted: gap.lasted, timeout });
            }
            Some(Event::Lagged(count)) => journal.record(Seen::Lagged(count)),
            Some(Event::Invalid(_)) => journal.record(Seen::Invalid),
            Some(_) => {}
            None => panic!("the subscription ended; seed {}", seed()),
        }
    }
    journal.record(Seen::Unmatched(subscription.stats().unmatched));
}

/// Where a journal stands with one publisher.
#[derive(Default)]
struct Account {
    next: u64,
    /// The number of gaps when the last entry came.
    gaps: usize,
}

/// Compares a journal with what was published, by one publisher or by all.
fn judge(journal: &[Seen], results: &HashMap<u64, Vec<Published>>, only: Option<u64>) -> Verdict {
    let concerns = |publisher: u64| only.is_none_or(|only| only == publisher);
    let mut accounts: HashMap<u64, Account> = results
        .keys()
        .filter(|&&publisher| concerns(publisher))
        .map(|&publisher| (publisher, Account::default()))
        .collect();
    let mut verdict = Verdict::default();
    for seen in journal {
        match *seen {
            Seen::Gap { lasted, timeout } => {
                verdict.gaps.push(lasted);
                verdict.timeouts += usize::from(timeout);
            }
            Seen::Lagged(count) | Seen::Unmatched(count) => verdict.lagged += count,
            Seen::Invalid => verdict.lagged += 1,
            Seen::Entry { publisher, n, genuine } => {
                let Some(account) = accounts.get_mut(&publisher) else {
                    verdict.wrong += 1;
                    continue;
                };
                let told = &results[&publisher];
                let attempted = told.get(usize::try_from(n).unwrap()).is_some_and(|told| *told != Published::Failed);
                if !genuine || !attempted {
                    verdict.wrong += 1;
                } else if n < account.next {
                    verdict.duplicates += 1;
                } else {
                    missed(&mut verdict, account, told, n);
                    verdict.received += 1;
                    *account = Account { next: n + 1, gaps: verdict.gaps.len() };
                }
            }
        }
    }
    for (publisher, account) in &mut accounts {
        let told = &results[publisher];
        missed(&mut verdict, account, told, told.len() as u64);
        verdict.published += certain(told, 0, told.len() as u64);
    }
    // What was dropped is known by number only.
    verdict.unreported = verdict.unreported.saturating_sub(verdict.lagged);
    verdict
}

/// Counts what is missing between an account's last entry and `n`.
fn missed(verdict: &mut Verdict, account: &Account, told: &[Published], n: u64) {
    let missing = certain(told, account.next, n);
    if verdict.gaps.len() > account.gaps {
        verdict.missed_in_gaps += missing;
    } else {
        verdict.unreported += missing;
    }
}

fn certain(told: &[Published], from: u64, to: u64) -> u64 {
    let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
    told[range].iter().filter(|told| **told == Published::Certain).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Seen {
        Seen::Entry { publisher: 0, n, genuine: true }
    }

    fn verdict(journal: &[Seen], told: &[Published]) -> (u64, u64, u64, u64) {
        let verdict = judge(journal, &HashMap::from([(0, told.to_vec())]), None);
        (verdict.unreported, verdict.missed_in_gaps, verdict.duplicates, verdict.wrong)
    }

    #[test]
    fn the_checker_finds_what_is_wrong() {
        use Published::{Certain, Failed, Unknown};
        let gap = || Seen::Gap { lasted: Duration::ZERO, timeout: false };
        assert_eq!(verdict(&[entry(0), entry(1)], &[Certain, Certain]), (0, 0, 0, 0));
        assert_eq!(verdict(&[entry(0), entry(2)], &[Certain, Unknown, Certain]), (0, 0, 0, 0));
        assert_eq!(verdict(&[entry(0), entry(2)], &[Certain, Certain, Certain]), (1, 0, 0, 0));
        assert_eq!(verdict(&[entry(1)], &[Certain, Certain]), (1, 0, 0, 0));
        assert_eq!(verdict(&[entry(0)], &[Certain, Certain]), (1, 0, 0, 0));
        assert_eq!(verdict(&[entry(0), gap(), entry(2)], &[Certain, Certain, Certain]), (0, 1, 0, 0));
        assert_eq!(verdict(&[entry(0), gap()], &[Certain, Certain]), (0, 1, 0, 0));
        assert_eq!(verdict(&[gap(), entry(0), entry(2)], &[Certain, Certain, Certain]), (1, 0, 0, 0));
        assert_eq!(verdict(&[Seen::Lagged(1), entry(1)], &[Certain, Certain]), (0, 0, 0, 0));
        assert_eq!(verdict(&[entry(0), entry(0)], &[Certain]), (0, 0, 1, 0));
        assert_eq!(verdict(&[entry(0), entry(1)], &[Certain, Failed]), (0, 0, 0, 1));
    }
}
