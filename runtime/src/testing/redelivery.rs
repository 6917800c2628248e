//! A task that is delivered again, after a crash at each point at which an instance can die: what comes of it must be the same.
//!
//! Each run is a broker of its own, and a real service on it.
//!
//! | room | holds |
//! |--|--|
//! | `scene` | one run: it lets leases pass by the broker's clock, takes the task back as a keeper would, and has another instance go on |
//! | `mortal` | what stands around the service's router, and has the instance die where it is to |
//! | `report` | what is told of it |

mod mortal;
pub(crate) mod report;
mod scene;

use std::fmt::Debug;

use self::{
    report::{Disturbance, Redelivered, RedeliveryError},
    scene::{Cast, Scene},
};
use crate::{
    bus::handle::Bus,
    handler::contract::Router,
    message::{contract::AddressedByFields, kind::Queue},
};

/// So many awaits of a handler are tried at most.
const AWAITS: u32 = 1_000;

/// Has a task delivered again, after a crash at each point at which an instance can die, and after it was done: `Ok` where the same has come of it
/// each time. For tests of handlers.
///
/// The task is worked on once undisturbed, and what `observe` returns then is what is expected. Then it is worked on anew for each of these
/// [disturbances](Disturbance), and observed again:
///
/// - its instance dies before the handler begins; at each await at which the handler waits, which drops its future there; and after the handler has
///   returned, before the queue knows of it: each time the queue delivers the task once more, to another instance
/// - the task is delivered a second time after it was done
///
/// Each run is on a broker of its own in this process, with a router of its own that `make_router` makes; both instances of a run share it, so it stands
/// for what outlives an instance, such as a database. All its handlers run as in a service, also with what a handler returns: a follow-up only once its
/// task is done. Pauses between attempts and delays pass by the broker's clock, so nobody waits for them; a run takes a few milliseconds, and what the
/// handlers themselves wait for.
///
/// A handler that says `once` is not run again once it has begun. What is expected then is what is observed before the second delivery: that it changes
/// nothing. The same holds where `crashes = 1` has the task end with the first crash.
///
/// `observe` returns what must be the same, and nothing else: no times, no ids that are made anew, no counts of attempts. What a handler publishes comes
/// again with the second delivery, as every broadcast that a handler returns may. A follow-up comes once of each task, whatever crashes; of a task that
/// is delivered again after it was done it comes again, unless its key is [deduplicated](crate::Enqueue::deduplicate).
///
/// # Errors
///
/// [`RedeliveryError::Differs`] says at which point something else has come of it, and shows both; the other variants why it cannot be said. All of them
/// are shown in words by `unwrap`.
///
/// # Cancel safety
///
/// Dropping the future ends the run that is under way, and everything that it has started.
///
/// # Examples
///
/// ```
/// # use std::{collections::BTreeMap, sync::{Mutex, PoisonError}};
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Message, router, testing::redelivery};
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:charges")]
/// struct Charge { order: u64, cents: u64 }
///
/// #[derive(Default)]
/// struct Bank { charged: Mutex<BTreeMap<u64, u64>> }
///
/// #[router]
/// impl Bank {
///     /// It is kept by the order, so charging it twice is charging it once.
///     #[handler(idempotent, timeout = "10s")]
///     async fn charge(&self, charge: Charge) {
///         tokio::task::yield_now().await; // on the way to the bank
///         self.charged.lock().unwrap_or_else(PoisonError::into_inner).insert(charge.order, charge.cents);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// // In a `#[tokio::test]`:
/// let charge = Charge { order: 7, cents: 1_250 };
/// let redelivered = redelivery(
///     async |_| Bank::default(),
///     charge,
///     async |bank, _| bank.charged.lock().unwrap_or_else(PoisonError::into_inner).clone(),
/// );
/// let redelivered = redelivered.await.unwrap();
/// assert_eq!(redelivered.awaits(), 1);
/// # }
/// ```
pub async fn redelivery<M, R, T>(
    make_router: impl AsyncFn(&Bus) -> R,
    task: M,
    observe: impl AsyncFn(&R, &Bus) -> T,
) -> Result<Redelivered, RedeliveryError>
where
    M: Queue + AddressedByFields,
    R: Router,
    T: PartialEq + Debug,
{
    let cast = Cast::of::<M, R>()?;
    let stage = async || Scene::set(&make_router, &task, cast).await;
    let scene = stage().await?;
    let is_completed = scene.undisturbed().await?;
    let expected = scene.observed(&observe).await;
    let mut trial = Trial { expected, runs_once: cast.runs_once(), runs: Vec::new() };

    trial.crash(&stage().await?, &observe, Disturbance::BeforeHandler).await?;
    for number in 1.. {
        if !trial.crash(&stage().await?, &observe, Disturbance::AtAwait(number)).await? {
            break;
        }
        if number == AWAITS {
            return Err(RedeliveryError::TooManyAwaits { limit: AWAITS });
        }
    }
    trial.crash(&stage().await?, &observe, Disturbance::BeforeAcknowledgement).await?;
    if is_completed {
        let scene = stage().await?;
        scene.delivered_twice().await?;
        let found = scene.observed(&observe).await;
        trial.compare(Disturbance::Duplicate, &found, None)?;
    }
    Ok(Redelivered { runs: trial.runs })
}

/// What is expected, and the disturbances after which the same came of the task.
struct Trial<T> {
    expected: T,
    runs_once: bool,
    runs: Vec<Disturbance>,
}

impl<T: PartialEq + Debug> Trial<T> {
    /// Whether the instance got to the point at which it was to die.
    async fn crash<M: Queue + AddressedByFields, R: Router>(
        &mut self,
        scene: &Scene<'_, M, R>,
        observe: &impl AsyncFn(&R, &Bus) -> T,
        disturbance: Disturbance,
    ) -> Result<bool, RedeliveryError> {
        let died = scene.dies(disturbance).await?;
        let before = if died && scene.may_stay_dead() { Some(scene.observed(observe).await) } else { None };
        if died {
            scene.goes_on(disturbance).await?;
        }
        let found = scene.observed(observe).await;
        if !died {
            self.is_steady(&found)?;
            return Ok(false);
        }
        // Where it did not run again, nothing may have changed.
        let before = if scene.has_buried().await? { before } else { None };
        self.compare(disturbance, &found, before.as_ref())?;
        Ok(true)
    }

    fn compare(&mut self, disturbance: Disturbance, found: &T, before: Option<&T>) -> Result<(), RedeliveryError> {
        let expected = before.unwrap_or(&self.expected);
        if found != expected {
            let (expected, found) = (format!("{expected:#?}"), format!("{found:#?}"));
            return Err(RedeliveryError::Differs { disturbance, expected, found, runs_once: self.runs_once });
        }
        self.runs.push(disturbance);
        Ok(())
    }

    /// Of a run in which nothing has died.
    fn is_steady(&self, found: &T) -> Result<(), RedeliveryError> {
        if *found == self.expected {
            return Ok(());
        }
        Err(RedeliveryError::Unsteady { first: format!("{:#?}", self.expected), second: format!("{found:#?}") })
    }
}

#[cfg(test)]
mod tests;
