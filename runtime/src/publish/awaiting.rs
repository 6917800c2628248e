//! Waiting for what comes of a task, without asking for it again and again.
//!
//! Whoever waits leaves the inbox of its bus for answers with the task, and an answer to itself. The step that ends the task sends that answer: it
//! says nothing but that there is something to look at. What can be missed is that answer alone, so it is looked again after each gap, and once more
//! at the end of the time.

use std::{fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    bus::{
        handle::Bus,
        replies::{Arrived, Waiter},
        sending::Draft,
    },
    codec::{
        answers::{ANSWER, Answer, Answers},
        contract::Exchange,
        headers::Headers,
    },
    error::{QueueError, SubscribeError},
    future::BusFuture,
    message::kind::{NoError, Results},
    time::deadline_after,
    transport::durable::{
        course::{Asker, EndedTask, Known},
        task::{DeadReason, Enqueued, QueueName, TaskState},
    },
};

/// For so long a result is waited for, unless it is said otherwise.
const WITHIN: Duration = Duration::from_secs(30);
/// For so long the last look goes on where not everything was looked at before: some thousands of tasks.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// Where the server is away it is asked again after such pauses, which double.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The result of a task, which is waited for when this is awaited. [`Enqueued::result`] and [`QueueHandle::result`](crate::QueueHandle::result)
/// make it.
///
/// It comes when the task has ended for good, after all of its attempts, or at once where it has; a task that is taken back from an instance that
/// died, or waits for its next attempt, has not. It is not asked for again and again: the server tells when there is something. A connection that is
/// lost meanwhile, or a server that is away, is no error before the time is over.
///
/// Several may wait for one result, also in several programs, and each may ask as often as it likes while the result is kept.
///
/// # Cancel safety
///
/// Dropping the future gives up the wait, and does nothing to the task.
///
/// `R` is the reply, and `E` the error that the handler may return instead.
#[must_use = "nothing is waited for until this is awaited"]
pub struct AwaitingResult<'a, R, E> {
    bus: &'a Bus,
    /// The queue's template.
    queue: &'static str,
    id: String,
    within: Duration,
    result: PhantomData<fn() -> Result<R, E>>,
}

/// Why a task has no reply. `E` is the error that its handler may return instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError<E> {
    /// The task was given up with its handler's own error: it is in the dead letters, or was discarded, as the error said.
    #[error("the handler gave the task up with an error")]
    Answered(E),
    /// The task is in the dead letters for another reason than its handler's own error. It may be replayed, and have a result then.
    #[error("on {queue}: the task {id} is in the dead letters: {error}")]
    #[non_exhaustive]
    Dead {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
        /// Why.
        reason: DeadReason,
        /// What the last failure said.
        error: String,
    },
    /// Its handler said that the task is not to be done, with an error that is not kept.
    #[error("on {queue}: the task {id} was discarded")]
    #[non_exhaustive]
    Discarded {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
    },
    /// Somebody has cancelled the task.
    #[error("on {queue}: the task {id} was cancelled")]
    #[non_exhaustive]
    Cancelled {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
    },
    /// The task has waited for an instance for longer than it may, and was not run.
    #[error("on {queue}: the task {id} has waited for longer than it may")]
    #[non_exhaustive]
    Expired {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
    },
    /// The task is done, and its handler has replied nothing: a layer has left it out, or the handler runs once
    /// and another task of its key was done before.
    #[error(
        "on {queue}: the task {id} is done without a reply: a layer has left it out, or another one of its key was done before"
    )]
    #[non_exhaustive]
    NoReply {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
    },
    /// There is no such task, and no result of one: it is not kept any more, or there never was any.
    #[error("on {queue}: there is no task {id}, and no result of one is kept any more")]
    #[non_exhaustive]
    Gone {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
    },
    /// The task had not ended in time. It goes on, and can be waited for again.
    #[error("on {queue}: the task {id} has not ended within {within:?}; it is {state:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
        /// How long it was waited for.
        within: Duration,
        /// How the task was then.
        state: TaskState,
    },
    /// The time was over before it was found what came of the task, or that nothing did: many tasks have ended since somebody asked for a result of
    /// this queue, or wait, and they are looked at a thousand in one step. The next one who asks goes on from there.
    #[error(
        "on {queue}: what came of the task {id} was not found within {within:?}; ask again, which goes on from there"
    )]
    #[non_exhaustive]
    NotFoundInTime {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
        /// How long it was looked for.
        within: Duration,
    },
    /// The result is not of the expected type.
    #[error("on {queue}: the result of the task {id} cannot be read: {reason}")]
    #[non_exhaustive]
    Undecodable {
        /// The queue's template.
        queue: &'static str,
        /// The task's id.
        id: String,
        /// The decoder's words.
        reason: String,
    },
    /// The server could not be asked: it refuses that, or was away until the time was over.
    #[error("the result of a task cannot be asked for")]
    Queue(#[from] QueueError),
    /// The inbox on which the server tells that there is a result could not be subscribed.
    #[error("no inbox for the news that there is a result")]
    Subscribe(#[from] SubscribeError),
}

impl<E> ResultError<E> {
    /// Whether waiting again for the same may bring a result, without anything being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::NotFoundInTime { .. } => true,
            Self::Queue(error) => is_passing(error),
            _ => false,
        }
    }
}

impl<M> Enqueued<M> {
    /// Waits for the result of the task, 30 seconds unless [`within`](AwaitingResult::within) says otherwise.
    ///
    /// Where a task with the same deduplication key was there, this waits for that one.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidings::{Bus, Enqueued, Results, ResultError};
    /// async fn reply_of<M: Results>(enqueued: &Enqueued<M>, bus: &Bus) -> Option<M::Output> {
    ///     match enqueued.result(bus).within(Duration::from_secs(60)).await {
    ///         Ok(reply) => Some(reply),
    ///         Err(ResultError::TimedOut { state, .. }) => {
    ///             println!("the task {} is {state:?} still", enqueued.id);
    ///             None
    ///         }
    ///         Err(_) => None,
    ///     }
    /// }
    /// ```
    pub fn result<'a, R, E>(&self, bus: &'a Bus) -> AwaitingResult<'a, R, E>
    where
        M: Results<Output = R, Error = E>,
    {
        AwaitingResult::new::<M>(bus, self.id.clone())
    }
}

impl<'a, R, E> AwaitingResult<'a, R, E> {
    pub(crate) fn new<M: Results<Output = R, Error = E>>(bus: &'a Bus, id: String) -> Self {
        Self { bus, queue: M::TEMPLATE.text(), id, within: WITHIN, result: PhantomData }
    }

    /// How long it is waited for. Default: 30 seconds. With zero it is only looked whether there is a result.
    ///
    /// The last look comes when the time is over, and takes 10 ms and what an answer of the server takes, the command timeout at most.
    ///
    /// The first look at a queue for some time takes longer than others, about 10 ms for each thousand tasks that wait or have ended since the one before
    /// (measured: 0.3 s with 60,000), in steps that hold up nobody for long. Where the time is over before, it is
    /// [`ResultError::NotFoundInTime`], and the next look goes on from there, whosever it is.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    async fn run(self) -> Result<R, ResultError<E>>
    where
        R: DeserializeOwned,
        E: DeserializeOwned,
    {
        let Self { bus, queue, id, within, .. } = self;
        let queue = bus.queue_name(queue);
        let vigil = Vigil { bus, queue: &queue, id: &id, deadline: deadline_after(within) };
        match vigil.keep().await.map_err(Trouble::into_error)? {
            Known::Ended(ended) => read(queue.template, id, ended),
            Known::Nothing => Err(ResultError::Gone { queue: queue.template, id }),
            Known::Open(state) => Err(ResultError::TimedOut { queue: queue.template, id, within, state }),
            Known::More => Err(ResultError::NotFoundInTime { queue: queue.template, id, within }),
        }
    }
}

crate::future::once_awaited!(['a, R, E] AwaitingResult<'a, R, E>);
crate::future::never_polled!(['a, R, E] AwaitingResult<'a, R, E> => Result<R, ResultError<E>>, (): GivenAway);

impl<'a, R, E> IntoFuture for AwaitingResult<'a, R, E>
where
    R: DeserializeOwned + Send + 'a,
    E: DeserializeOwned + Send + 'a,
{
    /// The reply, or why there is none.
    type Output = Result<R, ResultError<E>>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the wait, and does nothing to the task.
    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(self.run())
    }
}

impl<R, E> fmt::Debug for AwaitingResult<'_, R, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, within, .. } = self;
        formatter.debug_struct("AwaitingResult").field("id", id).field("within", within).finish_non_exhaustive()
    }
}

/// A wait for the end of a task, of whichever type.
struct Vigil<'v> {
    bus: &'v Bus,
    queue: &'v QueueName,
    id: &'v str,
    deadline: Instant,
}

/// Why it is not known what came of the task.
enum Trouble {
    Queue(QueueError),
    Subscribe(SubscribeError),
}

impl Trouble {
    fn into_error<E>(self) -> ResultError<E> {
        match self {
            Self::Queue(error) => error.into(),
            Self::Subscribe(error) => error.into(),
        }
    }

    /// Whether it may be over soon.
    fn is_passing(&self) -> bool {
        match self {
            Self::Queue(error) => is_passing(error),
            Self::Subscribe(error) => {
                matches!(error, SubscribeError::TimedOut { .. } | SubscribeError::NotConnected { .. })
            }
        }
    }
}

fn is_passing(error: &QueueError) -> bool {
    matches!(error, QueueError::NotConnected { .. } | QueueError::TimedOut { .. } | QueueError::Server { .. })
}

impl Vigil<'_> {
    /// What is known of the task when it has ended, or when the time is over.
    async fn keep(&self) -> Result<Known, Trouble> {
        let (mut waiter, mut pause, mut left) = (None, FIRST_PAUSE, None);
        while Instant::now() < self.deadline {
            let told = timeout_at(self.deadline, self.ask(&mut waiter, &mut left)).await;
            match told {
                Err(_) | Ok(Ok(Known::More)) => break,
                Ok(Ok(Known::Open(_))) => {}
                Ok(Ok(known)) => return Ok(known),
                Ok(Err(trouble)) if trouble.is_passing() => {
                    let _ = timeout_at(self.deadline, sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Ok(Err(trouble)) => return Err(trouble),
            }
            pause = FIRST_PAUSE;
            let Some(waiter) = &mut waiter else { continue };
            match timeout_at(self.deadline, waiter.next()).await {
                Err(_) => break,
                Ok(Arrived::Closed) => return Err(Trouble::Queue(self.closed())),
                // Whatever it is, it is looked again.
                Ok(_) => {}
            }
        }
        self.last_look(left).await
    }

    /// Asks what is known, and leaves word where the news is to go. `left` is what was left, for as long as it may be there.
    async fn ask(&self, waiter: &mut Option<Waiter>, left: &mut Option<Asker>) -> Result<Known, Trouble> {
        let replies = self.bus.replies().await.map_err(Trouble::Subscribe)?;
        let waiter = match waiter {
            Some(waiter) => {
                // A lost connection has ended the wait of whoever waited.
                replies.wait_again(waiter);
                waiter
            }
            none => none.insert(replies.wait_for_many()),
        };
        let asker = self.asker(replies.channel(), waiter.correlation_id(), left.as_ref()).map_err(Trouble::Queue)?;
        *left = Some(asker.clone());
        let known = self.bus.durable().ask(self.queue, self.id, Some(asker), self.deadline).await;
        let known = known.map_err(Trouble::Queue)?;
        if !matches!(known, Known::Open(_)) {
            *left = None;
        }
        Ok(known)
    }

    /// An answer to this wait, which whoever ends the task sends. What was left before is left in the same words.
    fn asker(&self, channel: &str, correlation_id: &str, left: Option<&Asker>) -> Result<Asker, QueueError> {
        let within = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if let Some(asker) = left {
            return Ok(Asker { within, ..asker.clone() });
        }
        let draft = Draft {
            channel: channel.to_owned(),
            template: "replies",
            name: ANSWER.name,
            version: ANSWER.version,
            headers: &Headers::default(),
            exchange: Some(Exchange::new(correlation_id)),
            hops: 0,
            id: None,
            deadline: None,
            payload_limit: Some(usize::MAX),
        };
        let parcel = self.bus.encode::<Answers, _>(draft, &Answer::<_, NoError>::Ok(()));
        let parcel =
            parcel.map_err(|error| QueueError::Server { queue: self.queue.template, reason: error.to_string() })?;
        Ok(Asker { channel: parcel.channel, payload: parcel.payload, within })
    }

    /// Nobody waits any more.
    async fn last_look(&self, left: Option<Asker>) -> Result<Known, Trouble> {
        let durable = self.bus.durable();
        let forget = async {
            if let Some(asker) = left {
                // Where that fails it is forgotten with its time.
                let _ = durable.forget(self.queue, self.id, &asker).await;
            }
        };
        let look = durable.ask(self.queue, self.id, None, deadline_after(LAST_LOOK));
        let (known, ()) = tokio::join!(look, forget);
        known.map_err(Trouble::Queue)
    }

    fn closed(&self) -> QueueError {
        QueueError::Closed {
            queue: self.queue.template,
            reason: "it was closed while a result was waited for".to_owned(),
        }
    }
}

/// What came of a task that has ended.
fn read<R, E>(queue: &'static str, id: String, ended: EndedTask) -> Result<R, ResultError<E>>
where
    R: DeserializeOwned,
    E: DeserializeOwned,
{
    let EndedTask { state, reason, error, result, .. } = ended;
    let has_result = !result.is_empty();
    match state {
        TaskState::Completed if has_result => decode(&result).map_err(|reason| undecodable(queue, id, reason)),
        TaskState::Completed => Err(ResultError::NoReply { queue, id }),
        TaskState::Dead | TaskState::Discarded if has_result => Err(match decode(&result) {
            Ok(error) => ResultError::Answered(error),
            Err(reason) => undecodable(queue, id, reason),
        }),
        TaskState::Dead => {
            let (reason, error) = (reason.unwrap_or(DeadReason::Failed), error.unwrap_or_default());
            Err(ResultError::Dead { queue, id, reason, error })
        }
        TaskState::Discarded => Err(ResultError::Discarded { queue, id }),
        TaskState::Expired => Err(ResultError::Expired { queue, id }),
        TaskState::Cancelled => Err(ResultError::Cancelled { queue, id }),
        other => Err(undecodable(queue, id, format!("it is {other:?}"))),
    }
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn undecodable<E>(queue: &'static str, id: String, reason: String) -> ResultError<E> {
    ResultError::Undecodable { queue, id, reason }
}
