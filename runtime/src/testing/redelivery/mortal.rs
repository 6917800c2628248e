//! An instance that dies at a point of the work on one task.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    bus::handle::Bus,
    handler::{contract::Router, ending::Endings, layer::HandlerLayer, outcome::Outcome},
    message::delivery::Delivery,
    route::routes::Routes,
    testing::broker::Broker,
    transport::durable::task::QueueName,
};

/// When an instance dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not by itself.
    Lives,
    BeforeHandler,
    /// When the handler waits for the so many-th time.
    AtAwait(u32),
}

/// The life of one instance.
pub(super) struct Life {
    broker: Arc<Broker>,
    queue: QueueName,
    /// Of the task.
    id: String,
    fate: Fate,
    /// How often its handler has waited.
    awaits: AtomicU32,
    is_over: AtomicBool,
}

impl Life {
    pub(super) fn new(broker: &Arc<Broker>, queue: &QueueName, id: &str, fate: Fate) -> Arc<Self> {
        Arc::new(Self {
            broker: Arc::clone(broker),
            queue: queue.clone(),
            id: id.to_owned(),
            fate,
            awaits: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Nothing of the instance runs or reaches the broker from now on.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.broker.crash_owner(&self.queue, &self.id);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// The handler waits once more; whether that is its end.
    fn waits(&self) -> bool {
        let awaits = self.awaits.fetch_add(1, Ordering::SeqCst) + 1;
        self.fate == Fate::AtAwait(awaits)
    }
}

/// The router as an instance has it.
pub(super) struct Mortal<R> {
    pub(super) router: Arc<R>,
    pub(super) life: Arc<Life>,
}

impl<R: Router> Router for Mortal<R> {
    type Itself = Self;

    const ROUTES: Routes = R::ROUTES;

    fn itself(self) -> Self {
        self
    }

    fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
        R::layers()
    }

    fn endings() -> Vec<Endings> {
        R::endings()
    }

    fn dispatch<'a>(
        &'a self,
        route: usize,
        delivery: &'a mut Delivery,
        bus: &'a Bus,
    ) -> impl Future<Output = Outcome> + Send + 'a {
        let is_tested = delivery.task().is_some_and(|task| *task.entry.id == *self.life.id);
        let call = self.router.dispatch(route, delivery, bus);
        Call { call: Some(call), life: &self.life, is_tested }
    }
}

pin_project! {
    /// A call that ends with its instance: it is dropped where it waits, and never completes.
    struct Call<'a, F> {
        #[pin]
        call: Option<F>,
        life: &'a Life,
        is_tested: bool,
    }
}

impl<F: Future<Output = Outcome>> Future for Call<'_, F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if *this.is_tested && this.life.fate == Fate::BeforeHandler {
            this.life.end();
        }
        if this.life.is_over() {
            this.call.set(None);
        }
        let Some(call) = this.call.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = call.poll(context);
        if polled.is_pending() && *this.is_tested && this.life.waits() {
            this.life.end();
            this.call.set(None);
        }
        polled
    }
}
