//! Commands of many callers on one connection: written together, answered in order.
//!
//! A caller encodes its command into the shared buffer by itself, so the order of commands is the order of calls, the payload is
//! copied once, and it is known of each command whether it can have been sent. When nothing is under way it also writes it by
//! itself, which saves the way over the tokio task; what comes while answers are due is written together, by the tokio task.
//!
//! The tokio task also watches: it asks the server for a sign of life and for its role, and gives the connection up when an answer is
//! overdue, of which it tells those who wait. So a caller needs no timer of its own, and whoever gives up earlier leaves a connection that is still
//! looked after.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::transport::{
    contract::{Expiry, ReceiptComes},
    redis::{
        answer::{Coming, Response, Wakes, answer},
        host::{Guest, Host},
        line::{AllResponses, Answers, Caller, Heard, Line, NotTaken, Writer, lock},
        live::give_way,
        resp::reply::{Reply, reply},
        settings::Settings,
        stream::Stream,
        wire::{Wire, lost},
        words::cleaned,
    },
    status::GapCause,
};

/// A connection for commands and the tokio task that drives it. Dropping it stops the tokio task and closes the connection.
pub(super) struct Pipeline {
    shared: Arc<SharedLine>,
    _driver: Guest,
}

struct SharedLine {
    line: Mutex<Line>,
    changed: Notify,
    /// There is room in the line again, or never will be.
    room: Notify,
    /// Why it is to be used for no further command.
    gone: OnceLock<GapCause>,
    /// Told when the connection takes no further command.
    lost: Arc<Notify>,
}

/// A batch is written in parts of about this size, so that the server begins while the rest is encoded.
const PART: usize = 64 * 1024;
/// Why a connection is left whose server has changed its role.
pub(super) const DEMOTED: &str = "the server is no master any more";
/// The answer to PING.
const PONG: &[u8] = b"+PONG\r\n";
/// The role is asked for so often at least.
const LOOK: Duration = Duration::from_secs(30);
/// What is overdue is found after so much of the command timeout more, or after so long at most.
const LATER: (u32, Duration) = (16, Duration::from_millis(100));

impl Pipeline {
    /// Starts the tokio task. `lost` is told when the connection takes no further command.
    pub(super) fn start(stream: Stream, settings: &Settings, lost: Arc<Notify>, host: &Arc<Host>) -> Self {
        let line = Mutex::new(Line::new(settings.publish_buffer, settings.subscribers_first, stream.socket()));
        let shared =
            Arc::new(SharedLine { line, changed: Notify::new(), room: Notify::new(), gone: OnceLock::new(), lost });
        let driver = host.take(drive(stream, Watch::new(settings), FailsCallers(Arc::clone(&shared))));
        Self { shared, _driver: driver }
    }

    /// Puts a command in line, and notes that it was asked for now. The receiver resolves with its answer, or with an error when the
    /// connection ends, or soon after the command timeout. With an expiry, the last word says how much time is left when it leaves.
    pub(super) fn send<const WORDS: usize>(
        &self,
        now: Instant,
        words: [&[u8]; WORDS],
        expiry: Option<Expiry>,
        receipt: ReceiptComes,
    ) -> Result<Coming, NotTaken> {
        let mut line = self.shared.line();
        let writer = line.admit()?;
        let wakes = if receipt == ReceiptComes::Quietly { Wakes::OfTrouble } else { Wakes::Always };
        let (answering, answered) = answer(wakes);
        if writer == Writer::Caller && receipt == ReceiptComes::AfterSubscribers {
            line.ping_ahead(now);
        }
        line.wait(now, Caller::One(answering));
        match expiry {
            None => line.add(words),
            Some(expiry) => line.add_expiring(words, expiry),
        }
        self.write(line, writer);
        Ok(answered)
    }

    /// The same for a question, whose answer may be of any kind.
    pub(super) fn ask(&self, now: Instant, words: &[&[u8]]) -> Result<Coming, NotTaken> {
        let mut line = self.shared.line();
        let writer = line.admit()?;
        let (answering, answered) = answer(Wakes::Always);
        line.wait(now, Caller::Question(answering));
        line.add_words(words);
        self.write(line, writer);
        Ok(answered)
    }

    /// Puts several commands in line, at least one, next to each other.
    pub(super) fn send_all<'a, const WORDS: usize>(
        &self,
        now: Instant,
        commands: impl ExactSizeIterator<Item = [&'a [u8]; WORDS]>,
        answers: Answers,
    ) -> Result<AllResponses, NotTaken> {
        let (caller, all) = Caller::all(commands.len(), answers);
        let mut line = self.shared.line();
        let mut writer = line.admit()?;
        line.wait(now, caller);
        for words in commands {
            line.add(words);
            if writer == Writer::Caller && line.unsent() >= PART && !line.write() {
                writer = Writer::Driver;
            }
        }
        self.write(line, writer);
        Ok(all)
    }

    fn write(&self, mut line: MutexGuard<'_, Line>, writer: Writer) {
        let is_written = match writer {
            Writer::Caller => line.write(),
            Writer::Driver => false,
            // It takes the rest.
            Writer::DriverAlready => {
                if line.is_half_a_crowd() {
                    line.write();
                }
                true
            }
        };
        if !line.is_first_due() && is_written {
            return;
        }
        drop(line);
        self.shared.changed.notify_one();
    }

    /// Waits until the line has room again, or takes nothing more.
    pub(super) async fn has_room(&self) {
        let told = self.shared.room.notified();
        // Not before: what leaves the line in between is told to those who have asked already.
        let wanted = self.shared.line().wants_room();
        if wanted {
            told.await;
        }
    }

    /// Takes no further command; those who wait for an answer go on waiting.
    pub(super) fn retire(&self, reason: &str) {
        self.shared.retire(GapCause::Disconnected(reason.to_owned()));
    }

    /// Whether it was left because its server is no master any more.
    pub(super) fn was_demoted(&self) -> bool {
        matches!(self.gone(), Some(GapCause::Disconnected(reason)) if reason == DEMOTED)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.gone().is_none()
    }

    /// Why it takes no further command, if it takes none.
    pub(super) fn gone(&self) -> Option<&GapCause> {
        self.shared.gone.get()
    }
}

impl SharedLine {
    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }

    /// Moves commands from the line to the socket's buffer.
    fn take(&self, outgoing: &mut BytesMut) {
        let mut line = self.line();
        line.take(outgoing);
        self.tell_of_room(line);
    }

    /// Hands the answers to those who wait.
    fn answer(&self, answers: &mut Vec<Response>) -> Result<Heard, &'static str> {
        let mut line = self.line();
        let heard = line.answer(answers);
        self.tell_of_room(line);
        heard
    }

    fn tell_of_room(&self, mut line: MutexGuard<'_, Line>) {
        let again = line.has_room_again();
        drop(line);
        if again {
            self.room.notify_waiters();
        }
    }

    /// Nobody is to use the connection any more; those who wait for an answer go on waiting.
    fn retire(&self, cause: GapCause) {
        self.close(cause, Line::close);
    }

    fn end(&self, reason: &str) {
        self.close(GapCause::Disconnected(reason.to_owned()), Line::end);
    }

    fn close(&self, cause: GapCause, close: impl FnOnce(&mut Line, &str)) {
        let reason = cause.to_string();
        // Before the line: whoever finds that closed must not find the connection usable.
        let is_first = self.gone.set(cause).is_ok();
        close(&mut self.line(), &reason);
        self.room.notify_waiters();
        if is_first {
            self.lost.notify_one();
        }
    }
}

/// Answers everybody when the tokio task ends, whatever ended it.
struct FailsCallers(Arc<SharedLine>);

impl Drop for FailsCallers {
    fn drop(&mut self) {
        self.0.end("the connection's tokio task has ended");
    }
}

/// When an answer is overdue.
struct Watch {
    command_timeout: Duration,
    /// How long after that it is found out at most.
    later: Duration,
    interval: Duration,
    deadline: Duration,
    /// When the server last answered anything.
    heard: Instant,
    /// When it was last asked for a sign of life, and whether it owes that.
    asked: Instant,
    owed: bool,
}

impl Watch {
    fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        Self {
            command_timeout: settings.command_timeout,
            later: (settings.command_timeout / LATER.0).clamp(Duration::from_millis(1), LATER.1),
            interval: settings.ping_interval.min(LOOK),
            deadline: settings.ping_deadline,
            heard: now,
            asked: now,
            owed: false,
        }
    }

    /// Asks for a sign of life when it is time, and tells when to look again.
    ///
    /// # Errors
    ///
    /// When the server has been silent for too long.
    fn look(&mut self, now: Instant, line: &mut Line) -> Result<Instant, GapCause> {
        if line.oldest().is_some_and(|asked| now >= asked + self.command_timeout) {
            return Err(GapCause::Timeout);
        }
        if !self.owed && now >= self.asked + self.interval {
            (self.asked, self.owed) = (now, true);
            line.wait(now, Caller::Watch);
            // <https://redis.io/docs/latest/commands/hello/>: every user may ask, and the answer names the role.
            line.add([b"HELLO", b"3"]);
        }
        let next = if self.owed { self.asked.max(self.heard) + self.deadline } else { self.asked + self.interval };
        if now >= next {
            return Err(GapCause::Timeout);
        }
        Ok(if line.stays_watched() { next.min(now + self.later) } else { next })
    }
}

async fn drive(stream: Stream, mut watch: Watch, ended: FailsCallers) {
    let shared = &ended.0;
    let mut wire = Wire::new(stream);
    let mut answers = Vec::new();
    let mut timer = std::pin::pin!(sleep_until(Instant::now()));
    loop {
        shared.take(&mut wire.outgoing);
        // Cancel-safe: `advance` loses no byte, `notified` keeps its permit, the timer is our own.
        let read = tokio::select! {
            biased;
            read = wire.advance(1) => read.map_err(|error| lost(&error)),
            () = shared.changed.notified() => {
                let soon = Instant::now() + watch.later;
                if soon < timer.deadline() {
                    timer.as_mut().reset(soon);
                }
                // The caller that woke it is seldom alone: those who got their answers with it come first, and one write carries all of theirs.
                give_way().await;
                continue;
            }
            () = &mut timer => {
                let looked = watch.look(Instant::now(), &mut shared.line());
                match looked {
                    Ok(next) => timer.as_mut().reset(next),
                    Err(silence) => break shared.retire(silence),
                }
                continue;
            }
        };
        watch.heard = Instant::now();
        match receive(shared, read, &mut wire.incoming, &mut answers) {
            Ok(heard) if heard.demoted => return shared.end(DEMOTED),
            Ok(heard) if heard.deaf => return shared.end("the server could not read a command"),
            Ok(heard) => watch.owed &= !heard.lives,
            Err(reason) => return shared.end(&reason),
        }
    }
    // Those who still wait may get an answer in their own time, but nothing more is sent.
    wire.outgoing = BytesMut::new();
    let end = Instant::now() + watch.command_timeout + watch.later;
    loop {
        let now = Instant::now();
        let is_over = {
            let mut line = shared.line();
            now.checked_sub(watch.command_timeout).into_iter().for_each(|overdue| line.give_up(overdue));
            line.is_empty()
        };
        if is_over || now >= end {
            return;
        }
        let Ok(read) = timeout(watch.later, wire.advance(1)).await else { continue };
        let read = read.map_err(|error| lost(&error));
        if let Err(reason) = receive(shared, read, &mut wire.incoming, &mut answers) {
            return shared.end(&reason);
        }
    }
}

/// Hands on what was read; an error says why the connection is of no further use.
fn receive(
    shared: &SharedLine,
    read: Result<(), String>,
    incoming: &mut BytesMut,
    answers: &mut Vec<Response>,
) -> Result<Heard, String> {
    let scanned = read.and_then(|()| scan(incoming, answers));
    let heard = shared.answer(answers)?;
    scanned.map(|()| heard)
}

/// Takes whole answers out of the buffer. Anything else than what commands are answered with ends the connection: a stream that is out
/// of step would hand one caller's answer to another.
fn scan(incoming: &mut BytesMut, answers: &mut Vec<Response>) -> Result<(), String> {
    let mut at = 0;
    let scanned = loop {
        if incoming[at..].starts_with(PONG) {
            // As any other, but without an allocation.
            answers.push(Response::Texts(Vec::new()));
            at += PONG.len();
            continue;
        }
        match reply(incoming, at) {
            Ok(Some((reply, end))) => {
                answers.push(match reply {
                    Reply::Integer(number) => Response::Integer(number),
                    Reply::Error(text) => Response::Error(cleaned(&incoming[text])),
                    Reply::Texts(texts) => Response::Texts(texts),
                });
                at = end;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    incoming.advance(at);
    scanned
}

#[cfg(test)]
mod tests;
