//! Calls that are tokio tasks of their own, because their handlers compute for long.

use std::{collections::HashMap, future::poll_fn, pin::pin};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{AbortHandle, Id, JoinError, JoinSet, block_in_place},
};

/// Calls that are tokio tasks of their own, because their handlers compute for long, each with its place.
pub(super) struct Spawned<P, T> {
    /// Aborts the tokio tasks when the driver is dropped.
    tokio_tasks: JoinSet<T>,
    calls: HashMap<Id, (P, AbortHandle)>,
}

/// A call has ended, or was cancelled, or has panicked outside of its handler.
pub(super) struct SpawnedEnd<P, T> {
    pub(super) place: P,
    pub(super) output: Result<T, JoinError>,
}

impl<P, T: Send + 'static> Spawned<P, T> {
    pub(super) fn new() -> Self {
        Self { tokio_tasks: JoinSet::new(), calls: HashMap::new() }
    }

    pub(super) fn start(&mut self, place: P, call: impl Future<Output = T> + Send + 'static) {
        let handle = self.tokio_tasks.spawn(may_block(call));
        self.calls.insert(handle.id(), (place, handle));
    }

    pub(super) async fn next(&mut self) -> Option<SpawnedEnd<P, T>> {
        let (id, output) = match self.tokio_tasks.join_next_with_id().await? {
            Ok((id, output)) => (id, Ok(output)),
            Err(error) => (JoinError::id(&error), Err(error)),
        };
        let (place, _) = self.calls.remove(&id)?;
        Some(SpawnedEnd { place, output })
    }

    /// Has those calls end at their next await.
    pub(super) fn cancel(&self, which: impl Fn(&P) -> bool) {
        self.calls.values().filter(|(place, _)| which(place)).for_each(|(_, handle)| handle.abort());
    }

    /// Has all of them end at their next await, and gives their places back at once.
    pub(super) fn give_up(&mut self) -> Vec<P> {
        // Dropping them aborts them, and nobody waits for one that keeps its thread.
        self.tokio_tasks = JoinSet::new();
        self.calls.drain().map(|(_, (place, _))| place).collect()
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
