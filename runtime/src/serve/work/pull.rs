//! The reader of a queue, and what of it is under way.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};

use crate::{
    bus::handle::Bus,
    error::QueueError,
    serve::holdings::Holdings,
    time::{deadline_after, now},
    transport::durable::{
        any::AnyReader,
        contract::{Ahead, QueueSpec, Take, Taken, Waited, WakeReader},
    },
};

/// The reader of a queue, and the one call of it that is under way; behind a take there may be another one. A call is polled to its end, unless its
/// connection is given up with it.
pub(super) struct Pull {
    bus: Bus,
    queue: QueueSpec,
    instance: Arc<str>,
    holdings: Arc<Holdings>,
    waker: Arc<dyn WakeReader>,
    /// How often the reader had a connection when it was asked last.
    connections: u64,
    state: State,
    /// Where a take can be left behind the one that is under way.
    ahead: Option<Arc<Ahead>>,
    /// The one that is there.
    behind: Option<Asked>,
}

/// A take that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// For so many places.
    pub(super) places: usize,
}

type Call<T> = Pin<Box<dyn Future<Output = (AnyReader, Result<T, QueueError>)> + Send>>;

enum State {
    Idle(AnyReader),
    Taking(Call<Taken>, Asked),
    Waiting(Call<Waited>),
    Resting(Call<()>),
    Declaring(Call<()>),
    Pausing(Option<AnyReader>, Pin<Box<Sleep>>),
    /// Only between two of the others.
    Moving,
}

/// What has come of a call.
pub(super) enum Pulled {
    Taken(Taken, Asked),
    Waited(Waited),
    /// The queue may go on, after it was paused.
    Rested(Result<(), QueueError>),
    /// A take has failed, and the one behind it with it: it is open what has become of their settlements.
    NotTaken(QueueError),
    NotWaited(QueueError),
    Declared(Result<(), QueueError>),
    /// A pause is over.
    PauseEnded,
}

impl Pull {
    pub(super) fn new(bus: Bus, queue: QueueSpec, instance: Arc<str>, holdings: Arc<Holdings>) -> Self {
        let reader = bus.durable().reader(queue.clone(), Arc::clone(&instance));
        let waker = reader.waker();
        Self {
            bus,
            queue,
            instance,
            holdings,
            waker,
            connections: 0,
            state: State::Idle(reader),
            ahead: None,
            behind: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    pub(super) fn is_taking(&self) -> bool {
        matches!(self.state, State::Taking(..))
    }

    /// Whether a call is under way that may bring something.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.state, State::Taking(..) | State::Waiting(_))
    }

    /// Whether a take can begin now, if only behind another one.
    pub(super) fn may_take(&self) -> bool {
        self.is_idle() || self.is_taking() && self.behind.is_none() && self.ahead.is_some()
    }

    /// The places for which takes are under way.
    pub(super) fn places(&self) -> usize {
        let first = if let State::Taking(_, asked) = &self.state { asked.places } else { 0 };
        first + self.behind.map_or(0, |asked| asked.places)
    }

    /// Begins to take for so many places. What a wait has brought and is not told to the holdings belongs to the same call.
    pub(super) fn take(&mut self, take: Take, places: usize, begins: bool) {
        debug_assert!(self.may_take(), "one call at a time, and one behind a take");
        if begins {
            self.holdings.call_begins();
        }
        let asked = Asked { at: now(), places };
        let Some(mut reader) = self.reader() else {
            if let Some(ahead) = &self.ahead {
                ahead.leave(take);
                self.behind = Some(asked);
            }
            return;
        };
        self.ahead = reader.ahead();
        let call = Box::pin(async move {
            let taken = reader.take(take).await;
            (reader, taken)
        });
        self.state = State::Taking(call, asked);
    }

    /// Begins to wait.
    pub(super) fn wait(&mut self, longest: Duration) {
        let Some(mut reader) = self.reader() else { return };
        self.holdings.call_begins();
        self.state = State::Waiting(Box::pin(async move {
            let waited = reader.wait(longest.max(SHORTEST_WAIT)).await;
            (reader, waited)
        }));
    }

    /// Begins to wait until the queue goes on.
    pub(super) fn rest(&mut self, longest: Duration) {
        let Some(mut reader) = self.reader() else { return };
        self.state = State::Resting(Box::pin(async move {
            let rested = reader.rest(longest.max(SHORTEST_WAIT)).await;
            (reader, rested)
        }));
    }

    /// Has it return at once if it waits.
    pub(super) fn wake(&self) {
        if matches!(self.state, State::Waiting(_) | State::Resting(_)) {
            self.waker.wake();
        }
    }

    /// Does nothing for so long.
    pub(super) fn pause(&mut self, pause: Duration) {
        let reader = self.reader();
        self.state = State::Pausing(reader, Box::pin(sleep_until(deadline_after(pause))));
    }

    /// Ends a pause.
    pub(super) fn end_pause(&mut self) {
        if let State::Pausing(reader, _) = &mut self.state
            && let Some(reader) = reader.take()
        {
            self.state = State::Idle(reader);
        }
    }

    /// Begins to make what the queue needs.
    pub(super) fn declare(&mut self) {
        let Some(reader) = self.reader() else { return };
        let (bus, queue) = (self.bus.clone(), self.queue.clone());
        self.state = State::Declaring(Box::pin(async move {
            let declared = bus.durable().declare(&queue).await;
            (reader, declared)
        }));
    }

    /// Gives the connection up with whatever it is doing, for another one.
    pub(super) fn renew(&mut self) {
        if self.is_asking() {
            self.holdings.call_ended(&[], now());
        }
        self.lose_behind();
        let reader = self.bus.durable().reader(self.queue.clone(), Arc::clone(&self.instance));
        self.waker = reader.waker();
        self.state = State::Idle(reader);
        // Whatever number its first connection has, it is not this.
        self.connections = u64::MAX;
    }

    /// The take behind the one that has failed will bring nothing.
    fn lose_behind(&mut self) {
        if self.behind.take().is_some() {
            self.holdings.call_ended(&[], now());
        }
    }

    /// The reader, where it is idle.
    fn reader(&mut self) -> Option<AnyReader> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Idle(reader) => Some(reader),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// What has come of the call that is under way; never completes where there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the call goes on with the next one.
    pub(super) async fn next(&mut self) -> Pulled {
        poll_fn(|context| {
            let (reader, pulled) = match &mut self.state {
                State::Idle(_) | State::Moving => return Poll::Pending,
                State::Taking(call, asked) => {
                    let asked = *asked;
                    let Poll::Ready((reader, taken)) = call.as_mut().poll(context) else { return Poll::Pending };
                    (Some(reader), taken.map_or_else(Pulled::NotTaken, |taken| Pulled::Taken(taken, asked)))
                }
                State::Waiting(call) => {
                    let Poll::Ready((reader, waited)) = call.as_mut().poll(context) else { return Poll::Pending };
                    (Some(reader), waited.map_or_else(Pulled::NotWaited, Pulled::Waited))
                }
                State::Resting(call) => {
                    let Poll::Ready((reader, rested)) = call.as_mut().poll(context) else { return Poll::Pending };
                    (Some(reader), Pulled::Rested(rested))
                }
                State::Declaring(call) => {
                    let Poll::Ready((reader, declared)) = call.as_mut().poll(context) else { return Poll::Pending };
                    (Some(reader), Pulled::Declared(declared))
                }
                State::Pausing(reader, sleep) => {
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    (reader.take(), Pulled::PauseEnded)
                }
            };
            if let Some(reader) = reader {
                self.returned(reader);
            }
            match pulled {
                Pulled::NotTaken(_) => self.lose_behind(),
                _ => self.goes_on(),
            }
            Poll::Ready(pulled)
        })
        .await
    }

    /// The take behind the one that has ended is under way.
    fn goes_on(&mut self) {
        if let Some(asked) = self.behind.take()
            && let Some(mut reader) = self.reader()
        {
            self.ahead = reader.ahead();
            let call = Box::pin(async move {
                let taken = reader.next().await;
                (reader, taken)
            });
            self.state = State::Taking(call, asked);
        }
    }

    fn returned(&mut self, reader: AnyReader) {
        let connections = reader.connections();
        if connections != self.connections {
            // What the first one was given arrives with its first answer.
            if self.connections > 0 {
                self.holdings.may_miss();
            }
            self.connections = connections;
        }
        self.state = State::Idle(reader);
    }
}

/// Zero would be for ever.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
