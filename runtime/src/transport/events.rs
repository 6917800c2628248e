//! What happens to a bus's connections and services, for whoever wants to watch.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    observe::{
        meters::{ConnectionGauge, Counted},
        names,
    },
    transport::status::GapCause,
};

/// Something that happened to a bus. [`Bus::events`](crate::Bus::events) tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A connection for subscriptions was lost: the shared one, the one of a subscription with
    /// [`Overflow::BackPressure`](crate::Overflow::BackPressure), or on a Redis Cluster one to a node that has inboxes of instances.
    #[non_exhaustive]
    Disconnected {
        /// Why.
        cause: GapCause,
        /// The server, as host and port, where it is known.
        server: Option<String>,
    },
    /// The connection was made anew; its subscriptions are not confirmed yet.
    #[non_exhaustive]
    Connected {
        /// The server, as host and port; absent on `memory:`.
        server: Option<String>,
        /// Since the loss was noticed.
        lasted: Duration,
    },
    /// The server has answered for every subscription of a connection that was made anew.
    #[non_exhaustive]
    Resubscribed {
        /// How many channels and patterns are live.
        names: usize,
        /// Since the loss was noticed.
        lasted: Duration,
    },
    /// The server refused a channel or pattern.
    #[non_exhaustive]
    Refused {
        /// The channel or pattern, with the namespace.
        channel: String,
        /// The server's words, and the rule that would allow it.
        reason: String,
    },
    /// A subscription or a handler of a service is too slow, and its buffer started to drop messages. Told again once it had caught up.
    #[non_exhaustive]
    Lagging {
        /// The first channel or pattern of the subscription, with the namespace; of a handler, the template of its channel.
        channel: String,
    },
    /// Handlers of a service return messages or tasks to each other for many hops: perhaps a loop. Told once for each service.
    #[non_exhaustive]
    ManyHops {
        /// The handlers that were on the way.
        handlers: Vec<&'static str>,
        /// How far the message is from the first of their chain.
        hops: u32,
    },
    /// The connection of a subscription or service with [`Overflow::BackPressure`](crate::Overflow::BackPressure) was not made anew within
    /// the limit of the reconnect policy. It ends; others go on.
    #[non_exhaustive]
    Ended {
        /// Its first channel or pattern, with the namespace.
        channel: String,
        /// Why.
        reason: String,
    },
    /// A service received what is no message of its handler, and rejected it.
    ///
    /// The first of a kind is told at once. Others of the same kind for the same handler within a second after it are told together, when the
    /// second is over: a flood of them must not push everything else out of the stream.
    #[non_exhaustive]
    Rejected {
        /// The handler's name.
        handler: &'static str,
        /// Its channel's template.
        template: &'static str,
        /// The channel, without the namespace: the last one's of several. Of a long one the first 128 characters, and the
        /// replacement character for those that control a terminal.
        channel: String,
        /// The id in the message's envelope, where it could be read; shown as the channel is.
        id: Option<String>,
        /// Why, in the decoder's words. Says nothing of the payload's values.
        reason: String,
        /// How many messages this event stands for, at least 1.
        count: u64,
    },
    /// Tasks were given up, and are in the dead letters of their queue. The first is told at once, others of the same handler within a second
    /// after it together.
    #[non_exhaustive]
    DeadLetter {
        /// The handler's name.
        handler: &'static str,
        /// The queue's template.
        queue: &'static str,
        /// The channel of the last one, shown as that of [`Rejected`](Self::Rejected) is.
        channel: String,
        /// What the last failure of the last one said.
        reason: String,
        /// How many tasks this event stands for, at least 1.
        count: u64,
    },
    /// Tasks wait aside, because no instance has known their name or version for long. One that does takes them from there. Told as
    /// [`DeadLetter`](Self::DeadLetter) is.
    #[non_exhaustive]
    Parked {
        /// The name of the handler that gave them up.
        handler: &'static str,
        /// The queue's template.
        queue: &'static str,
        /// The channel of the last one.
        channel: String,
        /// How many tasks this event stands for, at least 1.
        count: u64,
    },
    /// Dead letters left by the bounds of their number, age and bytes.
    #[non_exhaustive]
    DeadLettersTrimmed {
        /// The queue's template.
        queue: &'static str,
        /// How many of them, by whichever instance.
        count: u64,
    },
    /// The keys of a queue were gone, and its tasks with them: flushed, deleted or evicted, or another server is at the address now. They are made again.
    #[non_exhaustive]
    QueueGone {
        /// The queue's template.
        queue: &'static str,
        /// The server's words.
        reason: String,
    },
    /// An instance took nothing from a queue for half a minute, although it had a free place and something was due: it takes another connection.
    #[non_exhaustive]
    QueueStalled {
        /// The queue's template.
        queue: &'static str,
    },
    /// A service ended without being asked to, and the bus has not given up: its tokio task panicked, or its runtime was shut down.
    #[non_exhaustive]
    ServiceEnded {
        /// The names of its handlers.
        handlers: Vec<&'static str>,
        /// Why, as far as it is known.
        reason: String,
    },
    /// The program has closed the bus, or the bus gave up reconnecting. Every subscription and service ends.
    #[non_exhaustive]
    Closed {
        /// Why.
        reason: String,
    },
    /// So many events were missed at this point, because this stream was not read.
    Missed(u64),
}

/// The events of a bus from the moment of [`Bus::events`](crate::Bus::events) on, as a [`Stream`]. It ends when the bus is dropped.
///
/// It holds up to 256 events; whoever reads too slowly loses the oldest and is told with [`BusEvent::Missed`].
///
/// # Examples
///
/// ```
/// # use tidings::{Bus, BusEvent, testing::Broker};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = Broker::new();
/// # let bus = Bus::connect(&broker.url()).await?;
/// let mut events = bus.events();
/// broker.disconnect_subscribers();
/// assert!(matches!(events.next().await, Some(BusEvent::Disconnected { .. })));
/// assert!(matches!(events.next().await, Some(BusEvent::Connected { .. })));
/// # Ok(()) }
/// ```
#[must_use = "events are told to whoever reads them"]
pub struct BusEvents {
    stream: Pin<Box<dyn Stream<Item = BusEvent> + Send + Sync>>,
}

/// Far more than a storm of reconnections brings while a program handles one event.
const CAPACITY: usize = 256;

impl BusEvents {
    fn new(events: broadcast::Receiver<BusEvent>) -> Self {
        let stream = stream::unfold(events, async |mut events| {
            let event = match events.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => BusEvent::Missed(count),
                Err(RecvError::Closed) => return None,
            };
            Some((event, events))
        });
        Self { stream: Box::pin(stream) }
    }

    /// The next event; `None` when the bus is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<BusEvent> {
        std::future::poll_fn(|context| self.stream.as_mut().poll_next(context)).await
    }
}

impl Stream for BusEvents {
    type Item = BusEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        self.stream.as_mut().poll_next(context)
    }
}

impl fmt::Debug for BusEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BusEvents").finish_non_exhaustive()
    }
}

/// Where a connection tells of itself.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<BusEvent>,
    counted: Arc<Totals>,
    gauge: ConnectionGauge,
    renewed: Counted,
}

/// What is told of several connections together.
#[derive(Debug)]
struct Totals {
    reconnects: AtomicU64,
    since: Mutex<Instant>,
}

impl Events {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Self::of(broadcast::channel(CAPACITY).0, Totals::new(now))
    }

    /// For a further connection of the bus: its events go to the same streams, its state is its own.
    pub(crate) fn further(&self, now: Instant) -> Arc<Self> {
        Self::of(self.sender.clone(), Totals::new(now))
    }

    /// For one of several connections that do together what otherwise one does.
    pub(crate) fn part(&self) -> Arc<Self> {
        Self::of(self.sender.clone(), Arc::clone(&self.counted))
    }

    fn of(sender: broadcast::Sender<BusEvent>, counted: Arc<Totals>) -> Arc<Self> {
        Arc::new(Self { sender, counted, gauge: ConnectionGauge::new(), renewed: Counted::new(names::RECONNECTS, &[]) })
    }

    pub(crate) fn subscribe(&self) -> BusEvents {
        BusEvents::new(self.sender.subscribe())
    }

    /// Tells whoever listens; it is no error that nobody does.
    pub(crate) fn tell(&self, event: BusEvent) {
        let _ = self.sender.send(event);
    }

    pub(crate) fn disconnected(&self, cause: GapCause, server: Option<String>, now: Instant) {
        self.changed(now);
        self.gauge.went_down();
        self.tell(BusEvent::Disconnected { cause, server });
    }

    pub(crate) fn connected(&self, lasted: Duration, server: Option<String>) {
        self.counted.reconnects.fetch_add(1, Ordering::Relaxed);
        self.renewed.add(1);
        self.gauge.went_up();
        self.tell(BusEvent::Connected { server, lasted });
    }

    pub(crate) fn resubscribed(&self, names: usize, lasted: Duration, now: Instant) {
        self.changed(now);
        self.tell(BusEvent::Resubscribed { names, lasted });
    }

    pub(crate) fn closed(&self, reason: &str, now: Instant) {
        self.changed(now);
        self.gauge.went_down();
        self.tell(BusEvent::Closed { reason: reason.to_owned() });
    }

    /// A further connection gave up.
    pub(crate) fn ended(&self, channel: &str, reason: &str, now: Instant) {
        self.changed(now);
        self.gauge.went_down();
        self.tell(BusEvent::Ended { channel: channel.to_owned(), reason: reason.to_owned() });
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.counted.reconnects.load(Ordering::Relaxed)
    }

    /// Since when the connection is as it is.
    pub(crate) fn since(&self) -> Instant {
        *self.counted.since()
    }

    fn changed(&self, now: Instant) {
        *self.counted.since() = now;
    }
}

impl Totals {
    fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { reconnects: AtomicU64::new(0), since: Mutex::new(now) })
    }

    fn since(&self) -> MutexGuard<'_, Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
