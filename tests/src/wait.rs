//! Waiting for a condition, with a deadline.

use std::{
    panic::Location,
    time::{Duration, Instant},
};

/// The pause between two looks at a condition: short beside every deadline of a test, long beside a look.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` is true.
///
/// # Panics
///
/// When `deadline` has passed; the message names the line of the caller.
#[track_caller]
pub fn eventually(deadline: Duration, condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait_until(deadline, condition, Location::caller())
}

async fn wait_until(deadline: Duration, mut condition: impl AsyncFnMut() -> bool, caller: &Location<'_>) {
    let start = Instant::now();
    // A condition that itself hangs (a question to a stopped server) must not outlive the deadline.
    let met = tokio::time::timeout(deadline, async {
        while !condition().await {
            tokio::time::sleep(PAUSE).await;
        }
    });
    assert!(met.await.is_ok(), "the condition at {caller} did not become true within {:?}", start.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_until_the_condition_holds() {
        let mut looks = 0;
        eventually(Duration::from_secs(5), async || {
            looks += 1;
            looks == 3
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "tests/src/wait.rs")]
    async fn names_the_caller_when_the_deadline_passes() {
        eventually(Duration::from_millis(20), async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "did not become true")]
    async fn a_condition_that_hangs_is_cut_off() {
        eventually(Duration::from_millis(20), std::future::pending).await;
    }
}
