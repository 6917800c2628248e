//! Tasks that were given up.

use std::{fmt, future::IntoFuture, iter, marker::PhantomData, time::SystemTime};

use crate::{
    channel::text::Shown,
    codec::{contract::Format, headers::Headers},
    error::{QueueError, Rejection},
    future::BusFuture,
    message::contract::{Message, OwnedMessage},
    operate::{
        queue::QueueHandle,
        view::{delivery, headers, time_of},
    },
    transport::durable::{
        look::{Dead, Mend},
        task::DeadReason,
    },
};

/// The dead letters of a queue, the newest first; await it. [`QueueHandle::dead_letters`] makes it.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, DeadReason, Message};
/// # #[derive(Debug, Message, Serialize, Deserialize)]
/// # #[queue("tasks:mails")]
/// # struct SendMail { to: String }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mails = bus.queue::<SendMail>();
/// let failed = mails.dead_letters().reason(DeadReason::Failed).limit(20).await?;
/// for letter in &failed {
///     println!("{} after {} failures: {}", letter.id, letter.failures, letter.error.as_deref().unwrap_or("?"));
/// }
/// // Those to `example.org` again; page by page with `before`.
/// let mended = failed.iter().filter(|letter| letter.task().is_ok_and(|mail| mail.to.ends_with("@example.org")));
/// mails.replay(mended).await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is asked until this is awaited"]
pub struct DeadLetters<'a, M> {
    queue: &'a QueueHandle<M>,
    limit: usize,
    before: Option<String>,
    reason: Option<DeadReason>,
}

/// How many are read together.
const PAGE: usize = 100;

impl<'a, M: Message> DeadLetters<'a, M> {
    pub(super) fn new(queue: &'a QueueHandle<M>) -> Self {
        Self { queue, limit: PAGE, before: None, reason: None }
    }

    /// So many at most. Default: 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Those that were given up before this one: the next page behind the last one of a page.
    pub fn before(mut self, letter: &DeadLetter<M>) -> Self {
        self.before = Some(letter.entry.clone());
        self
    }

    /// Only those that were given up for this reason. All that are newer are read for it.
    pub fn reason(mut self, reason: DeadReason) -> Self {
        self.reason = Some(reason);
        self
    }

    async fn run(self) -> Result<Vec<DeadLetter<M>>, QueueError> {
        let Self { queue, limit, mut before, reason } = self;
        let (name, format) = (queue.name(), queue.bus.config().format);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = queue.bus.durable().dead(&name, before.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            before = page.last().map(|dead| dead.entry.clone());
            let wanted = page.into_iter().filter(|dead| reason.is_none_or(|reason| dead.reason == reason));
            found.extend(wanted.map(|dead| DeadLetter::of(dead, format)));
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

crate::future::once_awaited!(['a, M] DeadLetters<'a, M>);

impl<'a, M: Message> IntoFuture for DeadLetters<'a, M> {
    type Output = Result<Vec<DeadLetter<M>>, QueueError>;
    type IntoFuture = BusFuture<'a, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(self.run())
    }
}

impl<M: Message> fmt::Debug for DeadLetters<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("DeadLetters");
        shown.field("queue", &M::TEMPLATE).field("limit", &self.limit).field("reason", &self.reason);
        shown.finish_non_exhaustive()
    }
}

/// A task that was given up, as it was. `Debug` leaves the payload out.
#[non_exhaustive]
pub struct DeadLetter<M> {
    /// The task's id.
    pub id: String,
    /// Its part of the queue.
    pub channel: String,
    /// The wire name, where the task says it.
    pub name: Option<String>,
    /// The version, where the task says it.
    pub version: Option<u64>,
    /// The payload as it was enqueued.
    pub payload: Vec<u8>,
    /// Why it was given up.
    pub reason: DeadReason,
    /// What its last failure said.
    pub error: Option<String>,
    /// Attempts that failed.
    pub failures: u32,
    /// Instances that died while they had it.
    pub crashes: u32,
    /// The last of these, by name.
    pub died: Vec<String>,
    /// The instance that gave it up.
    pub instance: String,
    /// When it was enqueued, by the server's clock, where that is known.
    pub enqueued: Option<SystemTime>,
    /// When it was given up, by the server's clock.
    pub given_up: SystemTime,
    /// What it is replayed and deleted by.
    entry: String,
    format: Format,
    message: PhantomData<fn() -> M>,
}

impl<M> DeadLetter<M> {
    fn of(dead: Dead, format: Format) -> Self {
        let Dead { entry, id, channel, name, version, payload, record, reason, instance, at: given_up } = dead;
        Self {
            id,
            channel,
            name,
            version,
            payload: payload.into(),
            reason,
            error: record.error,
            failures: record.failures,
            crashes: record.crashes,
            died: record.died,
            instance,
            enqueued: record.enqueued_at.map(time_of),
            given_up: time_of(given_up),
            entry,
            format,
            message: PhantomData,
        }
    }
}

impl<M: Message> DeadLetter<M> {
    /// The task itself.
    ///
    /// # Errors
    ///
    /// Why it cannot be read: the reason for which it is here, perhaps.
    pub fn task(&self) -> Result<M, Rejection>
    where
        M: OwnedMessage,
    {
        delivery(&self.channel, &self.payload, self.format).decode().map_err(|rejection| *rejection)
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> Headers {
        headers::<M>(delivery(&self.channel, &self.payload, self.format))
    }
}

/// One letter is a sequence of one: [`QueueHandle::replay`] and [`QueueHandle::delete`] take one as they take many.
impl<M> IntoIterator for &DeadLetter<M> {
    type Item = Self;
    type IntoIter = iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self)
    }
}

impl<M> fmt::Debug for DeadLetter<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeadLetter")
            .field("id", &Shown(&self.id))
            .field("channel", &Shown(&self.channel))
            .field("reason", &self.reason)
            .field("error", &self.error)
            .field("failures", &self.failures)
            .field("crashes", &self.crashes)
            .finish_non_exhaustive()
    }
}

impl<M: Message> QueueHandle<M> {
    /// Has these tasks wait again, one (`&letter`) or many, as if they had just been enqueued: their attempts begin anew, and their id stays. How many of them were there.
    ///
    /// # Errors
    ///
    /// That the server cannot be asked, or refuses; some of them may have been replayed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which of them were replayed.
    pub fn replay(&self, letters: impl Letters<M>) -> BusFuture<'_, Result<u64, QueueError>> {
        BusFuture::new(self.mend(letters.entries(), Mend::Replay))
    }

    /// Deletes these tasks for good, one or many. How many of them were there.
    ///
    /// # Errors
    ///
    /// As of [`replay`](Self::replay).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which of them were deleted.
    pub fn delete(&self, letters: impl Letters<M>) -> BusFuture<'_, Result<u64, QueueError>> {
        BusFuture::new(self.mend(letters.entries(), Mend::Delete))
    }

    /// Replays all dead letters that are there now, and none that comes meanwhile: what fails again is not replayed twice. How many they were.
    ///
    /// # Errors
    ///
    /// As of [`replay`](Self::replay).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which of them were replayed.
    pub async fn replay_all(&self) -> Result<u64, QueueError> {
        self.mend_all(&Mend::Replay).await
    }

    /// Deletes all dead letters that are there now. How many they were.
    ///
    /// # Errors
    ///
    /// As of [`replay`](Self::replay).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which of them were deleted.
    pub async fn delete_all(&self) -> Result<u64, QueueError> {
        self.mend_all(&Mend::Delete).await
    }

    async fn mend(&self, entries: Vec<String>, mend: Mend) -> Result<u64, QueueError> {
        let name = self.name();
        let mut mended = 0;
        for page in entries.chunks(PAGE) {
            mended += self.bus.durable().mend(&name, page, mend.clone()).await?;
        }
        Ok(mended)
    }

    /// From the newest back: what comes meanwhile is newer.
    async fn mend_all(&self, mend: &Mend) -> Result<u64, QueueError> {
        let name = self.name();
        let (mut before, mut mended) = (None::<String>, 0);
        loop {
            let page = self.bus.durable().dead(&name, before.as_deref(), PAGE).await?;
            let entries: Vec<String> = page.into_iter().map(|dead| dead.entry).collect();
            let Some(last) = entries.last().cloned() else { return Ok(mended) };
            let is_last = entries.len() < PAGE;
            mended += self.mend(entries, mend.clone()).await?;
            if is_last {
                return Ok(mended);
            }
            before = Some(last);
        }
    }
}

/// Dead letters, one or many: `&letter`, `&letters`, `[&first, &second]`, or any iterator over references to them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no dead letters of this queue",
    label = "expected `&letter`, or an iterator over `&DeadLetter<{M}>`",
    note = "write `&letter` for one, `&letters` for all that `dead_letters()` has found, and `letters.iter().filter(…)` for some of them; all that there are: `replay_all`, `delete_all`"
)]
pub trait Letters<M> {
    #[doc(hidden)]
    fn entries(self) -> Vec<String>;
}

#[diagnostic::do_not_recommend]
impl<'l, M: 'l, I: IntoIterator<Item = &'l DeadLetter<M>>> Letters<M> for I {
    fn entries(self) -> Vec<String> {
        self.into_iter().map(|letter| letter.entry.clone()).collect()
    }
}
