//! What becomes of a task after an attempt, however it ended.
//!
//! Failures and crashes are counted apart, and each has a bound of its own; whatever else brings a task back costs nothing. Each record that is
//! written here counts one owner more than the one before: tokens only grow.

use std::{sync::Arc, time::Duration};

use crate::{
    handler::outcome::Rule,
    route::entry::{HandlerOptions, WorkOptions},
    transport::durable::{
        contract::OverdueEntry,
        record::{LONGEST_ERROR, NAMES_OF_DEAD, Record},
        task::{DeadReason, Entry, NewTask, OnceKey, Settlement, Verdict, Why},
    },
};

/// After so long a task that nobody knows is parked, unless it is said otherwise.
pub(crate) const PARK_AFTER: Duration = Duration::from_secs(60 * 60);
/// The first pause of a task that an instance does not know, or that another task is in the way of; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one: so long it takes at most until an instance that is new and knows it may have it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What decides about the tasks of one handler.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    work: WorkOptions,
    timeout: Option<Duration>,
    park_after: Duration,
    /// Which decides.
    instance: Arc<str>,
}

/// When it is decided, and by what chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// By the server's clock, in milliseconds.
    pub(crate) now: u64,
    /// Drawn anew for each decision, from all numbers alike.
    pub(crate) random: u64,
}

/// How an attempt ended, or why there was none.
#[derive(Debug)]
pub(crate) enum How {
    /// The handler succeeded.
    Succeeded {
        follow_ups: Vec<NewTask>,
    },
    /// The handler returned an error, and this is what is to be done about it.
    Failed {
        rule: Rule,
        error: String,
    },
    Panicked,
    /// It took longer than its timeout, and was stopped.
    TimedOut,
    /// The instance is stopping, and has not begun with it or could not finish it.
    HandedBack,
    /// Better tasks have taken its place, before it has begun.
    Displaced,
    /// The instance does not know its name or its version.
    Unknown,
    /// It is of a known version, and cannot be decoded.
    Undecodable {
        error: String,
    },
    /// The handler runs once, and this is not the first time.
    Once(OnceBefore),
    /// It has waited too long.
    Expired,
}

/// Why a task of a handler that runs once does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnceBefore {
    /// It was done before.
    Done,
    /// Another owner had begun it, and is gone.
    Unfinished,
    /// Another task with the same key is running, or may be. It is looked at again later.
    Elsewhere,
}

/// What an instance does with a task that it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Run,
    /// Settle it as [`How::Unknown`].
    Unknown,
    /// Settle it as [`How::Expired`].
    Expired,
}

/// What an instance does with a task that it has taken, where it knows this wire name up to this version. What an entry does not say of itself is
/// the handler's own.
pub(crate) fn admit(entry: &Entry, name: &str, version: u32, now: u64) -> Admission {
    if entry.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Admission::Expired;
    }
    let has_name = entry.name.as_deref().is_none_or(|own| own == name);
    let has_version = entry.version.is_none_or(|own| own <= u64::from(version));
    if has_name && has_version { Admission::Run } else { Admission::Unknown }
}

impl Policy {
    pub(crate) fn new(options: &HandlerOptions, park_after: Duration, instance: Arc<str>) -> Self {
        Self { work: options.work, timeout: options.timeout, park_after, instance }
    }

    /// What is to become of a task that this instance has. Of one that it has lost there is nothing to decide. `once` is the key of a handler that runs once: where the
    /// handler has begun, or has not because of what was found there.
    pub(crate) fn settle(&self, entry: &Entry, once: Option<OnceKey>, how: How, moment: Moment) -> Settlement {
        let has_begun = once.is_some();
        let (verdict, settles_key) = match how {
            How::Succeeded { follow_ups } => (Verdict::Done { follow_ups }, true),
            How::Failed { rule, error } => (self.failed(entry, rule, &error, moment), true),
            // Nobody knows how far it came.
            How::Panicked if has_begun => (self.unfinished(entry, "the handler panicked"), true),
            How::TimedOut if has_begun => (self.unfinished(entry, &self.too_long()), true),
            How::HandedBack if has_begun => (self.unfinished(entry, "its instance stopped before it was done"), true),
            How::Panicked => (self.failure(entry, "the handler panicked", moment), false),
            How::TimedOut => (self.failure(entry, &self.too_long(), moment), false),
            How::HandedBack | How::Displaced => (handed_back(entry), false),
            How::Unknown => (self.unknown(entry, moment.now), false),
            How::Undecodable { error } => (self.dead(with_error(moved(entry), &error), DeadReason::Undecodable), false),
            How::Once(OnceBefore::Done) => (Verdict::Done { follow_ups: Vec::new() }, false),
            How::Once(OnceBefore::Unfinished) => {
                (self.unfinished(entry, "another owner had begun it, and has not finished it"), true)
            }
            How::Once(OnceBefore::Elsewhere) => (elsewhere(entry), false),
            How::Expired => (Verdict::Expired, false),
        };
        settlement(entry, once.filter(|_| settles_key), verdict)
    }

    /// What is to become of a task whose owner's lease is over: a crash where the owner has died, and a failure where it only did not let go of it.
    ///
    /// A handler that runs once and had begun is found out by its next owner.
    pub(crate) fn reclaim(&self, overdue: &OverdueEntry, moment: Moment) -> Settlement {
        let OverdueEntry { entry, owner, has_died } = overdue;
        let verdict = if *has_died {
            self.crashed(entry, owner)
        } else {
            self.failure(entry, &format!("the instance {owner} lost its lease"), moment)
        };
        settlement(entry, None, verdict)
    }

    /// What is to become of a task that this instance was given and does not know of: an answer was lost, or the instance has just connected
    /// again, and it has not begun; or its lease could not be renewed in time, which is no fault of its handler.
    pub(crate) fn found(&self, entry: &Entry) -> Settlement {
        settlement(entry, None, handed_back(entry))
    }

    fn failed(&self, entry: &Entry, rule: Rule, error: &str, moment: Moment) -> Verdict {
        match rule {
            Rule::Retry => self.failure(entry, error, moment),
            Rule::RetryAfter(after) => {
                let record = with_error(known(entry), error);
                let record = Record { snoozes: record.snoozes.saturating_add(1), ..record };
                Verdict::Again { why: Why::Snoozed, after: Some(after), record }
            }
            Rule::DeadLetter => {
                let record = with_error(known(entry), error);
                let record = Record { failures: record.failures.saturating_add(1), ..record };
                self.dead(record, DeadReason::Refused)
            }
            Rule::Discard => Verdict::Discarded,
        }
    }

    fn failure(&self, entry: &Entry, error: &str, moment: Moment) -> Verdict {
        let record = with_error(known(entry), error);
        let record = Record { failures: record.failures.saturating_add(1), ..record };
        if record.failures > self.work.retries {
            return self.dead(record, DeadReason::Failed);
        }
        let after = Some(pause(self.work.backoff, record.failures, moment.random));
        Verdict::Again { why: Why::Failed, after, record }
    }

    fn crashed(&self, entry: &Entry, owner: &str) -> Verdict {
        let mut record = known(entry);
        record.crashes = record.crashes.saturating_add(1);
        record.died.push(owner.to_owned());
        let forgotten = record.died.len().saturating_sub(NAMES_OF_DEAD);
        record.died.drain(..forgotten);
        if record.crashes >= self.work.crashes {
            let died =
                format!("instances died while they had it, {} in all: {}", record.crashes, record.died.join(", "));
            return self.dead(with_error(record, &died), DeadReason::Crashed);
        }
        Verdict::Again { why: Why::Crashed, after: None, record }
    }

    fn unknown(&self, entry: &Entry, now: u64) -> Verdict {
        let mut record = moved(entry);
        // What a failure said before stays: whoever looks at the task learns more from that.
        if record.error.as_deref().is_none_or(is_of_nobody) {
            let name = entry.name.as_deref().unwrap_or_default();
            let version = entry.version.map_or_else(String::new, |version| format!(" in version {version}"));
            let instance = &self.instance;
            record =
                with_error(record, &format!("{NOBODY} `{name}`{version}; the last one that had it was {instance}"));
        }
        let since = *record.unknown_since.get_or_insert(now);
        if Duration::from_millis(now.saturating_sub(since)) >= self.park_after {
            // Whoever takes it from there begins to count anew.
            return Verdict::Park { record: Record { unknown: 0, unknown_since: None, ..record } };
        }
        let after = Some(doubled(FIRST_PAUSE, LONGEST_PAUSE, record.unknown));
        record.unknown = record.unknown.saturating_add(1);
        Verdict::Again { why: Why::Unknown, after, record }
    }

    /// Nothing with its key runs, until whoever replays or deletes the dead letter has decided that it may.
    fn unfinished(&self, entry: &Entry, error: &str) -> Verdict {
        self.dead(with_error(known(entry), error), DeadReason::Unfinished)
    }

    fn dead(&self, record: Record, reason: DeadReason) -> Verdict {
        Verdict::Dead { record, reason, instance: Arc::clone(&self.instance) }
    }

    fn too_long(&self) -> String {
        match self.timeout {
            Some(timeout) => format!("the handler took longer than {timeout:?}"),
            None => "the handler took too long".to_owned(),
        }
    }
}

fn settlement(entry: &Entry, once: Option<OnceKey>, verdict: Verdict) -> Settlement {
    Settlement {
        at: entry.at.clone(),
        id: Arc::clone(&entry.id),
        unique: entry.unique.clone(),
        once,
        verdict,
        beside: None,
    }
}

fn handed_back(entry: &Entry) -> Verdict {
    let record = moved(entry);
    let record = Record { hand_backs: record.hand_backs.saturating_add(1), ..record };
    Verdict::Again { why: Why::HandedBack, after: None, record }
}

/// It waits for the end of another task.
fn elsewhere(entry: &Entry) -> Verdict {
    let record = known(entry);
    let after = Some(doubled(FIRST_PAUSE, LONGEST_PAUSE, record.snoozes));
    Verdict::Again { why: Why::Snoozed, after, record: Record { snoozes: record.snoozes.saturating_add(1), ..record } }
}

/// The record of a task that leaves its owner.
fn moved(entry: &Entry) -> Record {
    Record { owners: entry.token(), enqueued_at: entry.enqueued_at(), ..entry.record.clone() }
}

/// The same, of one whose owner knew it.
fn known(entry: &Entry) -> Record {
    let record = moved(entry);
    let error = record.error.filter(|error| !is_of_nobody(error));
    Record { unknown: 0, unknown_since: None, error, ..record }
}

/// How the error of a task begins that goes from instance to instance.
const NOBODY: &str = "no instance has known";

fn is_of_nobody(error: &str) -> bool {
    error.starts_with(NOBODY)
}

fn with_error(record: Record, error: &str) -> Record {
    let mut end = error.len().min(LONGEST_ERROR);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    Record { error: Some(error[..end].to_owned()), ..record }
}

/// The pause after so many failures, at least one: anything up to the doubled one.
fn pause((first, longest): (Duration, Duration), failures: u32, random: u64) -> Duration {
    let ceiling = doubled(first, longest, failures.saturating_sub(1));
    let nanos = (ceiling.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// `first`, doubled so many times, but no longer than `longest`.
fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}
