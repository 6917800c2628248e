//! Watching what happens to the tasks of a queue.

use std::{
    collections::VecDeque,
    fmt,
    future::{Pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use futures_core::Stream;
use tokio::{
    task::{JoinSet, coop::consume_budget},
    time::sleep,
};

use crate::{
    bus::handle::Bus,
    channel::text::Shown,
    config::Bounds,
    error::{QueueError, SubscribeError},
    future::{BusFuture, NotAwaitedYet},
    message::contract::Message,
    operate::{queue::QueueHandle, view::time_of},
    subscribe::event::EndReason,
    time::{TimeOfDay, now},
    transport::{
        contract::Attachment,
        durable::{
            course::{Told, WATCHED},
            task::{DeadReason, QueueName},
        },
        events::BusEvent,
        inbox::{Inbox, Item, WhenFull},
        status::{Gap, GapCause, NameKind},
    },
};

/// Something that happened in a queue. [`QueueHandle::events`] tells of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueEvent {
    /// An instance has taken the task.
    #[non_exhaustive]
    Taken {
        /// Which one, and when.
        task: EventTask,
    },
    /// Its handler said how far it has come.
    #[non_exhaustive]
    Progress {
        /// Which one, and when.
        task: EventTask,
        /// From 0 to 1, where the handler says it.
        fraction: Option<f64>,
        /// In its words; empty where it has none.
        text: String,
    },
    /// An attempt failed, and the task is tried again.
    #[non_exhaustive]
    Failed {
        /// Which one, and when.
        task: EventTask,
        /// What the failure said.
        error: Option<String>,
        /// After so long.
        after: Duration,
    },
    /// The instance that had it died, or lost it, and the task is tried again.
    #[non_exhaustive]
    Crashed {
        /// Which one, and when. Its instance is the one that had it.
        task: EventTask,
        /// After so long.
        after: Duration,
    },
    /// It was given back without a fault: its handler asked for a later time, its instance stopped or does not know it, or the queue was paused.
    #[non_exhaustive]
    Returned {
        /// Which one, and when.
        task: EventTask,
        /// It may be taken again after so long.
        after: Duration,
    },
    /// No instance knew its name or version for long; it waits aside for one that does.
    #[non_exhaustive]
    Parked {
        /// Which one, and when.
        task: EventTask,
    },
    /// Its handler succeeded.
    #[non_exhaustive]
    Completed {
        /// Which one, and when.
        task: EventTask,
    },
    /// It was given up, and is in the dead letters.
    #[non_exhaustive]
    Dead {
        /// Which one, and when.
        task: EventTask,
        /// Why; `None` of a reason that this version does not know.
        reason: Option<DeadReason>,
        /// What the last failure said.
        error: Option<String>,
    },
    /// Its handler said that it is not to be done.
    #[non_exhaustive]
    Discarded {
        /// Which one, and when.
        task: EventTask,
    },
    /// It waited longer than it may.
    #[non_exhaustive]
    Expired {
        /// Which one, and when.
        task: EventTask,
    },
    /// Somebody has [cancelled](QueueHandle::cancel) it.
    #[non_exhaustive]
    Cancelled {
        /// Which one, and when.
        task: EventTask,
    },
    /// Something that this version does not know.
    #[non_exhaustive]
    Other {
        /// Which one, and when.
        task: EventTask,
        /// In the words of whoever told it.
        what: String,
    },
    /// The connection was lost, or the watch could not be renewed in time: events may be missing before this point.
    Gap(Gap),
    /// So many events were dropped at this point, because this stream was not read fast enough.
    Lagged(u64),
    /// After a reconnection the server refused to tell. It is tried again at each reconnection.
    Refused(SubscribeError),
    /// The last event: the watch has ended, and `None` follows.
    Ended(EndReason),
}

/// The task that an event is of.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventTask {
    /// The task's id.
    pub id: String,
    /// Its part of the queue.
    pub channel: String,
    /// The instance that has it, or had it, where that is known.
    pub instance: Option<String>,
    /// When it happened, by the server's clock.
    pub at: SystemTime,
}

impl fmt::Debug for EventTask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, channel, instance, at } = self;
        let mut shown = formatter.debug_struct("EventTask");
        shown
            .field("id", id)
            .field("channel", channel)
            .field("instance", instance)
            .field("at", &TimeOfDay(*at))
            .finish()
    }
}

impl QueueEvent {
    /// The task that it is of, where it is of one.
    #[must_use]
    pub fn task(&self) -> Option<&EventTask> {
        match self {
            Self::Taken { task }
            | Self::Progress { task, .. }
            | Self::Failed { task, .. }
            | Self::Crashed { task, .. }
            | Self::Returned { task, .. }
            | Self::Parked { task }
            | Self::Completed { task }
            | Self::Dead { task, .. }
            | Self::Discarded { task }
            | Self::Expired { task }
            | Self::Cancelled { task }
            | Self::Other { task, .. } => Some(task),
            Self::Gap(_) | Self::Lagged(_) | Self::Refused(_) | Self::Ended(_) => None,
        }
    }

    /// Whether a task has left an instance with it, or the queue.
    pub(super) fn frees(&self) -> bool {
        !matches!(self, Self::Taken { .. } | Self::Progress { .. })
    }

    fn of(told: Told) -> Self {
        let Told { what, id, channel, at, instance, reason, error, after, fraction, text } = told;
        let task = EventTask { id, channel, instance, at: time_of(at) };
        let after = Duration::from_millis(after.unwrap_or(0));
        match what.as_str() {
            "taken" => Self::Taken { task },
            "progress" => Self::Progress { task, fraction, text: text.unwrap_or_default() },
            "failed" => Self::Failed { task, error, after },
            "crashed" => Self::Crashed { task, after },
            "returned" => Self::Returned { task, after },
            "parked" => Self::Parked { task },
            "completed" => Self::Completed { task },
            "dead" => Self::Dead { task, reason: reason.as_deref().and_then(DeadReason::of_word), error },
            "discarded" => Self::Discarded { task },
            "expired" => Self::Expired { task },
            "cancelled" => Self::Cancelled { task },
            _ => Self::Other { task, what },
        }
    }
}

impl<M: Message> QueueHandle<M> {
    /// What happens to the tasks of this queue from now on, in all of its parts and by all instances: await it, after setting its
    /// [`buffer`](Watching::buffer).
    ///
    /// It is for dashboards and for people who look: delivery is at most once, and what may have been missed is told. What must not be lost is a
    /// message that the queue announces (`completed = …`, `failed = …`), or a result. While nobody watches nothing is told, and a task costs
    /// nothing more; while somebody does, each step of a task is one message more.
    pub fn events(&self) -> Watching<'_> {
        let bounds = self.bus.config().subscription_buffer;
        Watching { bus: &self.bus, name: self.name(), bounds }
    }
}

/// A watch of a queue that begins when this is awaited. [`QueueHandle::events`] makes it.
#[must_use = "nothing is watched until this is awaited"]
pub struct Watching<'a> {
    bus: &'a Bus,
    name: QueueName,
    bounds: Bounds,
}

impl Watching<'_> {
    /// The bounds of the buffer, in which the oldest events make room for new ones. Default: those of the bus, 16,384 messages and 16 MiB.
    pub fn buffer(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds.at_least_one();
        self
    }
}

crate::future::once_awaited!(['a] Watching<'a>);

impl Watching<'_> {
    #[doc(hidden)]
    pub fn next<'a>(&'a mut self) -> Pending<Option<QueueEvent>>
    where
        (): NotAwaitedYet<'a, Self>,
    {
        ().come_of(self)
    }
}

impl<'a> IntoFuture for Watching<'a> {
    type Output = Result<QueueEvents, SubscribeError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// When it was awaited, nothing that happens later is missed, but in a gap that is told.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the server refuses the channel of events, does not confirm it within the command timeout, or cannot be told that
    /// somebody watches.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the watch.
    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(QueueEvents::open(self.bus.clone(), self.name, self.bounds))
    }
}

impl fmt::Debug for Watching<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Watching");
        shown.field("queue", &self.name.template).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What happens to the tasks of a queue, as a [`Stream`]. [`QueueHandle::events`] opens it.
///
/// The events of one task come in the order in which they happened, each once. What did not fit into the buffer shows as
/// [`QueueEvent::Lagged`], and what may have been missed with a lost connection as [`QueueEvent::Gap`], at the place where it is missing.
///
/// It renews the watch every 10 seconds for as long as it lives; 30 seconds after the last one was dropped the queue tells nothing any more.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Message, QueueEvent};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[queue("tasks:mails")]
/// # struct SendMail { to: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mails = bus.queue::<SendMail>();
/// let mut events = mails.events().await?;
/// let mail = SendMail { to: "ada@example.org".into() }.enqueue(&bus).await?;
/// mails.cancel(&mail.id).await?;
///
/// while let Some(event) = events.next().await {
///     match event {
///         QueueEvent::Failed { task, error, .. } => println!("{} failed: {}", task.id, error.unwrap_or_default()),
///         QueueEvent::Lagged(count) => println!("{count} events were dropped, because this loop is too slow"),
///         QueueEvent::Cancelled { task, .. } => {
///             assert_eq!(task.id, mail.id);
///             break;
///         }
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "the watch ends when it is dropped"]
pub struct QueueEvents {
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox with one lock.
    taken: VecDeque<Item>,
    queue: &'static str,
    lagged: u64,
    ended: bool,
    /// Renews the watch; aborted with this.
    _renewal: JoinSet<()>,
    _attachment: Attachment,
    /// Keeps the connections open.
    bus: Bus,
}

/// Messages taken out of the inbox with one lock.
const BATCH: usize = 256;
/// A third of the time for which a queue is watched: two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(10);
/// Until a renewal that failed is tried again.
const ANEW: Duration = Duration::from_secs(1);

impl QueueEvents {
    pub(super) async fn open(bus: Bus, name: QueueName, bounds: Bounds) -> Result<Self, SubscribeError> {
        let inbox = Arc::new(Inbox::new(bounds, WhenFull::DropOldest).unlisted());
        let attachment = bus.attach(Arc::clone(&inbox), vec![(name.events(), NameKind::Channel)]).await?;
        bus.durable().watch(&name).await?;
        let (queue, mut renewal) = (name.template, JoinSet::new());
        renewal.spawn(renew(bus.clone(), name, Arc::clone(&inbox)));
        Ok(Self {
            inbox,
            taken: VecDeque::new(),
            queue,
            lagged: 0,
            ended: false,
            _renewal: renewal,
            _attachment: attachment,
            bus,
        })
    }

    /// The next event; `None` after [`QueueEvent::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<QueueEvent> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// How many events were dropped so far, because this stream was not read fast enough.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.lagged
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<QueueEvent>> {
        while !self.ended {
            if self.taken.is_empty() && !ready!(self.inbox.poll_take(context, &mut self.taken, BATCH)) {
                self.ended = true;
                break;
            }
            // A full buffer must not keep the other tokio tasks of this thread from running.
            ready!(pin!(consume_budget()).poll(context));
            if let Some(event) = self.taken.pop_front().and_then(|item| self.event(item)) {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }

    fn event(&mut self, item: Item) -> Option<QueueEvent> {
        Some(match item {
            Item::Frame(frame) => match serde_json::from_slice(frame.payload()) {
                Ok(told) => QueueEvent::of(told),
                Err(error) => {
                    tracing::debug!(queue = self.queue, %error, "what was told of a queue is no event");
                    return None;
                }
            },
            Item::Oversized { size, .. } => {
                tracing::debug!(queue = self.queue, size, "what was told of a queue is too large for an event");
                return None;
            }
            Item::Gap(gap) => QueueEvent::Gap(gap),
            Item::Lagged(count) => {
                self.lagged += count;
                QueueEvent::Lagged(count)
            }
            Item::Refused(error) => QueueEvent::Refused(error),
            Item::Ended(reason) => {
                self.ended = true;
                let reason = if self.bus.was_closed() { EndReason::Closed } else { EndReason::GaveUp { reason } };
                QueueEvent::Ended(reason)
            }
        })
    }
}

/// Renews the watch in time, and at once on a connection that was made anew: the server may be another one.
async fn renew(bus: Bus, name: QueueName, inbox: Arc<Inbox>) {
    let (mut events, mut renewed, mut pause) = (bus.events(), now(), RENEWAL);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            event = events.next() => match event {
                Some(BusEvent::Connected { .. } | BusEvent::Resubscribed { .. } | BusEvent::Missed(_)) => {}
                Some(BusEvent::Closed { .. }) | None => return,
                Some(_) => continue,
            },
        }
        match bus.durable().watch(&name).await {
            Ok(()) => {
                let lasted = now().saturating_duration_since(renewed);
                if lasted > WATCHED {
                    let cause = GapCause::Disconnected("the watch of the queue was not renewed in time".to_owned());
                    let _ = inbox.push(&mut vec![Item::Gap(Gap { cause, lasted })]);
                }
                (renewed, pause) = (now(), RENEWAL);
            }
            Err(QueueError::Closed { .. }) => return,
            Err(error) => {
                if pause == RENEWAL {
                    tracing::warn!(queue = name.template, %error, "the watch of a queue cannot be renewed; it is tried again");
                }
                pause = ANEW;
            }
        }
    }
}

impl Stream for QueueEvents {
    type Item = QueueEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<QueueEvent>> {
        self.poll_event(context)
    }
}

impl fmt::Debug for QueueEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QueueEvents").field("queue", &Shown(self.queue)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_an_event_also_of_a_later_version() {
        let event = |text: &str| QueueEvent::of(serde_json::from_str(text).unwrap());
        let dead =
            event(r#"{"what":"dead","id":"a","channel":"jobs","at":1000,"reason":"refused","error":"no","x":1}"#);
        let QueueEvent::Dead { task, reason: Some(DeadReason::Refused), error: Some(error) } = dead else {
            panic!("{dead:?}")
        };
        assert_eq!((task.id.as_str(), task.at, error.as_str()), ("a", SystemTime::UNIX_EPOCH + ANEW, "no"));
        let later = event(r#"{"what":"sang","id":"b"}"#);
        assert!(matches!(&later, QueueEvent::Other { what, .. } if what == "sang"));
        assert_eq!(later.task().map(|task| task.id.as_str()), Some("b"));
        assert!(matches!(event(r#"{"what":"dead","reason":"bored"}"#), QueueEvent::Dead { reason: None, .. }));
        let failed = event(r#"{"what":"failed","id":"a","after":1000}"#);
        assert!(matches!(failed, QueueEvent::Failed { after: ANEW, error: None, .. }));
    }
}
