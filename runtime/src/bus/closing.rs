//! How a bus is closed: its services finish what has arrived, and then everything ends.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    bus::{handle::Bus, replies::REPLIES},
    config::Bounds,
    error::{ShutdownError, SubscribeError},
    time::deadline_after,
    transport::{
        contract::{Parcel, Reach, ReceiptComes},
        inbox::{Inbox, WhenFull},
        status::{NameKind, Status},
    },
};

/// How far a bus is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    /// Services finish what has arrived, until then, which is so long after they were asked.
    Draining {
        until: Instant,
        within: Duration,
    },
    Closed,
}

/// Who is to be waited for, and how far it is.
pub(crate) struct Closing {
    stage: watch::Sender<Stage>,
    services: Mutex<Services>,
    /// Told how many services there are.
    count: watch::Sender<usize>,
    /// How many calls of `close` wait.
    closers: AtomicUsize,
}

#[derive(Default)]
struct Services {
    next: usize,
    outstanding: HashMap<usize, Outstanding>,
    /// Messages that services had not finished when their time was over.
    abandoned: usize,
    /// Those of them that are tasks, and were given back to their queues.
    handed_back: usize,
}

impl Services {
    fn outstanding(&self) -> usize {
        self.outstanding.values().map(|outstanding| outstanding()).sum()
    }
}

/// How many messages a service has not finished.
type Outstanding = Box<dyn Fn() -> usize + Send + Sync>;

/// How long [`Bus::close`] waits: as long as a service's shutdown does.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);
/// What services may take to say what they have abandoned, unless a handler keeps its thread busy.
const GRACE: Duration = Duration::from_millis(100);
/// What the server may take to deliver what it has accepted: a round trip on a machine that is busy.
const DELIVERY: Duration = Duration::from_millis(500);
/// What errors say.
const CLOSED: &str = "the program has closed it";

impl Default for Closing {
    fn default() -> Self {
        let (stage, count) = (watch::Sender::new(Stage::Open), watch::Sender::new(0));
        Self { stage, services: Mutex::default(), count, closers: AtomicUsize::new(0) }
    }
}

impl Closing {
    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outstanding(&self) -> usize {
        self.services().outstanding()
    }

    /// What services have said that they abandon, and what those have left that say nothing; and how much of it was given back.
    fn abandoned(&self) -> (usize, usize) {
        let services = self.services();
        (services.abandoned + services.outstanding(), services.handed_back)
    }

    /// Asks the services to finish. Of several deadlines the first to come counts.
    fn begin(&self, within: Duration) {
        let until = deadline_after(within);
        self.stage.send_if_modified(|stage| {
            let sooner = match *stage {
                Stage::Open => true,
                Stage::Draining { until: before, .. } => until < before,
                Stage::Closed => false,
            };
            if sooner {
                *stage = Stage::Draining { until, within };
            }
            sooner
        });
    }

    /// Completes when no service runs any more.
    async fn drained(&self) {
        // The sender is here, so that there is an end to wait for.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A service that the closing of its bus waits for. Dropped when the service has ended.
pub(crate) struct Member {
    closing: Arc<Closing>,
    id: usize,
    stages: watch::Receiver<Stage>,
}

impl Member {
    /// Tells of each [`Stage`] since the service was added.
    pub(crate) fn stages(&self) -> watch::Receiver<Stage> {
        self.stages.clone()
    }

    /// The service had so many messages left when its time was over, of which it has given so many back to their queues.
    pub(crate) fn abandoned(&self, messages: usize, handed_back: usize) {
        if *self.stages.borrow() != Stage::Open {
            let mut services = self.closing.services();
            services.abandoned += messages;
            services.handed_back += handed_back;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.closing.services().outstanding.remove(&self.id);
        self.closing.count.send_modify(|count| *count -= 1);
    }
}

/// A call of `close` that waits. Dropped, the last of them ends the bus.
struct Closer<'a> {
    bus: &'a Bus,
    drained: bool,
}

impl<'a> Closer<'a> {
    fn new(bus: &'a Bus) -> Self {
        bus.shared.closing.closers.fetch_add(1, Ordering::SeqCst);
        Self { bus, drained: false }
    }
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        let others = self.bus.shared.closing.closers.fetch_sub(1, Ordering::SeqCst) - 1;
        if self.drained || others == 0 {
            self.bus.end();
        }
    }
}

impl Bus {
    /// Closes the bus for all of its clones, in order: its services finish what has arrived, every subscription ends, and the connections
    /// close. Waits for services for 30 seconds at most. A second call waits for the first; of a bus that is closed already it does nothing.
    ///
    /// 1. From the call on nothing new is subscribed or served: [`SubscribeError::Closed`]. Services shut down as by
    ///    [`Service::shutdown`](crate::Service::shutdown). Publishing and requesting go on meanwhile, as their handlers may need it.
    /// 2. When the services have ended, or the deadline is over, and what the bus has published has come back to it, every subscription yields what has arrived, then
    ///    [`Event::Ended`](crate::Event::Ended) with [`EndReason::Closed`](crate::EndReason::Closed), then `None`. Whoever waits for an answer gets
    ///    [`RequestError::Closed`](crate::RequestError::Closed) or [`AcknowledgeError::Closed`](crate::AcknowledgeError::Closed), and whatever is
    ///    published later [`PublishError::Closed`](crate::PublishError::Closed). A publish that the server has yet to answer gets its answer.
    /// 3. The connections close. A server that is away or hangs is waited for half a second at most. [`Bus::status`] is [`Status::Closed`](crate::Status::Closed) for good.
    ///
    /// So a server that streams events to its clients stops: its streams end, and nobody holds it up. The handles of services
    /// may be dropped or waited for as ever; [`Service::run_until_stopped`](crate::Service::run_until_stopped) ends.
    ///
    /// A handler of a service of this bus must not wait for it, since it waits for that handler: it spawns a tokio task that does.
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`] when services had not finished some messages in time; they are dropped. The bus is closed all the
    /// same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the bus at once, and services give up what they have not finished, unless another call waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, EndReason, Event, Message, PublishError};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("news")]
    /// # struct News { n: u64 }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mut news = bus.subscribe(News::channel()).await?;
    /// News { n: 1 }.publish(&bus).await?;
    /// bus.close().await?;
    /// assert!(matches!(news.next().await, Some(Event::Message(news)) if news.n == 1)); // what has arrived is there
    /// assert!(matches!(news.next().await, Some(Event::Ended(EndReason::Closed))));
    /// assert!(news.next().await.is_none());
    /// assert!(matches!(News { n: 2 }.publish(&bus).await, Err(PublishError::Closed { .. })));
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) -> Result<(), ShutdownError> {
        self.close_within(CLOSE_DEADLINE).await
    }

    /// Like [`close`](Self::close), with a deadline of its own. [`Duration::MAX`] means for ever; zero gives up what services have not
    /// finished. Of several calls the deadline that comes first counts.
    ///
    /// # Errors
    ///
    /// [`ShutdownError::DeadlineMissed`], as for [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// As for [`close`](Self::close).
    pub async fn close_within(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let closing = &self.shared.closing;
        if *closing.stage.borrow() == Stage::Closed {
            return Ok(());
        }
        let mut closer = Closer::new(self);
        tracing::info!(
            outstanding = closing.outstanding(),
            ?deadline,
            "the bus closes: its services finish what has arrived"
        );
        closing.begin(deadline);
        let _ = timeout_at(deadline_after(deadline) + GRACE, closing.drained()).await;
        let (abandoned, handed_back) = closing.abandoned();
        let _ = timeout_at(deadline_after(deadline.min(DELIVERY)), self.delivered()).await;
        closer.drained = true;
        drop(closer);
        if abandoned > 0 { Err(ShutdownError::DeadlineMissed { abandoned, handed_back, deadline }) } else { Ok(()) }
    }

    /// Completes when what was published before has arrived on the connection that subscriptions share, as far as it was for it: the server
    /// confirms a further name behind that. On a cluster it is on its way from node to node, and what is published on that name comes behind it. Whatever
    /// keeps it from doing so is no reason to wait.
    async fn delivered(&self) {
        if self.status() != Status::Connected {
            return;
        }
        let inbox = Arc::new(Inbox::new(Bounds::messages(1), WhenFull::DropNewest));
        let name = format!("{REPLIES}{}closing", self.shared.id_prefix);
        let channel = self.namespaced() + &name;
        let Ok(_attached) = self.attach(Arc::clone(&inbox), vec![(name, NameKind::Channel)]).await else { return };
        if self.shared.transport.is_cluster() {
            let last = Parcel {
                template: "closing",
                reach: Reach::Channel,
                channel,
                payload: Vec::new(),
                expiry: None,
                receipt: ReceiptComes::Anytime,
            };
            if self.shared.transport.publish(last).await.is_ok() {
                poll_fn(|context| inbox.poll_take(context, &mut VecDeque::new(), 1)).await;
            }
        }
    }

    /// Ends everything at once.
    fn end(&self) {
        let is_first = self
            .shared
            .closing
            .stage
            .send_if_modified(|stage| std::mem::replace(stage, Stage::Closed) != Stage::Closed);
        if is_first {
            self.shared.transport.close(CLOSED);
            tracing::info!("the bus is closed");
        }
    }

    /// Refuses what is new from the beginning of its end on.
    pub(crate) fn check_open(&self) -> Result<(), SubscribeError> {
        match *self.shared.closing.stage.borrow() {
            Stage::Open => Ok(()),
            Stage::Draining { .. } | Stage::Closed => Err(SubscribeError::Closed { reason: CLOSED.to_owned() }),
        }
    }

    /// Whether the program has closed it.
    pub(crate) fn was_closed(&self) -> bool {
        *self.shared.closing.stage.borrow() == Stage::Closed
    }

    /// Adds a service, which tells how many messages it has not finished.
    pub(crate) fn join(
        &self,
        outstanding: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Result<Member, SubscribeError> {
        let closing = Arc::clone(&self.shared.closing);
        let mut services = closing.services();
        // Looked at under the lock, and after the count was raised: whoever closes the bus then sees the service, or is seen.
        closing.count.send_modify(|count| *count += 1);
        services.next += 1;
        let id = services.next;
        services.outstanding.insert(id, Box::new(outstanding));
        drop(services);
        let stages = closing.stage.subscribe();
        let member = Member { closing, id, stages };
        self.check_open().map(|()| member)
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Closing").field("stage", &*self.stage.borrow()).finish_non_exhaustive()
    }
}
