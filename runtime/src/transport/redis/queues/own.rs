//! Connections that a reader or a keeper has alone, on our own wire: what a server answers is read where it lies. Driven where they are used, in
//! whichever runtime that is: no tokio task of their own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use redis::{Cmd, Pipeline, Value, parse_redis_value};
use tokio::time::timeout;

use crate::transport::redis::{
    queues::{
        connection::Context,
        failure::Failure,
        scripts::{is_unknown, with_text},
    },
    resp::value::{Walk, Whole},
    retry::Retry,
    stream::Stream,
    wire::{Wire, lost},
};

/// A connection that its owner has alone.
pub(super) struct Own {
    wire: Wire,
    /// So many answers are still to be handed out to those who have sent something ahead.
    expected: usize,
    /// What was read and not handed out, the oldest first.
    read: VecDeque<Answer>,
    /// How far the next one is found.
    next: Whole,
}

impl Own {
    fn new(stream: Stream) -> Self {
        Self { wire: Wire::new(stream), expected: 0, read: VecDeque::new(), next: Whole::new() }
    }

    /// Puts commands in line, to be written with whatever is asked or awaited next. Their answers are awaited with
    /// [`awaited`](Self::awaited), in the order in which the commands were put here.
    pub(super) fn send(&mut self, commands: &Pipeline) {
        self.wire.outgoing.extend_from_slice(&commands.get_packed_pipeline());
        self.expected += commands.len();
    }

    /// Answers of commands that were put in line, as the server gave them, errors among them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn awaited(&mut self, count: usize) -> Result<Vec<Answer>, Failure> {
        self.read(count).await?;
        self.expected -= count;
        Ok(self.read.drain(..count).collect())
    }

    /// Sends commands together: an answer for each, errors of the server among them. A script that the server does not know is sent again with
    /// its text.
    ///
    /// # Cancel safety
    ///
    /// A connection whose answers were not awaited is of no further use.
    pub(super) async fn ask_all(&mut self, commands: &Pipeline, within: Duration) -> Result<Vec<Answer>, Failure> {
        timeout(within, self.answered(commands)).await.unwrap_or(Err(Failure::Late))
    }

    pub(super) async fn ask(&mut self, command: Cmd, within: Duration) -> Result<Answer, Failure> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        self.ask_all(&commands, within).await?.pop().ok_or(Failure::Unreadable)
    }

    async fn answered(&mut self, commands: &Pipeline) -> Result<Vec<Answer>, Failure> {
        let answers = self.sent(commands).await?;
        self.known(commands, answers).await
    }

    /// Sends those commands again, with their texts, whose scripts the server did not know.
    pub(super) async fn known(
        &mut self,
        commands: &Pipeline,
        mut answers: Vec<Answer>,
    ) -> Result<Vec<Answer>, Failure> {
        let unknown = |answer: &Answer| answer.error().is_some_and(|error| is_unknown(&error));
        let places: Vec<usize> = (0..answers.len()).filter(|&at| unknown(&answers[at])).collect();
        if !places.is_empty() {
            let all: Vec<&Cmd> = commands.cmd_iter().collect();
            let mut again = Pipeline::with_capacity(places.len());
            for &at in &places {
                again.add_command(with_text(all[at]).ok_or(Failure::Unreadable)?);
            }
            for (at, answer) in places.into_iter().zip(self.sent(&again).await?) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }

    /// What was put in line before is answered before, and stays here.
    async fn sent(&mut self, commands: &Pipeline) -> Result<Vec<Answer>, Failure> {
        self.wire.outgoing.extend_from_slice(&commands.get_packed_pipeline());
        let before = self.expected;
        self.read(before + commands.len()).await?;
        Ok(self.read.drain(before..).collect())
    }

    /// Reads until so many answers are here.
    async fn read(&mut self, count: usize) -> Result<(), Failure> {
        while self.read.len() < count {
            let end = self.next.end(&self.wire.incoming).map_err(|error| Failure::Lost(error.to_string()))?;
            match end {
                Some(end) => {
                    self.read.push_back(Answer(self.wire.incoming.split_to(end).freeze()));
                    self.next = Whole::new();
                }
                None => {
                    let needed = self.wire.incoming.len() + 1;
                    self.wire.advance(needed).await.map_err(|error| Failure::Lost(lost(&error)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing has come that was not asked for, as the end of the connection. Where something is still expected, that is seen there.
    fn is_usable(&mut self) -> bool {
        self.expected > 0 || self.wire.incoming.is_empty() && self.wire.advance(1).now_or_never().is_none()
    }
}

/// What the server has answered, as it came: one whole value.
#[derive(Debug)]
pub(super) struct Answer(Bytes);

impl Answer {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The error that it is.
    pub(super) fn error(&self) -> Option<Value> {
        matches!(self.0.first(), Some(b'-' | b'!')).then(|| parse_redis_value(&self.0).ok()).flatten()
    }

    pub(super) fn check(self) -> Result<Self, Failure> {
        match self.0.first() {
            Some(b'-' | b'!') => Err(self.error().as_ref().and_then(Failure::of).unwrap_or(Failure::Unreadable)),
            _ => Ok(self),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        Walk::new().null(&self.0)
    }

    pub(super) fn text(&self) -> Result<Bytes, Failure> {
        let text = Walk::new().text(&self.0).ok_or(Failure::Unreadable)?;
        Ok(self.0.slice(text))
    }

    pub(super) fn number(&self) -> Result<i64, Failure> {
        Walk::new().number(&self.0).ok_or(Failure::Unreadable)
    }
}

/// The place of a connection that its owner has alone: empty before the first use, while it is used, and after a fault.
pub(super) struct Place {
    pub(super) context: Arc<Context>,
    name: &'static str,
    own: Option<Box<Own>>,
    retry: Retry,
    connections: u64,
}

impl Place {
    pub(super) fn new(context: Arc<Context>, name: &'static str) -> Self {
        Self { context, name, own: None, retry: Retry::default(), connections: 0 }
    }

    /// How often there was a connection.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Takes the connection out; makes one if there is none. The flag says that it is new.
    pub(super) async fn take(&mut self) -> Result<(Box<Own>, bool), Failure> {
        if let Some(reason) = self.context.life.ended() {
            self.own = None;
            return Err(Failure::Closed(reason.to_owned()));
        }
        if let Some(mut own) = self.own.take()
            && own.is_usable()
        {
            return Ok((own, false));
        }
        let stream = self.context.open_in_time(self.name, &mut self.retry).await?;
        self.connections += 1;
        Ok((Box::new(Own::new(stream)), true))
    }

    /// Puts the connection back without having asked anything.
    pub(super) fn put_back_unused(&mut self, own: Box<Own>) {
        self.own = Some(own);
    }

    /// Puts the connection back, unless what it was asked shows that it is lost; the answers, none of them an error of the server.
    pub(super) fn put_back_all(
        &mut self,
        own: Box<Own>,
        answers: Result<Vec<Answer>, Failure>,
    ) -> Result<Vec<Answer>, Failure> {
        let connector = &self.context.connector;
        let answers = answers.inspect_err(|_| connector.outdated())?;
        let errors = || answers.iter().filter_map(Answer::error);
        if errors().any(|error| Failure::is_of_a_server_that_is_no_master(&error)) {
            connector.outdated();
        }
        // What a node has not, or not any more, is no fault of a connection to it.
        let is_of_no_use = |error: &Value| {
            Failure::is_of_a_server_that_is_no_master(error)
                && !(connector.is_to_a_node() && Failure::is_of_another_node(error))
        };
        if !errors().any(|error| is_of_no_use(&error)) {
            self.own = Some(own);
            self.retry.failures = 0;
        }
        answers.into_iter().map(Answer::check).collect()
    }

    /// The same of one answer.
    pub(super) fn put_back(&mut self, own: Box<Own>, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let mut answers = self.put_back_all(own, answer.map(|answer| vec![answer]))?;
        answers.pop().ok_or(Failure::Unreadable)
    }

    /// The connection that was put back last, to be awaited on.
    pub(super) fn present(&mut self) -> Option<Box<Own>> {
        self.own.take()
    }

    /// Gives the connection up, with whatever the server may have given to it.
    pub(super) fn give_up(&mut self) {
        self.own = None;
    }

    /// Asks within the command timeout.
    pub(super) async fn ask(&mut self, command: Cmd) -> Result<Answer, Failure> {
        let (mut own, _) = self.take().await?;
        let answer = own.ask(command, self.context.settings.command_timeout).await;
        self.put_back(own, answer)
    }
}
