//! Taking where nothing but new tasks is there: by the command itself, and a short step behind it. A second one may be sent before the first is
//! answered, so that neither the server nor the instance waits for the other.

use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use redis::{Cmd, Pipeline};
use tokio::time::timeout;

use crate::{
    error::QueueError,
    transport::{
        durable::{
            contract::{Ahead, Take, Taken},
            task::{Entry, Verdict},
        },
        redis::queues::{
            failure::Failure,
            own::{Answer, Own},
            packed::Packed,
            reader::{RedisReader, Way},
            scripts::{QUICK, STEP},
            settling::{Order, stream, write, write_quick},
        },
    },
};

/// A take that was sent, and is to be answered.
pub(super) struct Sent {
    take: Take,
    way: Way,
    commands: Pipeline,
    order: Order,
    is_quick: bool,
}

/// A take is so many commands.
const COMMANDS: usize = 2;

impl RedisReader {
    /// Whether the next take is such a one.
    pub(super) fn takes_new(&self) -> bool {
        self.way != Way::Anywhere && self.woken_by.is_empty()
    }

    /// Takes from the only stream that has anything, by the command itself: a script would copy each entry twice. The step behind it settles, and
    /// says whether that was right: what was taken while the queue was paused goes back.
    pub(super) async fn take_new(&mut self, take: Take, way: Way) -> Result<Taken, Failure> {
        let mut own = self.connected().await?;
        let sent = self.send(&mut own, take, way);
        self.answered(own, &sent).await
    }

    /// What comes of the take that was left while the last one was under way.
    pub(super) async fn try_next(&mut self) -> Result<Taken, Failure> {
        let Some(sent) = self.sent.take() else {
            // The last one was not polled any more.
            return match self.ahead.found(|_| true) {
                Some(take) => self.try_take(take).await,
                None => Ok(Taken::default()),
            };
        };
        match self.place.present() {
            Some(own) => self.answered(own, &sent).await,
            None => Err(Failure::Lost("its connection was given up".to_owned())),
        }
    }

    /// Forgets what was left and what of it was sent, with the connection on which it was.
    pub(super) fn gives_up_ahead(&mut self) {
        self.ahead.found(|_| true);
        if self.sent.take().is_some() {
            self.place.give_up();
        }
    }

    /// What was sent ahead is lost with what has failed before it.
    pub(super) fn ended(&mut self, taken: Result<Taken, Failure>) -> Result<Taken, QueueError> {
        taken.map_err(|failure| {
            self.gives_up_ahead();
            failure.for_queue(self.queue.name.template, &self.place.context.settings)
        })
    }

    fn send(&self, own: &mut Own, take: Take, way: Way) -> Sent {
        let (step, order, is_quick) = self.step(&take, way);
        let mut commands = Pipeline::with_capacity(COMMANDS);
        let channel = &self.queue.parts[0];
        commands.add_command(self.reading(take.want, None, &[stream(channel, false)])).add_command(step);
        own.send(&commands);
        Sent { take, way, commands, order, is_quick }
    }

    async fn answered(&mut self, mut own: Box<Own>, sent: &Sent) -> Result<Taken, Failure> {
        let within = self.place.context.settings.command_timeout;
        let answers = timeout(within, self.awaited(&mut own, sent)).await.unwrap_or(Err(Failure::Late));
        let was_given =
            answers.as_ref().is_ok_and(|answers| answers.first().is_some_and(|read| read.error().is_none()));
        let taken = match self.place.put_back_all(own, answers) {
            Ok(answers) => self.taken_new(sent, &answers).await,
            Err(failure) => Err(failure),
        };
        if was_given && taken.is_err() {
            // What an instance was given and does not know of is looked for after its next connection.
            self.place.give_up();
        }
        taken
    }

    /// Awaits the answers, and sends what is left meanwhile.
    async fn awaited(&mut self, own: &mut Own, sent: &Sent) -> Result<Vec<Answer>, Failure> {
        let ahead = Arc::clone(&self.ahead);
        let answers = loop {
            tokio::select! {
                biased;
                take = left(&ahead), if self.sent.is_none() => self.sent = Some(self.send(own, take, sent.way)),
                answers = own.awaited(COMMANDS) => break answers?,
            }
        };
        own.known(&sent.commands, answers).await
    }

    async fn taken_new(&mut self, sent: &Sent, answers: &[Answer]) -> Result<Taken, Failure> {
        let Sent { take, order, is_quick, .. } = sent;
        let [read, step] = answers else { return Err(Failure::Unreadable) };
        let entries = self.read_streams(read).ok_or(Failure::Unreadable)?;
        if !is_quick {
            return self.stepped(entries, order, step.text()?).await;
        }
        if step.is_null() {
            let (step, order, _) = self.step(take, Way::New);
            let step = self.ask(step).await?;
            return self.stepped(entries, &order, step.text()?).await;
        }
        self.way = Way::Quick;
        self.read_quick(entries, order, Packed::new(step.text()?)).ok_or(Failure::Unreadable)
    }

    /// What settles behind a command that takes, and whether that is by `quick`.
    fn step(&self, take: &Take, way: Way) -> (Cmd, Order, bool) {
        let channel = &self.queue.parts[0];
        if way == Way::Quick {
            let mut quick = QUICK.on(&self.base);
            quick.arg(channel.as_ref());
            if let Some(order) = write_quick(&mut quick, &take.settlements) {
                return (quick, order, true);
            }
        }
        let mut step = STEP.on(&self.base);
        step.arg(self.instance.as_ref()).arg(channel.as_ref());
        let order = write(&mut step, &take.settlements);
        (step, order, false)
    }

    async fn stepped(&mut self, entries: Vec<Entry>, order: &Order, answer: Bytes) -> Result<Taken, Failure> {
        let (taken, is_watched) = self.read_step(entries, order, Packed::new(answer)).ok_or(Failure::Unreadable)?;
        if is_watched && !taken.is_paused {
            self.tell_of(&taken.entries).await;
        }
        Ok(taken)
    }

    fn read_step(&mut self, entries: Vec<Entry>, order: &Order, mut packed: Packed) -> Option<(Taken, bool)> {
        if packed.array()? != 7 {
            return None;
        }
        let (settled, now, next_due) = self.read_settled(order, &mut packed)?;
        let mut is_there = || packed.number().map(|number| number == 1);
        let (is_paused, has_further, is_watched, has_anything) = (is_there()?, is_there()?, is_there()?, is_there()?);
        self.way = match (is_paused || has_further, has_anything) {
            (true, _) => Way::Anywhere,
            (false, true) => Way::New,
            (false, false) => Way::Quick,
        };
        Some((Taken { settled, entries, is_paused, next_due, now }, is_watched))
    }

    fn read_quick(&self, entries: Vec<Entry>, order: &Order, mut packed: Packed) -> Option<Taken> {
        if packed.array()? != 3 {
            return None;
        }
        let (settled, now, next_due) = self.read_settled(order, &mut packed)?;
        Some(Taken { settled, entries, is_paused: false, next_due, now })
    }
}

/// A take that was left, unless something is to be done before it is sent. Whoever leaves one polls then.
async fn left(ahead: &Ahead) -> Take {
    let has_follow_ups = |verdict: &Verdict| matches!(verdict, Verdict::Done { follow_ups } if !follow_ups.is_empty());
    let is_ready = |take: &Take| !take.settlements.iter().any(|settlement| has_follow_ups(&settlement.verdict));
    poll_fn(|_| ahead.found(is_ready).map_or(Poll::Pending, Poll::Ready)).await
}
