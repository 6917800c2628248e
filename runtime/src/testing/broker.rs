//! A memory broker in the hands of a test.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    codec::contract::Format,
    error::Rejection,
    message::{contract::OwnedMessage, delivery::Delivery, kind::Queue},
    time::now,
    transport::{
        durable::task::{Entry, QueueName},
        frame::{Frame, Origin},
        glob,
        memory::{broker, queues::store::CrashPoint},
    },
};

/// A memory broker in the hands of a test: it can be stopped, frozen and questioned like a redis-server.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = tidings::testing::Broker::new();
/// let bus = tidings::Bus::connect(&broker.url()).await?;
/// broker.disconnect_subscribers(); // every subscription of the bus reports a gap
/// # Ok(()) }
/// ```
pub struct Broker {
    name: String,
    broker: Arc<broker::MemoryBroker>,
}

impl Broker {
    /// A broker that only those who know its [`url`](Self::url) can reach.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("testing-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let broker = broker::MemoryBroker::named(&name);
        Self { name, broker }
    }

    /// The address for [`Bus::connect`](crate::Bus::connect).
    #[must_use]
    pub fn url(&self) -> String {
        format!("memory:{}", self.name)
    }

    /// Publishes bytes as another program would, past every codec and namespace; returns the number of receivers.
    ///
    /// It does not wait for a service that does not keep up, as [`Bus`](crate::Bus)'s own functions do; what is published in one go
    /// waits in the service's buffer.
    pub fn publish_raw(&self, channel: &str, payload: &[u8]) -> u64 {
        self.broker.publish_raw(channel, payload)
    }

    /// Cuts every connection; all of them come back at once.
    pub fn disconnect_subscribers(&self) {
        self.broker.disconnect();
    }

    /// Takes the server away: publishing fails, subscriptions wait.
    pub fn stop(&self) {
        self.broker.stop();
    }

    /// Brings the server back.
    pub fn start(&self) {
        self.broker.start();
    }

    /// Makes the server hang: nothing is answered, and buses give it up after their PING deadline.
    pub fn freeze(&self) {
        self.broker.freeze();
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.broker.start();
    }

    /// The tasks of this message that wait, in whichever namespace: those that are due, as they will be taken from each part of the queue, and then
    /// those that are delayed, the next one first. What an instance has, what is parked and dead letters are not among them.
    ///
    /// # Errors
    ///
    /// The first task that is no such message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, testing::Broker};
    /// #[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
    /// #[queue("mail")]
    /// struct SendMail { to: String }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = Broker::new();
    /// let bus = Bus::connect(&broker.url()).await?;
    /// SendMail { to: "ann".into() }.enqueue(&bus).await?;
    /// SendMail { to: "bob".into() }.enqueue(&bus).delay(Duration::from_secs(60)).await?;
    ///
    /// let waiting = broker.enqueued::<SendMail>()?;
    /// assert_eq!(waiting, [SendMail { to: "ann".into() }, SendMail { to: "bob".into() }]);
    /// let moved = broker.run_due().unwrap(); // now it is due
    /// assert!(moved <= Duration::from_secs(60));
    /// assert_eq!(broker.run_due(), None);
    /// # Ok(()) }
    /// ```
    pub fn enqueued<M: Queue + OwnedMessage>(&self) -> Result<Vec<M>, Rejection> {
        let template = M::TEMPLATE.text();
        let entries: Vec<Entry> = self.broker.with_queues(|store, now| {
            let queues = store.queues().filter(|(name, _)| name.template == template);
            queues.flat_map(|(_, queue)| queue.entries_in_wait(now)).collect()
        });
        entries.iter().map(|entry| decoded(entry).map_err(|rejection| *rejection)).collect()
    }

    /// Moves the clock of the queues on: delays, pauses between attempts, leases, expiry and heartbeats go by it. What has become due is taken by
    /// whoever waits for it. Everything else has the time of this process, which goes on as well; instances look at the leases of others by it.
    pub fn advance(&self, by: Duration) {
        self.broker.advance(by);
    }

    /// Moves the clock of the queues on to when the next delayed task is due, in whichever queue; by how much. `None` where no task is delayed.
    pub fn run_due(&self) -> Option<Duration> {
        let next = self.broker.with_queues(|store, now| store.next_due(now))?;
        self.broker.advance(next);
        Some(next)
    }

    /// Has the next instance die that gets to this point: nothing of it reaches the broker any more, neither what it settles nor its heartbeats,
    /// as if its process were gone. What it had is taken by another one once the lease is over. One more call has one more instance die.
    ///
    /// The instance itself goes on in this process, and finds that it has no connection.
    pub fn crash_at(&self, point: CrashPoint) {
        self.broker.with_queues(|store, _| store.crash_at(point));
    }

    /// Has the instance die at once that has this task, if one has it.
    pub(super) fn crash_owner(&self, queue: &QueueName, id: &str) {
        self.broker.with_queues(|store, _| store.crash_owner(queue, id));
    }

    /// Whether an instance has crashed.
    pub(super) fn has_crashed(&self) -> bool {
        self.broker.with_queues(|store, _| store.has_crashed())
    }

    /// Has whoever takes tasks hear nothing any more, as on a connection that is half open, or ends that: what hears nothing by then never will, and
    /// new connections do. Everything else has its answers.
    #[doc(hidden)]
    pub fn mute_readers(&self, is_mute: bool) {
        self.broker.with_queues(|store, _| store.is_mute = is_mute);
    }

    /// How many buses are subscribed to exactly this channel.
    #[must_use]
    pub fn subscribers(&self, channel: &str) -> u64 {
        self.broker.subscribers(channel)
    }

    /// How many different patterns are subscribed to.
    #[must_use]
    pub fn patterns(&self) -> u64 {
        self.broker.patterns()
    }

    /// How many buses have subscriptions.
    #[must_use]
    pub fn subscriber_connections(&self) -> u64 {
        self.broker.subscriber_connections()
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Broker").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The message of a task, in whichever of our formats a bus has written it.
fn decoded<M: OwnedMessage>(entry: &Entry) -> Result<M, Box<Rejection>> {
    let others = [
        Format::CloudEvents,
        Format::RedisToolkit,
        #[cfg(feature = "messagepack")]
        Format::MessagePack,
        #[cfg(feature = "cbor")]
        Format::Cbor,
    ];
    let channel = entry.at.channel.as_bytes();
    let bytes = Bytes::from([channel, &entry.payload].concat());
    let position = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    let (end_of_channel, end) = (position(channel.len()), position(bytes.len()));
    let decode = |format| {
        let origin = Origin::Broadcast { token: 0 };
        let frame = Frame::new(bytes.clone(), 0..end_of_channel, end_of_channel..end, origin, now());
        Delivery::of(frame, format).decode()
    };
    let first = decode(Format::Envelope);
    if first.is_ok() {
        return first;
    }
    // What none of them can read is told in the words of the first.
    others.iter().find_map(|format| decode(*format).ok()).map_or(first, Ok)
}

/// Whether the memory transport's patterns match so: for the test that compares them with Redis's.
#[doc(hidden)]
#[must_use]
pub fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    glob::matches(pattern, text)
}
