//! One tokio task for connections that have to do with each other: that of a bus for subscriptions and that for commands.
//!
//! On two tokio tasks, an answer and a receipt that arrive together would wake two threads, of which each finds little to do. Who is told by
//! one of the connections is still another tokio task, and runs elsewhere where there is a processor for it.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use tokio::task::JoinSet;

/// The owner of the tokio task. Dropping it, and every [`Guest`], stops the tokio task and what runs there.
pub(super) struct Host {
    shared: Arc<Shared>,
    _tokio_task: JoinSet<()>,
}

/// Something that runs in the tokio task of a host. Dropping it stops that.
pub(super) struct Guest {
    bell: Arc<Bell>,
    _host: Arc<Host>,
}

#[derive(Default)]
struct Shared {
    /// Who has come since the tokio task last looked.
    arrived: Mutex<Vec<Resident>>,
    tokio_task: Arc<AtomicWaker>,
}

struct Resident {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What a resident is woken by, so that those who have nothing to do are not polled.
struct Bell {
    has_rung: AtomicBool,
    has_left: AtomicBool,
    tokio_task: Arc<AtomicWaker>,
}

impl Host {
    /// Starts the tokio task.
    pub(super) fn start() -> Arc<Self> {
        let shared = Arc::<Shared>::default();
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(run(Arc::clone(&shared)));
        Arc::new(Self { shared, _tokio_task: tokio_task })
    }

    /// Runs this until it ends or panics, or the guest is dropped.
    pub(super) fn take(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) -> Guest {
        let tokio_task = Arc::clone(&self.shared.tokio_task);
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), has_left: AtomicBool::new(false), tokio_task });
        let waker = Waker::from(Arc::clone(&bell));
        let resident = Resident { future: Box::pin(future), bell: Arc::clone(&bell), waker };
        self.shared.arrived().push(resident);
        bell.tokio_task.wake();
        Guest { bell, _host: Arc::clone(self) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.bell.has_left.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

impl Shared {
    fn arrived(&self) -> MutexGuard<'_, Vec<Resident>> {
        // Nothing that can panic runs under the lock but an allocation.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(shared: Arc<Shared>) {
    let mut residents: Vec<Resident> = Vec::new();
    poll_fn(|context| {
        // Before it is looked who has come or rung: whoever does so later wakes the tokio task again.
        shared.tokio_task.register(context.waker());
        residents.append(&mut shared.arrived());
        residents.retain_mut(Resident::stays);
        Poll::Pending
    })
    .await
}

impl Resident {
    /// Polls it if it was woken; whether it runs on.
    fn stays(&mut self) -> bool {
        if !self.bell.has_rung.swap(false, Ordering::Acquire) {
            return true;
        }
        if self.bell.has_left.load(Ordering::Relaxed) {
            return false;
        }
        let mut context = Context::from_waker(&self.waker);
        // One that panics takes nobody with it, as if it had a tokio task of its own. What it shares with others is dropped or poisoned.
        let polled = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(&mut context)));
        polled.is_ok_and(|polled| polled.is_pending())
    }
}

impl Bell {
    fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::Release) {
            self.tokio_task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, time::Duration};

    use tokio::{
        sync::{Notify, oneshot},
        time::timeout,
    };

    use super::*;

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), what).await.expect("it happens")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_woken_is_polled_and_nobody_else() {
        let host = Host::start();
        let polled = Arc::new(AtomicUsize::new(0));
        let (counted, notify, told) = (Arc::clone(&polled), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let _idle = host.take(poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        }));
        let (heard, tells) = (Arc::clone(&notify), Arc::clone(&told));
        let _busy = host.take(async move {
            loop {
                heard.notified().await;
                tells.notify_one();
            }
        });
        for _ in 0..100 {
            notify.notify_one();
            soon(told.notified()).await;
        }
        assert_eq!(polled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_guest_may_wake_itself() {
        let host = Host::start();
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        let mut is_first = true;
        let _guest = host.take(poll_fn(move |context| {
            if std::mem::take(&mut is_first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let _ = tell.take().map(|tell| tell.send(7));
            Poll::Ready(())
        }));
        assert_eq!(soon(told).await, Ok(7));
    }

    #[tokio::test]
    async fn a_guest_that_is_dropped_is_stopped_and_the_others_run_on() {
        let host = Host::start();
        let (held, stopped) = oneshot::channel::<()>();
        let guest = host.take(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (tell, told) = oneshot::channel();
        let notify = Arc::new(Notify::new());
        let heard = Arc::clone(&notify);
        let _other = host.take(async move {
            heard.notified().await;
            let _ = tell.send(7);
        });
        drop(guest);
        assert!(soon(stopped).await.is_err(), "what it held is dropped");
        notify.notify_one();
        assert_eq!(soon(told).await, Ok(7));
    }

    #[tokio::test]
    async fn a_guest_that_panics_takes_nobody_with_it_and_drops_what_it_holds() {
        let host = Host::start();
        let (held, dropped) = oneshot::channel::<()>();
        let _panics = host.take(async move {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("of this one alone");
        });
        assert!(soon(dropped).await.is_err());
        let (tell, told) = oneshot::channel();
        let _later = host.take(async move {
            let _ = tell.send(7);
        });
        assert_eq!(soon(told).await, Ok(7));
    }

    #[tokio::test]
    async fn the_last_guest_keeps_the_tokio_task() {
        let host = Host::start();
        let (tell, told) = oneshot::channel();
        let (held, stopped) = oneshot::channel::<()>();
        let guest = host.take(async move {
            let _held = held;
            tokio::task::yield_now().await;
            let _ = tell.send(7);
            std::future::pending::<()>().await;
        });
        drop(host);
        assert_eq!(soon(told).await, Ok(7));
        drop(guest);
        assert!(soon(stopped).await.is_err());
    }
}
