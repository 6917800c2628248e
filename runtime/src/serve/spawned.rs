//! Calls that are tokio tasks of their own, because their handlers compute for long.

use std::{collections::HashMap, future::poll_fn, pin::pin, sync::Arc};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{Id, JoinError, JoinSet, block_in_place},
};

use crate::{
    bus::handle::Bus,
    handler::{contract::Router, layer::Layers, outcome::Ended},
    message::delivery::Delivery,
    serve::{call::call, lanes::LaneId, settlement::Called},
};

/// Calls that are tokio tasks of their own, because their handlers compute for long.
pub(super) struct Spawned<R> {
    router: Arc<R>,
    layers: Arc<Layers>,
    bus: Bus,
    /// Aborts the tokio tasks when the driver is dropped.
    tokio_tasks: JoinSet<Called>,
    calls: HashMap<Id, (usize, LaneId)>,
}

impl<R: Router> Spawned<R> {
    pub(super) fn new(router: Arc<R>, layers: Arc<Layers>, bus: Bus) -> Self {
        Self { router, layers, bus, tokio_tasks: JoinSet::new(), calls: HashMap::new() }
    }

    pub(super) fn start(&mut self, route: usize, lane: LaneId, delivery: Delivery) {
        let (router, layers, bus) = (Arc::clone(&self.router), Arc::clone(&self.layers), self.bus.clone());
        let handle =
            self.tokio_tasks.spawn(may_block(async move { call(&*router, &layers, &bus, route, delivery).await }));
        self.calls.insert(handle.id(), (route, lane));
    }

    pub(super) async fn next(&mut self) -> Option<(usize, LaneId, Called)> {
        let (id, called) = match self.tokio_tasks.join_next_with_id().await? {
            Ok((id, called)) => (id, called),
            Err(error) => (JoinError::id(&error), Called::settled(Ended::Panicked, 0)),
        };
        let (route, lane) = self.calls.remove(&id)?;
        Some((route, lane, called))
    }

    pub(super) fn len(&self) -> usize {
        self.tokio_tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokio_tasks.is_empty()
    }
}

/// A future that may keep its thread for as long as it likes: the other tokio tasks of the thread, and the polling of the network that may be its
/// turn, go on elsewhere meanwhile. Being a tokio task of its own is not enough for that: tokio wakes no other thread for a single tokio task, and
/// what a tokio task has woken last, or what has yielded, runs on no other thread. A runtime of one thread has nowhere else to go on.
async fn may_block<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let has_threads = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    poll_fn(|context| {
        let mut poll = || future.as_mut().poll(context);
        if has_threads { block_in_place(poll) } else { poll() }
    })
    .await
}
