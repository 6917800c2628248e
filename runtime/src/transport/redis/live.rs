//! One connection for subscriptions while it lasts: reads, delivers, (un)subscribes and watches.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use crate::{
    time::now,
    transport::{
        inbox::Inbox,
        redis::{
            cluster::group,
            connector::Connector,
            door::Opened,
            session::Session,
            settings::Settings,
            shared::SharedRegistry,
            wire::{Wire, lost},
        },
        registry::standing::one_group,
        status::{GapCause, Status},
    },
};

/// How long one stall may hold up everybody's messages for inboxes that ask the reader to wait. Long enough for a loaded machine's
/// scheduler, short against the command timeout, and against the 60 seconds after which Redis drops a reader that lags.
const PATIENCE: Duration = Duration::from_millis(500);
/// For so long a burst waits for a consumer that is behind: other consumers of the connection wait too. A handler that takes a microsecond or two
/// has dealt with a whole read by then, and slower ones lose nothing by being further behind.
const MOMENT: Duration = Duration::from_millis(1);
/// So many bytes at once are a burst, of which more is to come. After fewer the socket is empty, and the tokio task waits anyway.
const BURST: usize = 32 * 1024;

/// A connection that serves.
pub(super) struct LiveSession {
    shared: Arc<SharedRegistry>,
    settings: Arc<Settings>,
    /// Told when the node does not have a slot any more.
    connector: Connector,
    /// Host and port of the server.
    pub(super) server: String,
    wire: Wire,
    session: Session,
    timer: Pin<Box<Sleep>>,
    heard: Instant,
    pinged: Option<Instant>,
    /// Everything that was wanted at the beginning has been answered.
    pub(super) settled: bool,
    /// When the connection before this one was lost.
    pub(super) lost: Option<Instant>,
}

impl LiveSession {
    pub(super) fn new(
        shared: Arc<SharedRegistry>,
        settings: Arc<Settings>,
        connector: Connector,
        opened: Opened,
    ) -> Self {
        let now = now();
        let group = if opened.capabilities.mode == "cluster" { group } else { one_group };
        Self {
            connector,
            server: opened.address,
            wire: Wire::new(opened.stream),
            session: Session::new(Arc::clone(&settings), group),
            timer: Box::pin(sleep_until((now + settings.ping_interval).into())),
            shared,
            settings,
            heard: now,
            pinged: None,
            settled: false,
            lost: None,
        }
    }

    /// Serves until the connection is lost, and says why.
    pub(super) async fn serve(&mut self) -> GapCause {
        let shared = Arc::clone(&self.shared);
        loop {
            self.ask();
            // Each branch is cancel-safe: `advance` loses no byte, `notified` keeps its permit, the timer is our own.
            let served = tokio::select! {
                biased;
                read = self.wire.advance(self.session.needed()) => match read {
                    Ok(()) => self.receive().await,
                    Err(error) => Err(GapCause::Disconnected(lost(&error))),
                },
                () = shared.changed.notified() => Ok(()),
                () = &mut self.timer => self.watch(),
            };
            if let Err(cause) = served {
                return cause;
            }
        }
    }

    /// Makes the commands that bring the server in line with what is wanted.
    fn ask(&mut self) {
        let mut registry = self.shared.registry();
        let retry = registry.rested(now());
        self.session.ask(&mut registry, &mut self.wire.outgoing);
        let active = if self.settled { 0 } else { registry.active() };
        drop(registry);
        if let Some(retry) = retry.filter(|&retry| retry < self.timer.deadline().into_std()) {
            self.timer.as_mut().reset(retry.into());
        }
        if !self.settled && self.session.is_idle() {
            self.settled = true;
            *self.shared.status() = Status::Connected;
            if let Some(lost) = self.lost {
                let now = now();
                self.shared.events.resubscribed(active, now.saturating_duration_since(lost), now);
            }
        }
    }

    async fn receive(&mut self) -> Result<(), GapCause> {
        self.heard = now();
        self.pinged = None;
        let read = self.wire.incoming.len();
        let (mut wishes, received) =
            self.session.receive(&mut self.wire.incoming, &mut self.shared.registry(), self.heard);
        let behind = wishes.take_behind();
        let full = wishes.read();
        if self.session.has_moved() {
            self.connector.outdated();
        }
        received?;
        if !full.is_empty() {
            return self.stall(full).await;
        }
        if read >= BURST {
            catch_up(behind).await;
        }
        Ok(())
    }

    /// Reads nothing until the inboxes have room. Those that have none when patience ends drop their oldest messages, and
    /// say so, until they are within their bounds again; one with a connection of its own may ask for endless patience. Commands
    /// are still written meanwhile.
    async fn stall(&mut self, full: Vec<Arc<Inbox>>) -> Result<(), GapCause> {
        let shared = Arc::clone(&self.shared);
        let patient = full.iter().any(|inbox| inbox.blocks());
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        let mut room = std::pin::pin!(join_all(full.iter().map(|inbox| inbox.has_space())));
        loop {
            let to_write = self.wire.has_to_write();
            // Cancel-safe as in `serve`; `room` and `patience` go on in the next turn.
            tokio::select! {
                biased;
                _ = &mut room => break,
                () = &mut patience, if !patient => {
                    full.iter().for_each(|inbox| inbox.stop_waiting());
                    break;
                }
                written = self.wire.write(), if to_write => written.map_err(|error| GapCause::Disconnected(lost(&error)))?,
                () = shared.changed.notified() => self.ask(),
            }
        }
        // Nothing was read meanwhile, so the server cannot be blamed for the silence.
        self.heard = now();
        Ok(())
    }

    /// The timer has fired: asks a silent server for a sign of life, and gives up on one that owes it for too long.
    fn watch(&mut self) -> Result<(), GapCause> {
        let now = now();
        let next = match self.pinged {
            Some(pinged) if now >= pinged + self.settings.ping_deadline => return Err(GapCause::Timeout),
            Some(pinged) => pinged + self.settings.ping_deadline,
            None if now >= self.heard + self.settings.ping_interval => {
                self.session.ping(&mut self.wire.outgoing);
                self.pinged = Some(now);
                now + self.settings.ping_deadline
            }
            None => self.heard + self.settings.ping_interval,
        };
        self.timer.as_mut().reset(next.into());
        Ok(())
    }
}

/// Lets the consumers run first, and where some have not taken what came before, waits for that. Reading on would only put them further behind, and
/// what they take out of their processor's cache.
async fn catch_up(behind: Vec<Arc<Inbox>>) {
    if behind.is_empty() {
        return give_way().await;
    }
    let _ = timeout(MOMENT, join_all(behind.iter().map(|inbox| inbox.has_caught_up()))).await;
}

/// Lets the others run first, on this thread: what was read is still in its processor's cache. Unlike tokio's `yield_now` it leaves the
/// tokio task where another thread can take it, as one of them may block this one.
pub(super) async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
