//! What scripts are told of tasks that come and of entries that are settled.

use std::time::Duration;

use redis::Cmd;

use crate::transport::durable::task::{Due, EntryAt, NewTask, Settled, Settlement, Verdict, Why};

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
    pub(super) fn settled(&self, digits: &[u8]) -> Option<Vec<Settled>> {
        if digits.len() != self.0.len() {
            return None;
        }
        let mut settled = vec![Settled::Stale; digits.len()];
        for (&at, digit) in self.0.iter().zip(digits) {
            if *digit == b'1' {
                settled[at] = Settled::Counted;
            }
        }
        Some(settled)
    }
}

/// Adds settlements to the arguments of a script. Those of entries that are done and leave nothing behind come first, together.
pub(super) fn write(command: &mut Cmd, settlements: &[Settlement]) -> Order {
    let mut order = Vec::with_capacity(settlements.len());
    let mut others = Vec::new();
    let mut streams: Vec<(&EntryAt, Vec<usize>)> = Vec::new();
    for (at, settlement) in settlements.iter().enumerate() {
        if !is_plain(settlement) {
            others.push(at);
            continue;
        }
        let same = |(of, entries): &&mut (&EntryAt, Vec<usize>)| {
            of.is_back == settlement.at.is_back && of.channel == settlement.at.channel && entries.len() < TOGETHER
        };
        match streams.iter_mut().find(same) {
            Some((_, entries)) => entries.push(at),
            None => streams.push((&settlement.at, vec![at])),
        }
    }
    for (of, entries) in streams {
        command.arg("D").arg(stream(&of.channel, of.is_back)).arg(entries.len());
        for at in entries {
            command.arg(settlements[at].at.entry.as_ref());
            order.push(at);
        }
    }
    for at in others {
        write_alone(command, &settlements[at]);
        order.push(at);
    }
    Order(order)
}

/// Adds settlements one by one, each with all that is known of it.
pub(super) fn write_each(command: &mut Cmd, settlements: &[Settlement]) -> Order {
    for settlement in settlements {
        write_alone(command, settlement);
    }
    Order((0..settlements.len()).collect())
}

fn is_plain(settlement: &Settlement) -> bool {
    settlement.unique.is_none()
        && settlement.once.is_none()
        && matches!(&settlement.verdict, Verdict::Done { follow_ups } if follow_ups.is_empty())
}

fn write_alone(command: &mut Cmd, settlement: &Settlement) {
    let Settlement { at, id, unique, once, verdict, beside: _ } = settlement;
    command.arg(match verdict {
        Verdict::Done { .. } | Verdict::Discarded | Verdict::Expired => "E",
        Verdict::Again { .. } => "A",
        Verdict::Park { .. } => "P",
        Verdict::Dead { .. } => "X",
    });
    command.arg(stream(&at.channel, at.is_back)).arg(at.entry.as_ref()).arg(id.as_ref());
    command.arg(unique.as_deref().unwrap_or_default());
    command.arg(once.as_ref().map_or("", |once| &once.key)).arg(once.as_ref().map_or(0, |once| millis(once.window)));
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
