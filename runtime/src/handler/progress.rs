//! How a handler of a queue says how far it has come, and where the next attempt goes on.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bus::handle::Bus,
    error::QueueError,
    message::{
        delivery::Delivery,
        lease::Task,
        progress::{IsOver, Report},
    },
    transport::durable::task::QueueName,
};

/// How far a task has come, as an argument of its handler: `progress: Progress`.
///
/// What is reported can be seen of the task while it runs, by [looking it up](crate::QueueHandle::find) and in the
/// [events](crate::QueueHandle::events) of its queue. A checkpoint is for the next attempt: one that goes on from there, instead of from the start,
/// after a failure, a crash, or a restart in the middle of the work.
///
/// Reporting is cheap, and may be done in the innermost loop: it only puts down what is to be seen next. The instance notes what has changed, of all
/// its tasks together, at most once in 100 ms; what the handler reports in between is overwritten, the last of it never. What is not noted yet when
/// an attempt ends goes with its end. Only a crash can lose it: 100 ms of it, or as long as the server is away, unless it was
/// [flushed](Self::flush). Whoever has lost the task cannot write any more, and whatever is noted is forgotten when the task has ended.
///
/// It can be cloned, and sent to where the work is done: `report` and `checkpoint` need no runtime. After the attempt has ended they do nothing.
///
/// A queue that delivers at most once keeps no progress: its handler cannot take this.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Message, Progress, ProgressError, handler};
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:imports")]
/// struct Import { rows: Vec<String> }
///
/// #[handler(idempotent, timeout = "1h", retries = 5)]
/// async fn import(task: Import, progress: Progress) -> Result<(), ProgressError> {
///     let done = progress.saved::<usize>().await?.unwrap_or_default();
///     for (number, row) in task.rows.iter().enumerate().skip(done) {
///         println!("{row}");
///         progress.report((number + 1) as f64 / task.rows.len() as f64, "importing");
///         progress.checkpoint(&(number + 1))?;
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // As a function, the second attempt:
/// let progress = Progress::testing_from(&1)?;
/// import(Import { rows: vec!["one".into(), "two".into()] }, progress.clone()).await?;
/// assert_eq!(progress.reports(), [(Some(1.0), "importing".to_owned())]);
/// assert_eq!(progress.saved::<usize>().await?, Some(2));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Progress {
    kept: Kept,
}

#[derive(Clone)]
enum Kept {
    WithTask(Arc<OfTask>),
    ForTest(Arc<Mutex<Tested>>),
}

struct OfTask {
    report: Arc<Report>,
    bus: Bus,
    queue: QueueName,
    /// Bytes of a checkpoint.
    limit: usize,
    /// Nobody has had the task before.
    is_new: bool,
}

/// What a handler has reported that a test calls as a function.
#[derive(Default)]
struct Tested {
    reports: VecDeque<(Option<f64>, String)>,
    checkpoint: Option<Vec<u8>>,
}

/// So many reports are remembered for a test, the last ones.
const REMEMBERED: usize = 10_000;

/// Why progress was not kept, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// The checkpoint cannot be written as JSON. The one before it is kept.
    #[error("the checkpoint cannot be encoded: {reason}")]
    #[non_exhaustive]
    Encode {
        /// The encoder's words.
        reason: String,
    },
    /// The checkpoint is larger than a task of its queue may be. The one before it is kept.
    #[error(
        "the checkpoint has {size} bytes, more than the limit of {limit}; store the data elsewhere and keep its address, or raise \
         `#[queue(…, payload_limit = …)]`"
    )]
    #[non_exhaustive]
    TooLarge {
        /// Bytes of the checkpoint in JSON.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// What was kept is not of this type: another version of the handler has made it. What to do then only the handler can know; `Option` and
    /// `#[serde(default)]` read what is older.
    #[error("the checkpoint cannot be read: {reason}")]
    #[non_exhaustive]
    Undecodable {
        /// The decoder's words.
        reason: String,
    },
    /// The attempt is over: the task was cancelled, or is another instance's.
    #[error("the task is not this handler's any more")]
    #[non_exhaustive]
    Over,
    /// The server could not be asked.
    #[error("the checkpoint cannot be asked for")]
    Queue(#[from] QueueError),
}

impl Progress {
    /// Bytes of a text that are kept: what is longer is cut.
    pub const LONGEST_TEXT: usize = 1024;

    /// Of a task whose progress is kept, with checkpoints of so many bytes.
    pub(crate) fn of(delivery: &Delivery, bus: &Bus, limit: usize) -> Option<Self> {
        let Task { queue, entry, lease, .. } = delivery.task()?;
        let of_task = OfTask {
            report: lease.reports()?.of(entry),
            bus: bus.clone(),
            queue: queue.clone(),
            limit,
            is_new: entry.token() == 1,
        };
        Some(Self { kept: Kept::WithTask(Arc::new(of_task)) })
    }

    /// One for a test, which goes on from a checkpoint in JSON.
    pub(crate) fn for_test(checkpoint: Option<Vec<u8>>) -> Self {
        let tested = Tested { checkpoint, ..Tested::default() };
        Self { kept: Kept::ForTest(Arc::new(Mutex::new(tested))) }
    }

    /// What was reported to one for a test.
    pub(crate) fn tested(&self) -> Vec<(Option<f64>, String)> {
        match &self.kept {
            Kept::WithTask(_) => Vec::new(),
            Kept::ForTest(tested) => locked(tested).reports.iter().cloned().collect(),
        }
    }

    /// Says how far the task has come: a fraction from 0 to 1, and what is being done. It takes the place of what was said before, and never waits.
    ///
    /// What is below 0 is 0, and what is above 1 is 1; what is no number says nothing of the fraction, as before the first report. Of the text the
    /// first [`LONGEST_TEXT`](Self::LONGEST_TEXT) bytes are kept, up to a whole character.
    pub fn report(&self, fraction: f64, text: impl AsRef<str>) {
        let fraction = (!fraction.is_nan()).then(|| fraction.clamp(0.0, 1.0));
        let text = cut(text.as_ref());
        match &self.kept {
            Kept::WithTask(of_task) => of_task.report.report(fraction, text),
            Kept::ForTest(tested) => {
                let reports = &mut locked(tested).reports;
                if reports.len() == REMEMBERED {
                    reports.pop_front();
                }
                reports.push_back((fraction, text.to_owned()));
            }
        }
    }

    /// Puts down what the next attempt goes on from, if there is one. It takes the place of the checkpoint before, and never waits:
    /// [`flush`](Self::flush) does.
    ///
    /// # Errors
    ///
    /// [`ProgressError::Encode`] where it cannot be written as JSON, and [`ProgressError::TooLarge`] where it is larger than a task of its queue may
    /// be, 256 KiB unless `payload_limit` says otherwise. The checkpoint before is kept then.
    pub fn checkpoint<T: Serialize + ?Sized>(&self, checkpoint: &T) -> Result<(), ProgressError> {
        let json = encode(checkpoint)?;
        match &self.kept {
            Kept::WithTask(of_task) => {
                let (size, limit) = (json.len(), of_task.limit);
                if size > limit {
                    return Err(ProgressError::TooLarge { size, limit });
                }
                of_task.report.checkpoint(json);
            }
            Kept::ForTest(tested) => locked(tested).checkpoint = Some(json),
        }
        Ok(())
    }

    /// Waits until what was reported and put down before is noted on the server, 100 ms or a little more where all is well, and for as long as the
    /// server is away where it is not: before a step that must not be done twice, for example.
    ///
    /// # Errors
    ///
    /// [`ProgressError::Over`] when the attempt has ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the wait; what was reported is noted all the same.
    pub async fn flush(&self) -> Result<(), ProgressError> {
        match &self.kept {
            Kept::WithTask(of_task) => of_task.report.flush().await.map_err(|IsOver| ProgressError::Over),
            Kept::ForTest(_) => Ok(()),
        }
    }

    /// The last checkpoint: of this attempt, where it has made one, else of the attempts before. `None` where there is none.
    ///
    /// On a first attempt that costs nothing; else a round trip.
    ///
    /// # Errors
    ///
    /// [`ProgressError::Undecodable`] where it is no `T`, and [`ProgressError::Queue`] where the server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    pub async fn saved<T: DeserializeOwned>(&self) -> Result<Option<T>, ProgressError> {
        match &self.kept {
            Kept::ForTest(tested) => {
                let checkpoint = locked(tested).checkpoint.clone();
                checkpoint.map(|json| decode(&json)).transpose()
            }
            Kept::WithTask(of_task) => {
                if let Some(json) = of_task.report.own_checkpoint() {
                    return decode(&json).map(Some);
                }
                if of_task.is_new {
                    return Ok(None);
                }
                let OfTask { bus, queue, report, .. } = &**of_task;
                let progress = bus.durable().progress(queue, report.id()).await?;
                progress.and_then(|progress| progress.checkpoint).map(|json| decode(&json)).transpose()
            }
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Progress");
        if let Kept::WithTask(of_task) = &self.kept {
            shown.field("task", &of_task.report.id());
        }
        shown.finish_non_exhaustive()
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(checkpoint: &T) -> Result<Vec<u8>, ProgressError> {
    serde_json::to_vec(checkpoint).map_err(|error| ProgressError::Encode { reason: error.to_string() })
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, ProgressError> {
    serde_json::from_slice(json).map_err(|error| ProgressError::Undecodable { reason: error.to_string() })
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(Progress::LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn locked(tested: &Mutex<Tested>) -> MutexGuard<'_, Tested> {
    tested.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hostile_is_cut_to_what_can_be_kept() {
        let progress = Progress::for_test(None);
        for (said, kept) in [
            (f64::NAN, None),
            (f64::NEG_INFINITY, Some(0.0)),
            (-0.1, Some(0.0)),
            (0.5, Some(0.5)),
            (f64::INFINITY, Some(1.0)),
        ] {
            progress.report(said, "");
            assert_eq!(progress.tested().pop().unwrap().0, kept, "{said}");
        }
        progress.report(1.0, "ä".repeat(1024 * 1024));
        assert_eq!(progress.tested().pop().unwrap().1.len(), 1024);
        progress.report(1.0, format!("{}ä", "a".repeat(1023)));
        assert_eq!(progress.tested().pop().unwrap().1.len(), 1023);
    }

    #[tokio::test]
    async fn a_checkpoint_that_cannot_be_kept_leaves_the_one_before() {
        let progress = Progress::for_test(None);
        assert_eq!(progress.saved::<u32>().await.unwrap(), None);
        progress.checkpoint(&7).unwrap();
        let nameless = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(progress.checkpoint(&nameless), Err(ProgressError::Encode { .. })));
        assert_eq!(progress.saved::<u32>().await.unwrap(), Some(7));
        assert!(matches!(progress.saved::<String>().await, Err(ProgressError::Undecodable { .. })));
        progress.flush().await.unwrap();
    }
}
