//! The course of tasks as others see it: what is asked of one by its id, and what is done to it from outside.

use std::{str, sync::Arc};

use bytes::Bytes;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use crate::{
    error::QueueError,
    transport::{
        durable::{
            contract::QueueSpec,
            course::{Asker, Cancelling, EndedTask, Known, Note, Page, Progress, Reported, Seen, WATCHED},
            record::Record,
            task::{DeadReason, QueueName, Settled, TaskState},
        },
        redis::{
            queues::{
                entry::{Fields, state_of},
                failure::Failure,
                handle::Queues,
                keeper::with_channels,
                packed::Packed,
                scripts::{ASK, CANCEL, FIND, FORGET, LIST, NOTE, PAUSE},
                settling::{NOT_REPORTED, Order, millis, packed_progress, stream, write_bounds},
            },
            script::Script,
        },
    },
};

/// Tasks of which one script notes the progress, and of which one lists a page.
const TOGETHER: usize = 500;

impl Queues {
    pub(crate) async fn note(
        &self,
        queue: &QueueName,
        instance: &str,
        notes: &[Note],
    ) -> Result<Vec<Settled>, QueueError> {
        let mut settled = Vec::with_capacity(notes.len());
        for notes in notes.chunks(TOGETHER) {
            let mut command = NOTE.on(&queue.base());
            command.arg(instance);
            for Note { at, id, progress, is_again } in notes {
                command.arg(stream(&at.channel, at.is_back)).arg(at.entry.as_ref()).arg(id.as_ref());
                command.arg(packed_progress(progress)).arg(if *is_again { "1" } else { "" });
            }
            let digits = self.text(queue, command).await?;
            let order = Order::of(notes.len());
            settled.extend(self.settled(queue, &order, &digits)?);
        }
        Ok(settled)
    }

    pub(crate) async fn progress(&self, queue: &QueueName, id: &str) -> Result<Option<Progress>, QueueError> {
        let mut command = cmd("HGET");
        command.arg(format!("{}progress", queue.base())).arg(id);
        match self.asked(queue, command).await? {
            Value::Nil => Ok(None),
            Value::BulkString(packed) => Ok(read_progress(packed)),
            _ => Err(self.failed(queue, Failure::Unreadable)),
        }
    }

    pub(crate) async fn ask(
        &self,
        queue: &QueueName,
        id: &str,
        asker: Option<&Asker>,
        until: Instant,
    ) -> Result<Known, QueueError> {
        let write = |command: &mut Cmd| {
            command.arg(id);
            if let Some(Asker { channel, payload, within }) = asker {
                command.arg(channel).arg(payload.as_slice()).arg(millis(*within));
            }
        };
        let Some(mut answer) = self.sought(queue, &ASK, write, || Instant::now() < until).await? else {
            return Ok(Known::More);
        };
        read_known(&mut answer).ok_or_else(|| self.failed(queue, Failure::Unreadable))
    }

    pub(crate) async fn forget(&self, queue: &QueueName, id: &str, asker: &Asker) -> Result<(), QueueError> {
        let mut command = FORGET.on(&queue.base());
        command.arg(id).arg(&asker.channel).arg(asker.payload.as_slice());
        self.asked(queue, command).await.map(drop)
    }

    pub(crate) async fn find(&self, queue: &QueueSpec, id: &str) -> Result<Option<Seen>, QueueError> {
        let write = |command: &mut Cmd| {
            command.arg(id);
            with_channels(command, queue);
        };
        let sought = self.sought(&queue.name, &FIND, write, || true).await?;
        let Some(mut answer) = sought.filter(|answer| !answer.is_empty()) else { return Ok(None) };
        read_seen(&mut answer).map(Some).ok_or_else(|| self.failed(&queue.name, Failure::Unreadable))
    }

    pub(crate) async fn list(
        &self,
        queue: &QueueSpec,
        state: TaskState,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page, QueueError> {
        let Some((word, (first, second))) = listed(state).zip(place(state, from.unwrap_or_default())) else {
            return Ok(Page::default());
        };
        let mut command = LIST.on(&queue.name.base());
        command.arg(word).arg(limit.clamp(1, TOGETHER)).arg(first).arg(second);
        with_channels(&mut command, queue);
        let mut answer = Packed::new(self.text(&queue.name, command).await?);
        read_page(&mut answer).ok_or_else(|| self.failed(&queue.name, Failure::Unreadable))
    }

    pub(crate) async fn cancel(&self, queue: &QueueSpec, id: &str) -> Result<Cancelling, QueueError> {
        loop {
            let mut command = CANCEL.on(&queue.name.base());
            command.arg(id);
            write_bounds(&mut command, queue.results);
            with_channels(&mut command, queue);
            let answer = self.text(&queue.name, command).await?;
            let answer = str::from_utf8(&answer).unwrap_or_default();
            let (word, state) = answer.split_once(' ').unwrap_or((answer, ""));
            return match (word, state_of(state)) {
                ("more", _) => continue,
                ("nothing", _) => Ok(Cancelling::Nothing),
                ("cancelled", Some(state)) => Ok(Cancelling::Cancelled(state)),
                ("ended", Some(state)) => Ok(Cancelling::Ended(state)),
                _ => Err(self.failed(&queue.name, Failure::Unreadable)),
            };
        }
    }

    pub(crate) async fn pause(&self, queue: &QueueName, pauses: bool) -> Result<bool, QueueError> {
        let mut command = PAUSE.on(&queue.base());
        command.arg(if pauses { "pause" } else { "resume" });
        Ok(self.asked(queue, command).await? == Value::Int(1))
    }

    /// <https://redis.io/docs/latest/commands/exists/>
    pub(crate) async fn is_paused(&self, queue: &QueueName) -> Result<bool, QueueError> {
        let mut command = cmd("EXISTS");
        command.arg(format!("{}paused", queue.base()));
        Ok(self.asked(queue, command).await? == Value::Int(1))
    }

    pub(crate) async fn watch(&self, queue: &QueueName) -> Result<(), QueueError> {
        let mut command = cmd("SET");
        command.arg(format!("{}watched", queue.base())).arg(1).arg("PX").arg(millis(WATCHED));
        self.asked(queue, command).await.map(drop)
    }

    /// Asks of a task by its id, and again while the script has not looked at everything and there is time. `None` where that was over first.
    async fn sought(
        &self,
        queue: &QueueName,
        script: &Script,
        write: impl Fn(&mut Cmd),
        has_time: impl Fn() -> bool,
    ) -> Result<Option<Packed>, QueueError> {
        loop {
            let mut command = script.on(&queue.base());
            write(&mut command);
            let answer = Packed::new(self.text(queue, command).await?);
            if !answer.is_only("more") {
                return Ok(Some(answer));
            }
            if !has_time() {
                return Ok(None);
            }
        }
    }
}

fn listed(state: TaskState) -> Option<&'static str> {
    Some(match state {
        TaskState::Waiting => "waiting",
        TaskState::Delayed => "delayed",
        TaskState::Running => "running",
        TaskState::Parked => "parked",
        TaskState::Dead => "dead",
        _ => return None,
    })
}

/// From where a page is: two words. They come from outside, and what is none of ours is no place.
fn place(state: TaskState, from: &str) -> Option<(&str, &str)> {
    if from.is_empty() {
        return Some(("", ""));
    }
    let (first, second) = from.split_once(' ')?;
    let is_number = |text: &str, limit: u64| text.parse::<u64>().is_ok_and(|number| number < limit);
    let is_entry = |text: &str| {
        let parts = text.split_once('-');
        // Before the first one there is none, and behind the last one.
        text != "0-0"
            && parts.is_some_and(|(millis, serial)| [millis, serial].iter().all(|part| is_number(part, u64::MAX)))
    };
    let is_place = match state {
        // Which stream, and the last entry.
        TaskState::Waiting | TaskState::Running => is_number(first, 1 << 32) && (is_entry(second) || second == "0-0"),
        // The last time, and how many of it.
        TaskState::Delayed => is_number(first, 1 << 53) && is_number(second, 1 << 32),
        TaskState::Parked => is_number(first, u64::MAX),
        _ => is_entry(second),
    };
    is_place.then_some((first, second))
}

fn read_known(packed: &mut Packed) -> Option<Known> {
    packed.array()?;
    Some(match packed.string()?.as_str() {
        "nothing" => Known::Nothing,
        "open" => Known::Open(state_of(packed.str()?)?),
        "ended" => {
            let kept = packed.text()?;
            let kept = packed.keep(kept);
            Known::Ended(read_ended(&kept, u64::try_from(packed.number()?).ok()?)?)
        }
        "dead" => {
            let (entry, reason, record) = (packed.string()?, packed.string()?, packed.text()?);
            Known::Ended(EndedTask {
                state: TaskState::Dead,
                reason: Some(DeadReason::of_word(&reason).unwrap_or(DeadReason::Failed)),
                error: Record::parse(packed.get(record)).error,
                result: Bytes::new(),
                at: entry.split('-').next()?.parse().ok()?,
            })
        }
        _ => return None,
    })
}

/// What is kept of a task that has ended: its batch, or nothing where the script puts it before, state, reason, length of the error, error and
/// result.
pub(super) fn kept(
    batch: Option<&str>,
    state: &str,
    reason: Option<&str>,
    error: Option<&str>,
    result: &[u8],
) -> Vec<u8> {
    let mut kept = Vec::with_capacity(48 + error.map_or(0, str::len) + result.len());
    for word in batch.into_iter().chain([state, reason.unwrap_or("-")]) {
        kept.extend_from_slice(word.as_bytes());
        kept.push(b' ');
    }
    match error {
        Some(error) => kept.extend(format!("{} ", error.len()).bytes()),
        None => kept.extend(b"- "),
    }
    kept.extend_from_slice(error.unwrap_or_default().as_bytes());
    kept.extend_from_slice(result);
    kept
}

fn read_ended(kept: &Bytes, at: u64) -> Option<EndedTask> {
    let mut words = kept.splitn(5, |&byte| byte == b' ');
    let mut word = || str::from_utf8(words.next()?).ok();
    let (_batch, state, reason, length) = (word()?, state_of(word()?)?, word()?, word()?);
    let rest = kept.slice_ref(words.next()?);
    let (error, result) = match length.parse::<usize>() {
        Ok(length) if length <= rest.len() => {
            (Some(String::from_utf8_lossy(&rest[..length]).into_owned()), rest.slice(length..))
        }
        _ => (None, rest),
    };
    let reason: Option<DeadReason> = (reason != "-").then(|| DeadReason::of_word(reason).unwrap_or(DeadReason::Failed));
    Some(EndedTask { state, reason, error, result, at })
}

fn read_page(packed: &mut Packed) -> Option<Page> {
    packed.array()?;
    let next = packed.string()?;
    let tasks = (0..packed.array()?).map(|_| read_seen(packed)).collect::<Option<_>>()?;
    Some(Page { tasks, next: (!next.is_empty()).then_some(next) })
}

fn read_seen(packed: &mut Packed) -> Option<Seen> {
    if packed.array()? != 7 {
        return None;
    }
    let (state, channel, entry) = (state_of(packed.str()?)?, Arc::from(packed.str()?), packed.string()?);
    let fields = Fields::packed(packed)?;
    let (instance, due) = (packed.string()?, u64::try_from(packed.number()?).ok());
    let progress = packed.text()?;
    let progress = read_progress(packed.get(progress).to_vec());
    let instance = (!instance.is_empty()).then_some(instance);
    // The entry of a dead letter says when it died.
    let entered = if state == TaskState::Dead { None } else { entry.split('-').next()?.parse().ok() };
    let Fields { id, name, version, payload, record, .. } = fields;
    let enqueued_at = record.enqueued_at.or(entered);
    let id = id.map_or(entry, |id| id.as_ref().to_owned());
    Some(Seen { id, channel, state, name, version, payload, record, enqueued_at, due, instance, progress })
}

/// `{fraction, '' or '-', text, checkpoint where there is one}`.
fn read_progress(packed: Vec<u8>) -> Option<Progress> {
    let mut packed = Packed::new(packed);
    let parts = packed.array()?;
    let fraction = packed.string()?;
    let text = packed.string()?;
    let reported = (fraction != NOT_REPORTED).then(|| Reported { fraction: fraction.parse().ok(), text });
    let checkpoint = if parts > 2 { packed.text() } else { None };
    Some(Progress { reported, checkpoint: checkpoint.map(|range| packed.get(range).to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was_written() {
        let read = |kept: &[u8]| read_ended(&Bytes::from([b"3.1 ", kept].concat()), 1_718_000_000_000);
        let all = kept(None, "dead", Some("refused"), Some("no disk 7"), b"{\"a b\":1}");
        let ended = EndedTask {
            state: TaskState::Dead,
            reason: Some(DeadReason::Refused),
            error: Some("no disk 7".into()),
            result: Bytes::from_static(b"{\"a b\":1}"),
            at: 1_718_000_000_000,
        };
        assert_eq!(read(&all), Some(ended));
        let none = read(&kept(None, "completed", None, None, b"")).unwrap();
        assert_eq!((none.state, none.reason, none.error, none.result.len()), (TaskState::Completed, None, None, 0));
        let empty = read(&kept(None, "discarded", None, Some(""), b"3 4")).unwrap();
        let batch = kept(Some("a-1"), "completed", None, None, b"7");
        assert_eq!(batch, b"a-1 completed - - 7");
        assert_eq!((empty.error.as_deref(), &empty.result[..]), (Some(""), &b"3 4"[..]));
        for foreign in [&b""[..], b"completed", b"completed - ", b"burnt - - x"] {
            assert_eq!(read(foreign), None);
        }
    }

    #[test]
    fn what_is_no_place_in_a_list_is_refused() {
        let (waiting, delayed, parked, dead) =
            (TaskState::Waiting, TaskState::Delayed, TaskState::Parked, TaskState::Dead);
        for (state, ours) in [
            (waiting, "3 1718000000000-7"),
            (waiting, "3 0-0"),
            (delayed, "1718000000000 12"),
            (parked, "77 0"),
            (dead, "0 1718000000000-7"),
        ] {
            assert_eq!(place(state, ours), ours.split_once(' '), "{ours}");
            assert_eq!(place(state, ""), Some(("", "")));
        }
        let last = format!("0 {0}-{0}", u64::MAX);
        for hostile in
            ["x", "3", "3 ", " 4", "3 1-", "3 -1", "-inf 1", "3 1-1-1", "3 99999999999999999999-1", "3\n1 2", &last]
        {
            for state in [waiting, delayed, dead] {
                assert_eq!(place(state, hostile), None, "{hostile:?}");
            }
        }
        assert_eq!((place(parked, "x 0"), place(dead, "0 0-0"), place(waiting, "0 0")), (None, None, None));
    }

    #[test]
    fn progress_is_read_as_it_was_written() {
        let reported = |fraction, text: &str| Some(Reported { fraction, text: text.to_owned() });
        for progress in [
            Progress { reported: reported(Some(0.25), "a quarter"), checkpoint: Some(vec![b'x'; 70_000]) },
            Progress { reported: reported(None, &"x".repeat(300)), checkpoint: None },
            Progress { reported: reported(None, ""), checkpoint: Some(Vec::new()) },
            Progress { reported: None, checkpoint: Some(b"7".to_vec()) },
        ] {
            assert_eq!(read_progress(packed_progress(&progress)), Some(progress));
        }
        assert_eq!(read_progress(Vec::new()), None);
    }
}
