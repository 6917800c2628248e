//! What handlers saw.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// Long enough for a loaded machine with two cores, short enough to be waited for by a person.
const DEADLINE: Duration = Duration::from_secs(20);

/// A list that handlers append to and a test waits on. Clones share the list.
pub struct Recorder<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    values: Mutex<Vec<T>>,
    changed: Notify,
}

impl<T> Recorder<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { values: Mutex::new(Vec::new()), changed: Notify::new() }) }
    }

    /// Appends a value and wakes whoever waits.
    pub fn record(&self, value: T) {
        self.values().push(value);
        self.shared.changed.notify_waiters();
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    /// Whether there is no value yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values().is_empty()
    }

    // A handler that panicked while recording has not left the list half changed.
    fn values(&self) -> MutexGuard<'_, Vec<T>> {
        self.shared.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + fmt::Debug> Recorder<T> {
    /// All values so far, in the order in which they were recorded.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.values().clone()
    }

    /// Waits until there are at least `count` values and returns all of them.
    ///
    /// # Panics
    ///
    /// After 20 seconds; the message shows what was recorded.
    pub async fn wait_for(&self, count: usize) -> Vec<T> {
        self.wait_until(&format!("{count} values"), |values| values.len() >= count).await
    }

    /// Waits until the values satisfy `condition`, which `what` names, and returns all of them.
    ///
    /// # Panics
    ///
    /// After 20 seconds; the message shows what was recorded.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&[T]) -> bool) -> Vec<T> {
        let met = tokio::time::timeout(DEADLINE, async {
            loop {
                // Registered before the look, so that a value that comes between the two wakes it.
                let changed = self.shared.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                let values = self.all();
                if condition(&values) {
                    return values;
                }
                changed.await;
            }
        });
        match met.await {
            Ok(values) => values,
            Err(_) => panic!("waited {DEADLINE:?} for {what}; recorded so far: {:#?}", self.all()),
        }
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Recorder<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.values().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn wakes_for_values_from_other_tasks() {
        let recorder = Recorder::new();
        let mut tasks = JoinSet::new();
        for value in 0..100 {
            let recorder = recorder.clone();
            tasks.spawn(async move { recorder.record(value) });
        }
        let mut values = recorder.wait_for(100).await;
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn values_that_are_there_already_are_not_waited_for() {
        let recorder = Recorder::new();
        recorder.record("a");
        assert_eq!(recorder.wait_for(1).await, ["a"]);
        assert_eq!(recorder.len(), 1);
    }
}
