//! Commands of many callers on one connection: written together, answered in order.
//!
//! ```text
//! commands    answered │ sent              │ unsent            ──▶ in the order of the calls
//! callers              │ each awaits its answers, oldest first
//! bytes                │ with the server   │ in the line
//! ```
//!
//! A caller encodes its command into the shared buffer by itself, so the order of commands is the order of calls, the payload is
//! copied once, and it is known of each command whether it can have been sent. When nothing is under way it also writes it by
//! itself, which saves the way over the tokio task; what comes while answers are due is written together, by the tokio task.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Buf, BytesMut};
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::transport::redis::{
    resp::reply::{Reply, reply},
    stream::Stream,
    subscriber::give_way,
    wire::{Wire, encode, lost},
    words::cleaned,
};

/// A connection for commands and the tokio task that drives it. Dropping it stops the tokio task and closes the connection.
pub(super) struct Pipeline {
    shared: Arc<SharedLine>,
    _tokio_task: JoinSet<()>,
}

#[derive(Default)]
struct SharedLine {
    line: Mutex<Line>,
    changed: Notify,
    /// To be used for no further command.
    retired: AtomicBool,
}

#[derive(Default)]
struct Line {
    /// Commands that the tokio task has not taken yet.
    unsent: BytesMut,
    unsent_commands: usize,
    /// Commands without an answer; the last `unsent_commands` of them cannot get one yet.
    commands: usize,
    /// Whether the tokio task took several commands at once the last time.
    crowded: bool,
    /// Who awaits an answer, oldest first.
    waiting: VecDeque<Caller>,
    ended: bool,
    /// Where callers write by themselves. Absent when the connection is encrypted or has ended.
    socket: Option<Arc<OwnedWriteHalf>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Caller,
    /// The connection's tokio task. It has to be woken.
    Driver,
    /// It has been woken, and has not taken yet what is in line.
    DriverAlready,
}

/// Who awaits an answer.
enum Caller {
    /// To one command.
    One(oneshot::Sender<Answered>),
    /// To several.
    All { missing: usize, answers: Responses, complete: oneshot::Sender<()> },
}

/// The answers to several commands, in order, as far as they have come.
type Responses = Arc<Mutex<Vec<Answered>>>;

/// Waits for the answers to several commands.
pub(super) struct AllResponses {
    answers: Responses,
    complete: oneshot::Receiver<()>,
}

pub(super) type Answered = Result<Response, Unanswered>;

#[derive(Debug)]
pub(super) enum Response {
    Integer(u64),
    Error(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    NotSent,
    /// The command may have been executed.
    Lost(String),
}

/// A buffer that a large command has made larger is not kept.
const LARGEST_KEPT: usize = 1024 * 1024;
/// A batch is written in parts of about this size, so that the server begins while the rest is encoded.
const PART: usize = 64 * 1024;

impl Pipeline {
    pub(super) fn start(stream: Stream) -> Self {
        let shared = Arc::new(SharedLine::default());
        shared.line().socket = stream.socket();
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(drive(stream, FailsCallers(Arc::clone(&shared))));
        Self { shared, _tokio_task: tokio_task }
    }

    /// Puts a command in line. The receiver resolves with its answer, or with an error when the connection ends.
    pub(super) fn send<const WORDS: usize>(&self, words: [&[u8]; WORDS]) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        let mut line = self.shared.line();
        if line.ended {
            let _ = answer.send(Err(Unanswered::NotSent));
            return answered;
        }
        let writer = line.writer();
        line.waiting.push_back(Caller::One(answer));
        line.add(words);
        self.write(line, writer);
        answered
    }

    /// Puts several commands in line, next to each other.
    pub(super) fn send_all<'a, const WORDS: usize>(
        &self,
        commands: impl ExactSizeIterator<Item = [&'a [u8]; WORDS]>,
    ) -> AllResponses {
        let (complete, completed) = oneshot::channel();
        let missing = commands.len();
        let answers = Responses::new(Mutex::new(Vec::with_capacity(missing)));
        let all = AllResponses { answers: Arc::clone(&answers), complete: completed };
        let waiting = Caller::All { missing, answers, complete };
        let mut line = self.shared.line();
        if line.ended || missing == 0 {
            waiting.fail(&mut 0, "");
            return all;
        }
        let mut writer = line.writer();
        line.waiting.push_back(waiting);
        for words in commands {
            line.add(words);
            if writer == Writer::Caller && line.unsent.len() >= PART && !line.write() {
                writer = Writer::Driver;
            }
        }
        self.write(line, writer);
        all
    }

    fn write(&self, mut line: MutexGuard<'_, Line>, writer: Writer) {
        if writer == Writer::DriverAlready || writer == Writer::Caller && line.write() {
            return;
        }
        drop(line);
        self.shared.changed.notify_one();
    }

    /// Nobody is to use the connection any more; those who wait for an answer go on waiting.
    pub(super) fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.shared.retired.load(Ordering::Acquire)
    }
}

impl SharedLine {
    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }

    /// Moves commands from the line to the socket's buffer.
    fn take(&self, outgoing: &mut BytesMut) {
        if !outgoing.is_empty() {
            // What is being written will be answered, and the answers bring the tokio task back here.
            return;
        }
        let mut line = self.line();
        if line.unsent_commands > 0 {
            line.crowded = line.unsent_commands > 1;
        }
        line.unsent_commands = 0;
        line.check();
        std::mem::swap(&mut line.unsent, outgoing);
        if line.unsent.capacity() > LARGEST_KEPT {
            line.unsent = BytesMut::new();
        }
    }

    /// Hands the answers to those who wait. Returns whether there was somebody for each.
    fn answer(&self, answers: &mut Vec<Response>) -> bool {
        let mut line = self.line();
        let awaited = line.commands - line.unsent_commands;
        let all = answers.len() <= awaited;
        for answer in answers.drain(..).take(awaited) {
            line.commands -= 1;
            if let Some(waiting) = line.waiting.pop_front().and_then(|waiting| waiting.take(answer)) {
                line.waiting.push_front(waiting);
            }
        }
        line.check();
        all
    }

    fn end(&self, reason: &str) {
        self.retired.store(true, Ordering::Release);
        let mut line = self.line();
        line.ended = true;
        let mut sent = line.commands - line.unsent_commands;
        line.waiting.drain(..).for_each(|waiting| waiting.fail(&mut sent, reason));
        (line.commands, line.unsent_commands) = (0, 0);
        line.unsent = BytesMut::new();
        line.socket = None;
    }
}

impl Line {
    /// Who writes what is put in line next.
    fn writer(&self) -> Writer {
        match self.unsent_commands {
            // All that was sent is answered, so the tokio task has nothing left to write. Where several callers come at once it still writes
            // for all of them: one write of sixty commands costs less than one of the first and one of the others.
            0 if self.commands == 0 && !self.crowded => Writer::Caller,
            0 => Writer::Driver,
            _ => Writer::DriverAlready,
        }
    }

    fn add<const WORDS: usize>(&mut self, words: [&[u8]; WORDS]) {
        encode(&mut self.unsent, WORDS, words);
        self.commands += 1;
        self.unsent_commands += 1;
        self.check();
    }

    /// Checks that the counts agree with the picture at the head of this file.
    fn check(&self) {
        debug_assert!(self.unsent_commands <= self.commands, "what is unsent has no answer");
        debug_assert!(self.commands > 0 || self.waiting.is_empty(), "nobody awaits an answer where none is due");
        debug_assert!(self.unsent_commands == 0 || !self.unsent.is_empty(), "an unsent command has bytes");
    }

    /// Writes as much as the socket takes at once, and tells whether that was all. The tokio task writes the rest, and meets any trouble.
    fn write(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        match socket.try_write(&self.unsent) {
            Ok(written @ 1..) => {
                // A command of which only a part was written counts as sent: the rest follows, and the server may then carry it out.
                self.unsent_commands = 0;
                self.unsent.advance(written);
                self.unsent.is_empty()
            }
            _ => false,
        }
    }
}

impl Caller {
    /// Takes an answer, and gives itself back while it waits for more.
    fn take(self, answer: Response) -> Option<Self> {
        match self {
            // The receiver is gone when its caller stopped waiting; that is no error.
            Self::One(waiting) => {
                let _ = waiting.send(Ok(answer));
                None
            }
            Self::All { missing, answers, complete } => {
                lock(&answers).push(Ok(answer));
                if missing > 1 {
                    return Some(Self::All { missing: missing - 1, answers, complete });
                }
                let _ = complete.send(());
                None
            }
        }
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
            Self::One(waiting) => {
                let _ = waiting.send(Err(unanswered()));
            }
            Self::All { missing, answers, complete } => {
                lock(&answers).extend((0..missing).map(|_| Err(unanswered())));
                let _ = complete.send(());
            }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers everybody when the tokio task ends, whatever ended it.
struct FailsCallers(Arc<SharedLine>);

impl Drop for FailsCallers {
    fn drop(&mut self) {
        self.0.end("the connection's tokio task has ended");
    }
}

async fn drive(stream: Stream, ended: FailsCallers) {
    let shared = &ended.0;
    let mut wire = Wire::new(stream);
    let mut answers = Vec::new();
    loop {
        shared.take(&mut wire.outgoing);
        // Cancel-safe: `advance` loses no byte, `notified` keeps its permit.
        let read = tokio::select! {
            biased;
            read = wire.advance(1) => read.map_err(|error| lost(&error)),
            () = shared.changed.notified() => {
                // The caller that woke it is seldom alone: those who got their answers with it come first, and one write carries all of theirs.
                give_way().await;
                continue;
            }
        };
        let scanned = read.and_then(|()| scan(&mut wire.incoming, &mut answers));
        if !shared.answer(&mut answers) {
            return shared.end("the server answered more than it was asked");
        }
        if let Err(reason) = scanned {
            return shared.end(&reason);
        }
    }
}

/// Takes whole answers out of the buffer. Anything else than what commands are answered with ends the connection: a stream that is out
/// of step would hand one caller's answer to another.
fn scan(incoming: &mut BytesMut, answers: &mut Vec<Response>) -> Result<(), String> {
    let mut at = 0;
    let scanned = loop {
        match reply(incoming, at) {
            Ok(Some((reply, end))) => {
                answers.push(match reply {
                    Reply::Integer(number) => Response::Integer(number),
                    Reply::Error(text) => Response::Error(cleaned(&incoming[text])),
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
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn answers_reach_their_callers_in_order() {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = Pipeline::start(Box::new(near));
        let answers: Vec<_> = (0..3).map(|_| pipeline.send([b"PING"])).collect();
        far.read_exact(&mut [0; 3 * 14]).await.unwrap();
        for bytes in [b":7\r".as_slice(), b"\n-ER", b"R no\r\n:0\r\n"] {
            far.write_all(bytes).await.unwrap();
        }
        let mut seen = Vec::new();
        for answer in answers {
            seen.push(format!("{:?}", answer.await.unwrap().unwrap()));
        }
        assert_eq!(seen, ["Integer(7)", "Error(\"ERR no\")", "Integer(0)"]);
        assert!(pipeline.is_usable());
    }

    #[tokio::test]
    async fn a_lost_connection_tells_who_can_have_been_heard() {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = Pipeline::start(Box::new(near));
        let sent = pipeline.send([b"PING"]);
        far.read_exact(&mut [0; 14]).await.unwrap();
        drop(far);
        // The tokio task has not run since, so this one cannot have been taken.
        let unsent = pipeline.send([b"PING"]);
        assert!(matches!(sent.await.unwrap(), Err(Unanswered::Lost(_))));
        assert!(matches!(unsent.await.unwrap(), Err(Unanswered::NotSent | Unanswered::Lost(_))));
        assert!(!pipeline.is_usable());
        assert!(matches!(pipeline.send([b"PING"]).await.unwrap(), Err(Unanswered::NotSent)));
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn several_commands_get_their_answers_in_order_among_those_of_others() {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = Pipeline::start(Box::new(near));
        let before = pipeline.send([b"PING"]);
        let all = pipeline.send_all([[b"PING".as_slice()]; 3].into_iter());
        let after = pipeline.send([b"PING"]);
        far.read_exact(&mut [0; 5 * 14]).await.unwrap();
        far.write_all(b":1\r\n:2\r\n-ERR no\r\n:4\r\n:5\r\n").await.unwrap();
        let all = format!("{:?}", all.until(soon()).await);
        assert_eq!(all, r#"[Ok(Integer(2)), Ok(Error("ERR no")), Ok(Integer(4))]"#);
        assert!(matches!(before.await.unwrap(), Ok(Response::Integer(1))));
        assert!(matches!(after.await.unwrap(), Ok(Response::Integer(5))));
        assert!(pipeline.send_all(std::iter::empty::<[&[u8]; 1]>()).until(soon()).await.is_empty());
    }

    #[tokio::test]
    async fn of_several_commands_those_that_were_answered_are_known_when_the_connection_is_lost_or_late() {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = Pipeline::start(Box::new(near));
        let all = pipeline.send_all([[b"PING".as_slice()]; 3].into_iter());
        let late = pipeline.send_all([[b"PING".as_slice()]; 2].into_iter());
        far.read_exact(&mut [0; 5 * 14]).await.unwrap();
        far.write_all(b":1\r\n:2\r\n:3\r\n:4\r\n").await.unwrap();
        assert_eq!(format!("{:?}", all.until(soon()).await), "[Ok(Integer(1)), Ok(Integer(2)), Ok(Integer(3))]");
        let late = format!("{:?}", late.until(Instant::now() + Duration::from_millis(100)).await);
        assert_eq!(late, "[Ok(Integer(4))]");
        let lost = pipeline.send_all([[b"PING".as_slice()]; 2].into_iter());
        far.read_exact(&mut [0; 2 * 14]).await.unwrap();
        far.write_all(b":5\r\n:6\r\n").await.unwrap();
        drop(far);
        let lost = lost.until(soon()).await;
        assert!(matches!(lost[..], [Ok(Response::Integer(6)), Err(Unanswered::Lost(_))]), "{lost:?}");
        let unsent = pipeline.send_all([[b"PING".as_slice()]; 2].into_iter()).until(soon()).await;
        assert!(matches!(unsent[..], [Err(Unanswered::NotSent), Err(Unanswered::NotSent)]), "{unsent:?}");
    }

    #[tokio::test]
    async fn an_answer_to_nothing_ends_the_connection() {
        for bytes in [b":1\r\n:2\r\n".as_slice(), b":1\r\n+OK\r\n", b":1\r\n>1\r\n+x\r\n", b":1\r\n:x\r\n"] {
            let (near, mut far) = duplex(1 << 16);
            let pipeline = Pipeline::start(Box::new(near));
            let first = pipeline.send([b"PING"]);
            far.read_exact(&mut [0; 14]).await.unwrap();
            far.write_all(bytes).await.unwrap();
            assert!(matches!(first.await.unwrap(), Ok(Response::Integer(1))));
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
            assert!(!pipeline.is_usable());
        }
    }
}
