//! Commands of many callers on one connection: written together, answered in order.
//!
//! A caller encodes its command into the shared buffer by itself, so the order of commands is the order of calls, the payload is
//! copied once, and it is known of each command whether it can have been sent. When nothing is under way it also writes it by
//! itself, which saves the way over the task; what comes while answers are due is written together, by the task.

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
};

use super::{
    connection::{Stream, Wire, encode, lost},
    resp::{self, Reply, owned},
};

/// A connection for commands and the task that drives it. Dropping it stops the task and closes the connection.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    changed: Notify,
    /// To be used for no further command.
    retired: AtomicBool,
}

#[derive(Default)]
struct Line {
    /// Commands that the task has not taken yet.
    unsent: BytesMut,
    unsent_commands: usize,
    /// The task last took several commands at once.
    crowded: bool,
    /// Who awaits an answer, oldest first; the last `unsent_commands` of them cannot get one yet.
    waiting: VecDeque<oneshot::Sender<Answered>>,
    ended: bool,
    /// Where callers write by themselves. Absent when the connection is encrypted or has ended.
    socket: Option<Arc<OwnedWriteHalf>>,
}

pub(super) type Answered = Result<Answer, Unanswered>;

#[derive(Debug)]
pub(super) enum Answer {
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

impl Pipeline {
    pub(super) fn start(stream: Stream) -> Self {
        let shared = Arc::new(Shared::default());
        shared.line().socket = stream.socket();
        let mut task = JoinSet::new();
        task.spawn(drive(stream, Ended(Arc::clone(&shared))));
        Self { shared, _task: task }
    }

    /// Puts a command in line. The receiver resolves with its answer, or with an error when the connection ends.
    pub(super) fn send<const WORDS: usize>(&self, words: [&[u8]; WORDS]) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        let mut line = self.shared.line();
        if line.ended {
            let _ = answer.send(Err(Unanswered::NotSent));
            return answered;
        }
        // All that was sent is answered, so the task has nothing left to write. Where several callers come at once it still writes for
        // all of them: one write of sixty commands costs less than one of the first and one of the others.
        let is_idle = line.waiting.is_empty() && !line.crowded;
        encode(&mut line.unsent, WORDS, words);
        line.waiting.push_back(answer);
        line.unsent_commands += 1;
        let is_first = line.unsent_commands == 1;
        if is_idle && line.write() {
            return answered;
        }
        drop(line);
        if is_first {
            self.shared.changed.notify_one();
        }
        answered
    }

    /// Nobody is to use the connection any more; those who wait for an answer go on waiting.
    pub(super) fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.shared.retired.load(Ordering::Acquire)
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // No code that can panic runs under the lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves commands from the line to the socket's buffer.
    fn take(&self, outgoing: &mut BytesMut) {
        if !outgoing.is_empty() {
            // What is being written will be answered, and the answers bring the task back here.
            return;
        }
        let mut line = self.line();
        if line.unsent_commands > 0 {
            line.crowded = line.unsent_commands > 1;
        }
        line.unsent_commands = 0;
        std::mem::swap(&mut line.unsent, outgoing);
        if line.unsent.capacity() > LARGEST_KEPT {
            line.unsent = BytesMut::new();
        }
    }

    /// Hands the answers to those who wait. Returns whether there was somebody for each.
    fn answer(&self, answers: &mut Vec<Answer>) -> bool {
        let mut line = self.line();
        let awaited = line.waiting.len() - line.unsent_commands;
        let all = answers.len() <= awaited;
        for answer in answers.drain(..).take(awaited) {
            if let Some(waiting) = line.waiting.pop_front() {
                // Whoever stopped waiting does not want to know.
                let _ = waiting.send(Ok(answer));
            }
        }
        all
    }

    fn end(&self, reason: &str) {
        self.retired.store(true, Ordering::Release);
        let mut line = self.line();
        line.ended = true;
        let sent = line.waiting.len() - line.unsent_commands;
        for (index, waiting) in line.waiting.drain(..).enumerate() {
            let sent = index < sent;
            let _ = waiting.send(Err(if sent { Unanswered::Lost(reason.to_owned()) } else { Unanswered::NotSent }));
        }
        line.unsent_commands = 0;
        line.unsent = BytesMut::new();
        line.socket = None;
    }
}

impl Line {
    /// Writes as much as the socket takes at once, and tells whether that was all. The task writes the rest, and meets any trouble.
    fn write(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        match socket.try_write(&self.unsent) {
            Ok(written @ 1..) => {
                // Even of a part the server may have heard.
                self.unsent_commands = 0;
                self.unsent.advance(written);
                self.unsent.is_empty()
            }
            _ => false,
        }
    }
}

/// Answers everybody when the task ends, whatever ended it.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end("the connection's task has ended");
    }
}

async fn drive(stream: Stream, ended: Ended) {
    let shared = &ended.0;
    let mut wire = Wire::new(stream);
    let mut answers = Vec::new();
    loop {
        shared.take(&mut wire.outgoing);
        // Cancel-safe: `advance` loses no byte, `notified` keeps its permit.
        let read = tokio::select! {
            biased;
            read = wire.advance(1) => read.map_err(|error| lost(&error)),
            () = shared.changed.notified() => continue,
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
fn scan(incoming: &mut BytesMut, answers: &mut Vec<Answer>) -> Result<(), String> {
    let mut at = 0;
    let scanned = loop {
        match resp::reply(incoming, at) {
            Ok(Some((reply, end))) => {
                answers.push(match reply {
                    Reply::Integer(number) => Answer::Integer(number),
                    Reply::Error(text) => Answer::Error(owned(&incoming[text])),
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
        // The task has not run since, so this one cannot have been taken.
        let unsent = pipeline.send([b"PING"]);
        assert!(matches!(sent.await.unwrap(), Err(Unanswered::Lost(_))));
        assert!(matches!(unsent.await.unwrap(), Err(Unanswered::NotSent | Unanswered::Lost(_))));
        assert!(!pipeline.is_usable());
        assert!(matches!(pipeline.send([b"PING"]).await.unwrap(), Err(Unanswered::NotSent)));
    }

    #[tokio::test]
    async fn an_answer_to_nothing_ends_the_connection() {
        for bytes in [b":1\r\n:2\r\n".as_slice(), b":1\r\n+OK\r\n", b":1\r\n>1\r\n+x\r\n", b":1\r\n:x\r\n"] {
            let (near, mut far) = duplex(1 << 16);
            let pipeline = Pipeline::start(Box::new(near));
            let first = pipeline.send([b"PING"]);
            far.read_exact(&mut [0; 14]).await.unwrap();
            far.write_all(bytes).await.unwrap();
            assert!(matches!(first.await.unwrap(), Ok(Answer::Integer(1))));
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
            assert!(!pipeline.is_usable());
        }
    }
}
