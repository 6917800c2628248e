//! The commands of one connection and who awaits their answers, without the tokio task that writes and reads.
//!
//! ```text
//! commands    answered │ sent              │ unsent            ──▶ in the order of the calls
//! callers              │ each awaits its answers, oldest first
//! bytes                │ with the server   │ in the line
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, BytesMut};
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::transport::{
    contract::Expiry,
    redis::{
        answer::{Answered, Answering, Response, Unanswered},
        wire::encode,
    },
};

/// What is in line, and who waits.
pub(super) struct Line {
    /// Commands that the tokio task has not taken yet.
    unsent: BytesMut,
    unsent_commands: usize,
    /// Bytes that have left the line, for ever.
    left: u64,
    /// Payloads in line that say how much time is left.
    expiring: VecDeque<Expiring>,
    /// Bytes that the tokio task has taken and not written yet, when it last looked.
    taken: usize,
    /// Commands without an answer; the last `unsent_commands` of them cannot get one yet.
    commands: usize,
    /// Whether the tokio task took several callers' commands at once the last time.
    crowded: bool,
    /// Whether a PING goes ahead of a command that comes alone. Not once the server has refused one.
    pings_ahead: bool,
    /// Whether the first of the unsent commands is such a PING.
    ping_unsent: bool,
    /// Who awaits an answer, oldest first.
    waiting: VecDeque<Waiting>,
    /// How many bytes may be held before nothing more is taken into the line.
    room: usize,
    /// Somebody waits for room.
    room_wanted: bool,
    /// No further command is taken.
    closed: bool,
    /// The server has said that it reads no further command of this connection.
    rest_unread: bool,
    /// Whether the tokio task looks for answers that are overdue. It does so while any are due.
    watched: bool,
    /// Where callers write by themselves. Absent when the connection is encrypted or closed.
    socket: Option<Arc<OwnedWriteHalf>>,
}

/// Who writes what was put in line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Caller,
    /// The connection's tokio task. It has to be woken.
    Driver,
    /// It has been woken, and has not taken yet what is in line.
    DriverAlready,
}

struct Waiting {
    /// When the command was put in line.
    asked: Instant,
    caller: Caller,
}

/// A payload that says how much time is left.
struct Expiring {
    /// Where it begins, counted over all bytes that were ever in line.
    start: u64,
    length: usize,
    expiry: Expiry,
}

/// Who awaits an answer.
pub(super) enum Caller {
    /// To one command.
    One(Answering),
    /// To several.
    All { missing: usize, kind: Answers, answers: Responses, complete: oneshot::Sender<()> },
    /// To a question, whose answer may be of any kind.
    Question(Answering),
    /// The connection itself asks whether the server lives, and is still the master.
    Watch,
    /// Nobody any more: it was told that there is no answer in time.
    Nobody,
    /// Nobody: see [`Line::ping_ahead`].
    Ahead,
}

/// What the answers to several commands may be, besides errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Numbers,
    Any,
}

/// The answers to several commands, in order, as far as they have come.
type Responses = Arc<Mutex<Vec<Answered>>>;

/// Waits for the answers to several commands.
pub(super) struct AllResponses {
    answers: Responses,
    complete: oneshot::Receiver<()>,
}

/// Why a command was not taken into the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The connection takes no command any more.
    Closed,
    /// As much waits as may wait.
    Full,
}

/// What the server said of itself when it was asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The connection's own question was answered.
    pub(super) lives: bool,
    /// It is no master.
    pub(super) demoted: bool,
    /// It could not read a command, and reads nothing more.
    pub(super) deaf: bool,
}

/// A buffer that a large command has made larger is not kept.
const LARGEST_KEPT: usize = 1024 * 1024;
/// So many commands are worth a write of their own.
const HALF_A_CROWD: usize = 32;
/// What a command costs besides its bytes until it is answered: its place among those who wait, and the channel for the answer.
const COMMAND_COST: usize = 128;
/// With this the server says that it could not read a command, and reads nothing more.
pub(super) const UNREADABLE: &str = "ERR Protocol error";

impl Line {
    pub(super) fn new(room: usize, pings_ahead: bool, socket: Option<Arc<OwnedWriteHalf>>) -> Self {
        Self {
            unsent: BytesMut::new(),
            unsent_commands: 0,
            left: 0,
            expiring: VecDeque::new(),
            taken: 0,
            commands: 0,
            crowded: false,
            pings_ahead,
            ping_unsent: false,
            waiting: VecDeque::new(),
            room,
            room_wanted: false,
            closed: false,
            rest_unread: false,
            watched: false,
            socket,
        }
    }

    /// Lets a caller in, if commands are taken; who then writes.
    pub(super) fn admit(&mut self) -> Result<Writer, NotTaken> {
        match self {
            _ if self.closed => Err(NotTaken::Closed),
            _ if self.is_full() => Err(NotTaken::Full),
            _ => Ok(self.writer()),
        }
    }

    /// Puts who waits in line; the caller's commands follow.
    pub(super) fn wait(&mut self, asked: Instant, caller: Caller) {
        self.waiting.push_back(Waiting { asked, caller });
    }

    /// Puts a PING ahead of a message that comes alone, if the server takes it.
    ///
    /// Of the connections to which it owes something, a server writes first to that which it owed last. Without the PING that is the publisher, for its
    /// receipt: that wakes a process which may take the processor from the server before it has written the message to a subscriber. A connection that
    /// is owed the answer to a PING already comes after the subscribers. With 1,000 messages a second in one process the median of their latency
    /// was 51 µs without and 38 µs with it, and from one process to another 89 and 76 µs.
    pub(super) fn ping_ahead(&mut self, asked: Instant) {
        if self.pings_ahead {
            self.wait(asked, Caller::Ahead);
            self.add([b"PING"]);
            self.ping_unsent = true;
        }
    }

    pub(super) fn add<const WORDS: usize>(&mut self, words: [&[u8]; WORDS]) {
        self.add_words(&words);
    }

    /// The same for a command of any number of words.
    pub(super) fn add_words(&mut self, words: &[&[u8]]) {
        encode(&mut self.unsent, words.len(), words);
        self.commands += 1;
        self.unsent_commands += 1;
        self.check();
    }

    /// The same for a command whose last word is a payload that says how much time is left: it is brought up to date when it leaves the line.
    pub(super) fn add_expiring<const WORDS: usize>(&mut self, words: [&[u8]; WORDS], expiry: Expiry) {
        self.add(words);
        let length = words.last().map_or(0, |payload| payload.len());
        let start = self.left + (self.unsent.len() - length - b"\r\n".len()) as u64;
        self.expiring.push_back(Expiring { start, length, expiry });
    }

    /// Brings the payloads in line up to date.
    fn refresh(&mut self) {
        if self.expiring.is_empty() {
            return;
        }
        let now = Instant::now().into_std();
        for Expiring { start, length, expiry } in &self.expiring {
            // One of which a part has left cannot be changed any more.
            let start = start.checked_sub(self.left).and_then(|start| usize::try_from(start).ok());
            let payload = start.and_then(|start| self.unsent.get_mut(start..start + length));
            payload.into_iter().for_each(|payload| expiry.write(payload, now));
        }
    }

    /// Notes that so many bytes have left the line.
    fn leave(&mut self, bytes: usize) {
        self.left += bytes as u64;
        let left = self.left;
        while self.expiring.pop_front_if(|expiring| expiring.start < left).is_some() {}
    }

    /// Bytes that are in line.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether somebody has to wait for room; they are then told when there is some.
    pub(super) fn wants_room(&mut self) -> bool {
        self.room_wanted = !self.closed && self.is_full();
        self.room_wanted
    }

    /// Whether those who wait for room are to be told.
    pub(super) fn has_room_again(&mut self) -> bool {
        // Half of it: they come all at once, and shall not come for each command that leaves.
        let again = self.room_wanted && (self.closed || self.held() <= self.room / 2);
        self.room_wanted &= !again;
        again
    }

    /// When the oldest command without an answer was put in line. The connection's own question, of which there is one at most, has a
    /// deadline of its own.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let mut waiting = self.waiting.iter().filter(|waiting| !matches!(waiting.caller, Caller::Watch));
        waiting.next().map(|waiting| waiting.asked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Whether the tokio task is to be told that answers are due, which it will look after from now on.
    pub(super) fn is_first_due(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// Whether the tokio task is to look again soon for what is overdue. Otherwise it is told.
    pub(super) fn stays_watched(&mut self) -> bool {
        self.watched = !self.is_empty();
        self.watched
    }

    /// Tells those whose single commands were put in line before then that there is no answer in time. Who awaits several knows the time itself.
    pub(super) fn give_up(&mut self, before: Instant) {
        for waiting in self.waiting.iter_mut().take_while(|waiting| waiting.asked <= before) {
            if let Caller::One(_) | Caller::Question(_) = waiting.caller
                && let Caller::One(late) | Caller::Question(late) =
                    std::mem::replace(&mut waiting.caller, Caller::Nobody)
            {
                late.send(Err(Unanswered::Late));
            }
        }
    }

    /// Writes as much as the socket takes at once, and tells whether that was all. The tokio task writes the rest, and meets any trouble.
    pub(super) fn write(&mut self) -> bool {
        self.refresh();
        let Some(socket) = &self.socket else { return false };
        match socket.try_write(&self.unsent) {
            Ok(written @ 1..) => {
                // A command of which only a part was written counts as sent: the rest follows, and the server may then carry it out.
                (self.unsent_commands, self.ping_unsent) = (0, false);
                self.unsent.advance(written);
                self.leave(written);
                self.unsent.is_empty()
            }
            _ => false,
        }
    }

    /// Moves commands from the line to the socket's buffer.
    pub(super) fn take(&mut self, outgoing: &mut BytesMut) {
        if outgoing.is_empty() {
            if self.unsent_commands > 0 {
                self.crowded = self.unsent_commands - usize::from(self.ping_unsent) > 1;
            }
            (self.unsent_commands, self.ping_unsent) = (0, false);
            self.check();
            self.refresh();
            self.leave(self.unsent.len());
            std::mem::swap(&mut self.unsent, outgoing);
            if self.unsent.capacity() > LARGEST_KEPT {
                self.unsent = BytesMut::new();
            }
        }
        // Otherwise what is being written will be answered, and the answers bring the tokio task back here.
        self.taken = outgoing.len();
    }

    /// Hands the answers to those who wait.
    ///
    /// # Errors
    ///
    /// When an answer fits nothing that was asked.
    pub(super) fn answer(&mut self, answers: &mut Vec<Response>) -> Result<Heard, &'static str> {
        let mut heard = Heard::default();
        for answer in answers.drain(..) {
            let is_awaited = self.commands > self.unsent_commands;
            let Some(waiting) = self.waiting.pop_front().filter(|_| is_awaited) else {
                return Err("the server answered more than it was asked");
            };
            // A stream that is out of step must not hand one caller's answer to another.
            if waiting.caller.awaits_a_number() && matches!(answer, Response::Texts(_)) {
                self.waiting.push_front(waiting);
                return Err("the server answered something else than it was asked");
            }
            self.commands -= 1;
            if matches!(&answer, Response::Error(words) if words.starts_with(UNREADABLE)) {
                heard.deaf = true;
                self.rest_unread = true;
            }
            if matches!((&waiting.caller, &answer), (Caller::Ahead, Response::Error(_))) {
                self.pings_ahead = false;
            }
            if let Some(caller) = waiting.caller.take(answer, &mut heard) {
                self.waiting.push_front(Waiting { caller, ..waiting });
            }
        }
        self.check();
        Ok(heard)
    }

    /// Takes no further command. What the server cannot have heard of is given back; the others go on waiting.
    pub(super) fn close(&mut self, reason: &str) {
        self.closed = true;
        self.socket = None;
        while self.unsent_commands > 0
            && let Some(Waiting { caller, .. }) = self.waiting.pop_back()
        {
            let missing = caller.missing();
            let mut sent = missing.saturating_sub(self.unsent_commands);
            self.unsent_commands -= missing - sent;
            self.commands -= missing;
            caller.fail(&mut sent, reason);
        }
        self.unsent = BytesMut::new();
        self.expiring.clear();
        self.taken = 0;
    }

    /// The connection has ended: nobody is answered any more.
    pub(super) fn end(&mut self, reason: &str) {
        self.close(reason);
        let mut sent = if self.rest_unread { 0 } else { self.commands };
        self.waiting.drain(..).for_each(|waiting| waiting.caller.fail(&mut sent, reason));
        self.commands = 0;
    }

    /// Who writes what is put in line next.
    pub(super) fn writer(&self) -> Writer {
        match self.unsent_commands {
            // All that was sent is answered, so the tokio task has nothing left to write. Where several callers come at once it still writes
            // for all of them: one write of sixty commands costs less than one of the first and one of the others.
            0 if self.commands == 0 && !self.crowded => Writer::Caller,
            0 => Writer::Driver,
            _ => Writer::DriverAlready,
        }
    }

    /// Whether so many commands are unsent that the server should begin with them while the rest is encoded, and a caller may write them: the tokio
    /// task has nothing left to write. Without it, 64 callers and the server take turns, and each waits for the other.
    pub(super) fn is_half_a_crowd(&self) -> bool {
        self.unsent_commands >= HALF_A_CROWD && self.taken == 0
    }

    fn is_full(&self) -> bool {
        self.held() >= self.room
    }

    fn held(&self) -> usize {
        self.unsent.len() + self.taken + self.commands * COMMAND_COST
    }

    /// Checks that the counts agree with the picture at the head of this file.
    fn check(&self) {
        debug_assert!(self.unsent_commands <= self.commands, "what is unsent has no answer");
        debug_assert!(self.commands > 0 || self.waiting.is_empty(), "nobody awaits an answer where none is due");
        debug_assert!(self.unsent_commands == 0 || !self.unsent.is_empty(), "an unsent command has bytes");
    }
}

impl Caller {
    /// Waits for one answer to each of so many commands.
    pub(super) fn all(missing: usize, kind: Answers) -> (Self, AllResponses) {
        let (complete, completed) = oneshot::channel();
        let answers = Responses::new(Mutex::new(Vec::with_capacity(missing)));
        let all = AllResponses { answers: Arc::clone(&answers), complete: completed };
        (Self::All { missing, kind, answers, complete }, all)
    }

    /// How many answers it still awaits.
    fn missing(&self) -> usize {
        match self {
            Self::All { missing, .. } => *missing,
            Self::One(_) | Self::Question(_) | Self::Watch | Self::Nobody | Self::Ahead => 1,
        }
    }

    /// Whether the answer is a number, or an error.
    fn awaits_a_number(&self) -> bool {
        matches!(self, Self::One(_) | Self::All { kind: Answers::Numbers, .. })
    }

    /// Takes an answer, and gives itself back while it waits for more.
    fn take(self, answer: Response, heard: &mut Heard) -> Option<Self> {
        match (self, answer) {
            (Self::One(waiting) | Self::Question(waiting), answer) => waiting.send(Ok(answer)),
            (Self::All { missing, kind, answers, complete }, answer) => {
                lock(&answers).push(Ok(answer));
                if missing > 1 {
                    return Some(Self::All { missing: missing - 1, kind, answers, complete });
                }
                let _ = complete.send(());
            }
            (Self::Nobody | Self::Ahead, _) => {}
            (Self::Watch, answer) => {
                // A server that can refuse the question is alive, which is most of what was asked.
                heard.lives = true;
                heard.demoted |= matches!(answer, Response::Texts(texts) if is_demoted(&texts));
            }
        }
        None
    }

    /// There will be no answer. `sent` counts down the commands of which the server may have heard.
    fn fail(self, sent: &mut usize, reason: &str) {
        let mut unanswered = || match sent.checked_sub(1) {
            Some(others) => {
                *sent = others;
                Unanswered::Lost(reason.to_owned())
            }
            None => Unanswered::NotSent,
        };
        match self {
            Self::One(waiting) | Self::Question(waiting) => waiting.send(Err(unanswered())),
            Self::All { missing, answers, complete, .. } => {
                lock(&answers).extend((0..missing).map(|_| Err(unanswered())));
                let _ = complete.send(());
            }
            Self::Watch | Self::Nobody | Self::Ahead => drop(unanswered()),
        }
    }
}

impl AllResponses {
    /// The answers, in the order of the commands. Those that have not come by the deadline are missing at the end.
    pub(super) async fn until(self, deadline: Instant) -> Vec<Answered> {
        // An error says that the tokio task has gone without a word, which it does not.
        let _ = timeout_at(deadline, self.complete).await;
        std::mem::take(&mut *lock(&self.answers))
    }
}

/// Whether the texts of a greeting name another role than that of a master.
pub(super) fn is_demoted(texts: &[String]) -> bool {
    let role = texts.iter().skip_while(|text| *text != "role").nth(1);
    role.is_some_and(|role| role != "master")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
