//! What scripts are told of tasks that come and of entries that are settled.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::Cmd;

use crate::transport::{
    durable::{
        course::{Beside, Progress, Reported, ResultBounds},
        task::{Due, EntryAt, NewTask, Settled, Settlement, Verdict, Why},
    },
    redis::queues::{course::kept, packed::Packed},
};

/// The group of consumers of each stream.
pub(super) const GROUP: &str = "tidings";
/// The most entries that are acknowledged by one command: Lua hands on 8,000 values at most.
const TOGETHER: usize = 1_000;
/// Later than this nothing is due, in milliseconds. Lua counts in floating point, and says 14 digits of a number.
const LATEST: u64 = 99_999_999_999_999;

/// Whole milliseconds: of a part of one, one.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(LATEST / 10)
}

/// The name of a stream behind the base of its queue.
pub(super) fn stream(channel: &str, is_back: bool) -> String {
    format!("{}{channel}", if is_back { "back:" } else { "new:" })
}

/// Adds the values of a new task, as the script's function `add` takes them. Its base, or the number of that, stands before them.
pub(super) fn write_task(command: &mut Cmd, task: &NewTask) {
    let due = match task.due {
        Due::Now => String::new(),
        Due::In(time) if time.is_zero() => String::new(),
        Due::In(time) => format!("+{}", millis(time)),
        Due::At(at) => format!("@{}", at.min(LATEST)),
    };
    command.arg(&task.channel).arg(&task.id).arg(task.name).arg(task.version).arg(task.payload.as_slice()).arg(due);
    write_millis(command, task.expires_in);
    command.arg(task.unique.as_ref().map_or("", |unique| &unique.key));
    write_millis(command, task.unique.as_ref().map(|unique| unique.window));
    match task.max_length {
        Some(limit) => command.arg(limit.min(LATEST)),
        None => command.arg(""),
    };
}

fn write_millis(command: &mut Cmd, time: Option<Duration>) {
    match time {
        Some(time) => command.arg(millis(time)),
        None => command.arg(""),
    };
}

/// Which settlement each digit of the answer is of.
pub(super) struct Order(Vec<usize>);

impl Order {
    /// Of so many in the order in which they were written.
    pub(super) fn of(length: usize) -> Self {
        Self((0..length).collect())
    }

    /// What counted; and how often the access rules have refused to publish something.
    pub(super) fn settled(&self, answer: &[u8]) -> Option<(Vec<Settled>, u64)> {
        let (digits, refused) = match answer.iter().position(|&byte| byte == b' ') {
            Some(at) => (&answer[..at], std::str::from_utf8(&answer[at + 1..]).ok()?.parse().ok()?),
            None => (answer, 0),
        };
        if digits.len() != self.0.len() {
            return None;
        }
        let mut settled = vec![Settled::Stale; digits.len()];
        for (&at, digit) in self.0.iter().zip(digits) {
            if *digit == b'1' {
                settled[at] = Settled::Counted;
            }
        }
        Some((settled, refused))
    }
}

/// Entries of one stream that are done and leave nothing behind but their results, where those are kept.
struct Together<'a> {
    of: &'a EntryAt,
    has_results: bool,
    settlements: Vec<usize>,
}

/// Adds settlements to the arguments of a script. Those of entries that are done and leave nothing behind come first, together.
pub(super) fn write(command: &mut Cmd, settlements: &[Settlement]) -> Order {
    let mut order = Vec::with_capacity(settlements.len());
    let mut others = Vec::new();
    let mut streams: Vec<Together> = Vec::new();
    for (at, settlement) in settlements.iter().enumerate() {
        if !is_plain(settlement) {
            others.push(at);
            continue;
        }
        let has_results = result_of(settlement).is_some();
        let same = |together: &&mut Together| {
            together.of.is_back == settlement.at.is_back
                && together.has_results == has_results
                && together.of.channel == settlement.at.channel
                && together.settlements.len() < TOGETHER
        };
        match streams.iter_mut().find(same) {
            Some(together) => together.settlements.push(at),
            None => streams.push(Together { of: &settlement.at, has_results, settlements: vec![at] }),
        }
    }
    for Together { of, has_results, settlements: these } in streams {
        command.arg(if has_results { "R" } else { "D" }).arg(stream(&of.channel, of.is_back)).arg(these.len());
        if has_results {
            write_batch(command, settlements, &these);
        } else {
            write_entries(command, settlements, &these);
            for &at in &these {
                command.arg(settlements[at].id.as_ref());
            }
        }
        order.extend(these);
    }
    for at in others {
        write_alone(command, &settlements[at]);
        order.push(at);
    }
    Order(order)
}

/// Adds settlements of the only part of a queue as `quick` takes them: all are done, came from where new tasks are, and leave nothing behind but a
/// result each, or nothing. `None` where they are others.
pub(super) fn write_quick(command: &mut Cmd, settlements: &[Settlement]) -> Option<Order> {
    let has_results = settlements.first().is_some_and(|first| result_of(first).is_some());
    let is_quick = |settlement: &Settlement| {
        is_plain(settlement) && !settlement.at.is_back && result_of(settlement).is_some() == has_results
    };
    if settlements.len() > TOGETHER || !settlements.iter().all(is_quick) {
        return None;
    }
    command.arg(if has_results { "R" } else { "D" }).arg(settlements.len());
    let all: Vec<usize> = (0..settlements.len()).collect();
    if has_results {
        write_batch(command, settlements, &all);
    } else {
        write_entries(command, settlements, &all);
    }
    Some(Order(all))
}

fn write_entries(command: &mut Cmd, settlements: &[Settlement], these: &[usize]) {
    for &at in these {
        command.arg(settlements[at].at.entry.as_ref());
    }
}

/// Adds entries with their results. What the script would have to make of each of them is made here.
fn write_batch(command: &mut Cmd, settlements: &[Settlement], these: &[usize]) {
    let batch = batch();
    let result = |&at: &usize| {
        let Settlement { id, beside, .. } = &settlements[at];
        let result = beside.as_ref().and_then(|beside| beside.result.as_deref()).unwrap_or_default();
        (id.as_bytes(), kept(Some(&batch), "completed", None, None, result))
    };
    let results: Vec<_> = these.iter().map(result).collect();
    let bytes: usize = results.iter().map(|(_, result)| result.len()).sum();
    let pairs: Vec<&[u8]> = results.iter().flat_map(|(id, result)| [*id, result]).collect();
    command.arg(&batch).arg(bytes).arg(Packed::write(&pairs));
    write_entries(command, settlements, these);
}

/// A name for results that are kept in one step. No two have one, whoever made them.
fn batch() -> String {
    static OWN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}", *OWN, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Adds settlements one by one, each with all that is known of it.
pub(super) fn write_each(command: &mut Cmd, settlements: &[Settlement]) -> Order {
    for settlement in settlements {
        write_alone(command, settlement);
    }
    Order::of(settlements.len())
}

fn is_plain(settlement: &Settlement) -> bool {
    settlement.unique.is_none()
        && settlement.once.is_none()
        && settlement.beside.as_ref().is_none_or(|beside| beside.announcement.is_none())
        && matches!(&settlement.verdict, Verdict::Done { follow_ups } if follow_ups.is_empty())
}

fn result_of(settlement: &Settlement) -> Option<&[u8]> {
    settlement.beside.as_ref()?.result.as_deref()
}

fn write_alone(command: &mut Cmd, settlement: &Settlement) {
    let Settlement { at, id, unique, once, verdict, beside } = settlement;
    command.arg(match verdict {
        Verdict::Done { .. } | Verdict::Discarded | Verdict::Expired => "E",
        Verdict::Again { .. } => "A",
        Verdict::Park { .. } => "P",
        Verdict::Dead { .. } => "X",
    });
    command.arg(stream(&at.channel, at.is_back)).arg(at.entry.as_ref()).arg(id.as_ref());
    command.arg(unique.as_deref().unwrap_or_default());
    command.arg(once.as_ref().map_or("", |once| &once.key)).arg(once.as_ref().map_or(0, |once| millis(once.window)));
    write_beside(command, beside.as_deref(), verdict);
    write_verdict(command, verdict);
}

fn write_beside(command: &mut Cmd, beside: Option<&Beside>, verdict: &Verdict) {
    let Some(Beside { result, announcement, progress }) = beside else {
        command.arg("").arg("").arg("").arg("");
        return;
    };
    let kept = result.as_deref().and_then(|result| {
        Some(match verdict {
            Verdict::Done { .. } => kept(None, "completed", None, None, result),
            Verdict::Discarded => kept(None, "discarded", None, None, result),
            Verdict::Expired => kept(None, "expired", None, None, result),
            Verdict::Dead { record, reason, .. } => {
                kept(None, "dead", Some(reason.word()), record.error.as_deref(), result)
            }
            Verdict::Again { .. } | Verdict::Park { .. } => return None,
        })
    });
    command.arg(kept.unwrap_or_default());
    match announcement {
        Some(announcement) => command.arg(&announcement.channel).arg(announcement.payload.as_slice()),
        None => command.arg("").arg(""),
    };
    command.arg(progress.as_ref().map(packed_progress).unwrap_or_default());
}

/// Stands for the fraction where nothing is reported.
pub(super) const NOT_REPORTED: &str = "-";

/// Progress as it is kept: fraction, nothing, or `-` where nothing is reported; text; and the checkpoint where there is one.
pub(super) fn packed_progress(progress: &Progress) -> Vec<u8> {
    let Progress { reported, checkpoint } = progress;
    let (fraction, text) = match reported {
        Some(Reported { fraction, text }) => (fraction.map(|fraction| fraction.to_string()), text.as_str()),
        None => (Some(NOT_REPORTED.to_owned()), ""),
    };
    let fraction = fraction.unwrap_or_default();
    let mut texts = vec![fraction.as_bytes(), text.as_bytes()];
    texts.extend(checkpoint.as_deref());
    Packed::write(&texts)
}

/// Adds how many results are kept, how long, and how many bytes; nothing three times where none is.
pub(super) fn write_bounds(command: &mut Cmd, bounds: Option<ResultBounds>) {
    match bounds {
        Some(ResultBounds { count, age, bytes }) => {
            command.arg(count.min(LATEST)).arg(millis(age)).arg(bytes.min(LATEST))
        }
        None => command.arg("").arg("").arg(""),
    };
}

fn write_verdict(command: &mut Cmd, verdict: &Verdict) {
    match verdict {
        Verdict::Done { follow_ups } => {
            command.arg("completed").arg(follow_ups.len());
            for task in follow_ups {
                command.arg(task.queue.base());
                write_task(command, task);
            }
        }
        Verdict::Discarded => {
            command.arg("discarded").arg(0);
        }
        Verdict::Expired => {
            command.arg("expired").arg(0);
        }
        Verdict::Again { why, after, record } => {
            command.arg(match why {
                Why::Failed => "failed",
                Why::Crashed => "crashed",
                Why::Snoozed => "snoozed",
                Why::HandedBack => "handed_back",
                Why::Unknown => "unknown",
            });
            write_millis(command, after.filter(|after| !after.is_zero()));
            command.arg(record.to_text());
        }
        Verdict::Park { record } => {
            command.arg(record.to_text());
        }
        Verdict::Dead { record, reason, instance } => {
            command.arg(record.to_text()).arg(reason.word()).arg(instance.as_ref());
        }
    }
}
