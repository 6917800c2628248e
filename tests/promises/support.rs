//! What the promise tests share: two messages, waiting for events, gates and gauges for handlers.

use std::{
    fmt,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Event, HandlerStats, Message, OwnedMessage, Received, Service, Subscription};
use tidings_tests::World;
use tokio::sync::Semaphore;

/// A deadline for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Step `n` on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[channel("line:<line>")]
pub(crate) struct Step {
    pub(crate) line: u64,
    pub(crate) n: u64,
}

/// A message on a channel without parameters.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[channel("news")]
pub(crate) struct News {
    pub(crate) n: u64,
}

/// The next event, which must come soon.
#[track_caller]
pub(crate) fn event<M: OwnedMessage>(subscription: &mut Subscription<M>) -> impl Future<Output = Event<M>> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(SOON, subscription.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("at {caller}: the subscription to {} has ended", subscription.selection()),
            Err(_) => panic!("at {caller}: no event of {} within {SOON:?}", subscription.selection()),
        }
    }
}

/// The next event, which must be a message.
#[track_caller]
pub(crate) fn received<M: OwnedMessage + fmt::Debug>(
    subscription: &mut Subscription<M>,
) -> impl Future<Output = Received<M>> {
    let caller = Location::caller();
    let event = event(subscription);
    async move {
        match event.await {
            Event::Message(received) => received,
            other => panic!("at {caller}: expected a message, not {other:?}"),
        }
    }
}

/// The next message.
#[track_caller]
pub(crate) fn message<M: OwnedMessage + fmt::Debug>(subscription: &mut Subscription<M>) -> impl Future<Output = M> {
    let received = received(subscription);
    async move { received.await.message }
}

/// The next events, which must be so many messages.
pub(crate) async fn messages<M: OwnedMessage + fmt::Debug>(subscription: &mut Subscription<M>, count: usize) -> Vec<M> {
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push(message(subscription).await);
    }
    messages
}

/// How long to wait for handlers to acknowledge when none of them will: on a cluster nobody knows how many there are, so that only time tells.
pub(crate) fn patience(world: &World) -> Duration {
    if world.is_cluster() { Duration::from_secs(1) } else { SOON }
}

/// Why handlers have refused what none of them has acknowledged within [`patience`].
#[track_caller]
pub(crate) fn refusals(world: &World, error: AcknowledgeError) -> Vec<String> {
    match error {
        AcknowledgeError::Refused { refusals, .. } if !world.is_cluster() => refusals,
        AcknowledgeError::TimedOut { handlers: 0, refusals, .. } if world.is_cluster() => refusals,
        other => panic!("{other:?}"),
    }
}

/// The counters of one handler.
pub(crate) fn handler(service: &Service, name: &str) -> HandlerStats {
    let found = service.stats().handlers.into_iter().find(|handler| handler.handler.ends_with(name));
    found.unwrap_or_else(|| panic!("no handler {name}: {:?}", service.stats()))
}

/// Holds handlers up until it is opened. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Waits for a place.
    pub(crate) async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    /// Lets so many pass.
    pub(crate) fn admit(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everybody pass from now on.
    pub(crate) fn open(&self) {
        self.0.add_permits(1_000_000);
    }
}

/// Counts how many are inside at once. Clones are the same gauge.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<Counts>);

#[derive(Default)]
struct Counts {
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    /// Counts until the guard is dropped.
    pub(crate) fn enter(&self) -> impl Drop + Send + use<> {
        let inside = self.0.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(inside, Ordering::SeqCst);
        Inside(Arc::clone(&self.0))
    }

    pub(crate) fn inside(&self) -> usize {
        self.0.inside.load(Ordering::SeqCst)
    }

    /// The most that were inside at once.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

struct Inside(Arc<Counts>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
