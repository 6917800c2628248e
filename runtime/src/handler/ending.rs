//! How the end of a task is announced, where its queue says so: `completed = TaskCompleted, failed = TaskFailed`.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    bus::{handle::Bus, sending::Draft},
    codec::headers::Headers,
    error::PublishError,
    message::{
        contract::{AddressedByFields, BorrowedMessage, Message, OwnedMessage},
        delivery::Delivery,
        kind::{Broadcast, Results},
        lease::{Lease, Task},
        reading::written,
    },
    time::now,
    transport::durable::{
        course::Announcement,
        task::{DeadReason, Entry, TaskState},
    },
};

/// How a task has ended. The message that announces it is made of this: `impl From<Ended<'_, ResizeImage>> for TaskCompleted`.
///
/// A queue that says `completed = TaskCompleted` has one published for each task whose handler has succeeded, and one that says `failed = TaskFailed`
/// for each that goes to the dead letters, or that its handler's error discards. It is published in the step that ends the task: there is no end
/// without it, and none of an attempt that is tried again. Like every broadcast it reaches whoever is there then. A task that no instance can decode
/// has none, nor one whose conversion panics or makes a message that cannot be encoded; the task ends all the same, and the log says so.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Ended, Event, Message, handler, routes};
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:images", results = "1h", completed = TaskCompleted, failed = TaskFailed)]
/// #[reply(u64)]
/// struct ResizeImage {
///     path: String,
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("tasks:completed:<id>")]
/// struct TaskCompleted {
///     id: String,
///     path: String,
///     bytes: Option<u64>,
/// }
///
/// impl From<Ended<'_, ResizeImage>> for TaskCompleted {
///     fn from(ended: Ended<'_, ResizeImage>) -> Self {
///         Self { id: ended.id().to_owned(), bytes: ended.result(), path: ended.into_task().path }
///     }
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("tasks:failed:<id>")]
/// struct TaskFailed {
///     id: String,
///     error: String,
///     attempts: u32,
/// }
///
/// impl From<Ended<'_, ResizeImage>> for TaskFailed {
///     fn from(ended: Ended<'_, ResizeImage>) -> Self {
///         let error = ended.error().unwrap_or("no error").to_owned();
///         Self { id: ended.id().to_owned(), error, attempts: ended.attempts() }
///     }
/// }
///
/// #[handler(idempotent, timeout = "2m")]
/// async fn resize(task: ResizeImage) -> u64 {
///     task.path.len() as u64
/// }
/// # fn main() { let _ = routes![resize]; }
/// ```
pub struct Ended<'a, M> {
    task: M,
    end: &'a TaskEnd<'a>,
}

impl<M> Ended<'_, M> {
    /// The task.
    pub fn task(&self) -> &M {
        &self.task
    }

    /// The task itself.
    pub fn into_task(self) -> M {
        self.task
    }

    /// The id of the task.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.end.entry.id
    }

    /// [`Completed`](TaskState::Completed), [`Dead`](TaskState::Dead) or [`Discarded`](TaskState::Discarded).
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.end.state
    }

    /// Why it is in the dead letters, where it is.
    #[must_use]
    pub fn reason(&self) -> Option<DeadReason> {
        self.end.reason
    }

    /// What the last failure said. None of a task that is completed.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.end.error
    }

    /// The attempts that were made, the last one among them.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.end.attempts
    }
}

impl<M: Results> Ended<'_, M> {
    /// What the handler has returned, of a task that is [`Completed`](TaskState::Completed). It is read anew at each call.
    #[must_use]
    pub fn result(&self) -> Option<M::Output> {
        let json = self.end.result.filter(|_| self.end.state == TaskState::Completed)?;
        serde_json::from_slice(json).ok()
    }

    /// The error that the handler has returned, of a task that failed with the one that `#[reply(…, error = …)]` names. It is read anew at each call.
    #[must_use]
    pub fn typed_error(&self) -> Option<M::Error> {
        let json = self.end.result.filter(|_| self.end.state != TaskState::Completed)?;
        serde_json::from_slice(json).ok()
    }
}

impl<M> fmt::Debug for Ended<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the task, and not its result.
        let TaskEnd { state, reason, attempts, .. } = self.end;
        formatter
            .debug_struct("Ended")
            .field("id", &self.id())
            .field("state", state)
            .field("reason", reason)
            .field("attempts", attempts)
            .finish_non_exhaustive()
    }
}

/// The messages of the user's own that announce how tasks of a handler's queue have ended.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Endings {
    /// Of one that is [`Completed`](TaskState::Completed).
    pub(crate) completed: Option<Announce>,
    /// Of one that is [`Dead`](TaskState::Dead) or [`Discarded`](TaskState::Discarded).
    pub(crate) failed: Option<Announce>,
}

/// Makes the message that announces an end; an error says why there is none.
pub(crate) type Announce = fn(&TaskEnd<'_>, &Bus) -> Result<Announcement, String>;

/// The end of a task, before its type is known.
pub(crate) struct TaskEnd<'a> {
    /// With its payload.
    pub(crate) entry: &'a Entry,
    pub(crate) state: TaskState,
    pub(crate) reason: Option<DeadReason>,
    /// What the last failure said.
    pub(crate) error: Option<&'a str>,
    /// The attempts that were made, the last one among them.
    pub(crate) attempts: u32,
    /// The reply, or the typed error, in JSON.
    pub(crate) result: Option<&'a [u8]>,
}

impl Endings {
    pub const NONE: Self = Self { completed: None, failed: None };

    #[must_use]
    pub const fn completed(mut self, announcing: Announcing) -> Self {
        self.completed = Some(announcing.0);
        self
    }

    #[must_use]
    pub const fn failed(mut self, announcing: Announcing) -> Self {
        self.failed = Some(announcing.0);
        self
    }

    /// The announcement of an end, where there is one for it.
    pub(crate) fn of(&self, state: TaskState) -> Option<Announce> {
        match state {
            TaskState::Completed => self.completed,
            TaskState::Dead | TaskState::Discarded => self.failed,
            _ => None,
        }
    }
}

impl fmt::Debug for Endings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, failed } = self;
        formatter
            .debug_struct("Endings")
            .field("completed", &completed.is_some())
            .field("failed", &failed.is_some())
            .finish()
    }
}

/// How the end of tasks of a message is announced: of `()`, not at all. The derive implements it for a task whose queue says `completed` or `failed`.
#[doc(hidden)]
pub trait Announced {
    const ENDINGS: Endings;
}

impl Announced for () {
    const ENDINGS: Endings = Endings::NONE;
}

/// How an end is announced with one message, as the derive uses it.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Announcing(Announce);

impl fmt::Debug for Announcing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Announcing")
    }
}

/// `Broadcast`, in words for `completed` and `failed`.
///
/// This and the next two are asked one after the other, each of the type that the one before hands on: so a type that lacks several of them gives
/// one error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot announce the end of a task: it is not a broadcast",
    label = "not a broadcast",
    note = "`completed` and `failed` name a type with `#[derive(Message)]` and `#[channel(\"…\")]`, which is published when a task has ended"
)]
pub trait IsAnnouncement {
    type Itself: Broadcast;
}

#[diagnostic::do_not_recommend]
impl<T: Broadcast> IsAnnouncement for T {
    type Itself = T;
}

/// `AddressedByFields`, likewise.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where to announce the end of a task: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "nobody is there to say an address when a task ends: make each parameter of its channel a field of `{Self}`"
)]
pub trait SaysWhere {
    type Itself: AddressedByFields;
}

#[diagnostic::do_not_recommend]
impl<T: AddressedByFields> SaysWhere for T {
    type Itself = T;
}

/// `From<Ended<'_, M>>`, likewise.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made of the end of a `{M}`",
    label = "`impl From<Ended<'_, {M}>> for {Self}` is missing",
    note = "write `impl From<tidings::Ended<'_, {M}>> for {Self}`: it makes the message that announces how the task has ended"
)]
pub trait MadeOf<M> {
    const ANNOUNCING: Announcing;
}

#[diagnostic::do_not_recommend]
impl<M: OwnedMessage, T: AddressedByFields + for<'a> From<Ended<'a, M>>> MadeOf<M> for T {
    const ANNOUNCING: Announcing = Announcing(announce::<M, T>);
}

/// The same of a task that borrows from its payload.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made of the end of a `{M}`",
    label = "`impl<'a> From<Ended<'a, {M}>> for {Self}` is missing",
    note = "write `impl<'a> From<tidings::Ended<'a, {M}>> for {Self}`, with `'a` as the lifetime of the task: it makes the message that announces how the task has ended"
)]
pub trait MadeOfBorrowed<M> {
    const ANNOUNCING: Announcing;
}

#[diagnostic::do_not_recommend]
impl<M: BorrowedMessage, T: AddressedByFields + for<'a> From<Ended<'a, M::At<'a>>>> MadeOfBorrowed<M> for T {
    const ANNOUNCING: Announcing = Announcing(announce_borrowed::<M, T>);
}

fn announce<M: OwnedMessage, T: AddressedByFields + for<'a> From<Ended<'a, M>>>(
    end: &TaskEnd<'_>,
    bus: &Bus,
) -> Result<Announcement, String> {
    let mut delivery = delivery::<M>(end, bus);
    let task = delivery.decode::<M>().map_err(|rejection| rejection.to_string())?;
    announcement::<T>(|| Ended { task, end }.into(), &delivery, bus)
}

fn announce_borrowed<M: BorrowedMessage, T: AddressedByFields + for<'a> From<Ended<'a, M::At<'a>>>>(
    end: &TaskEnd<'_>,
    bus: &Bus,
) -> Result<Announcement, String> {
    let mut delivery = delivery::<M>(end, bus);
    let payload = delivery.share_payload();
    let task = delivery.decode_borrowed::<M>(&payload).map_err(|rejection| rejection.to_string())?;
    announcement::<T>(|| Ended { task, end }.into(), &delivery, bus)
}

/// The task as its handler would get it. Nobody holds it any more.
fn delivery<M: Message>(end: &TaskEnd<'_>, bus: &Bus) -> Delivery {
    let task = Task {
        queue: bus.queue_name(M::TEMPLATE.text()),
        entry: end.entry.clone(),
        lease: Lease::new(end.entry.token(), now()),
        once: Default::default(),
    };
    Delivery::of_task(task, bus.config().format)
}

/// The message, as it is published. What is called here is the user's, and a panic would end whoever settles the tasks of the queue.
fn announcement<T: AddressedByFields>(
    make: impl FnOnce() -> T,
    delivery: &Delivery,
    bus: &Bus,
) -> Result<Announcement, String> {
    let hops = delivery.hops().saturating_add(1);
    let encoded = catch_unwind(AssertUnwindSafe(|| encode(&make(), hops, bus)));
    match encoded {
        Ok(encoded) => encoded.map_err(|error| error.to_string()),
        Err(_) => Err(format!("what makes a `{}` of the end of a task panicked", T::NAME)),
    }
}

fn encode<T: AddressedByFields>(message: &T, hops: u32, bus: &Bus) -> Result<Announcement, PublishError> {
    let template = T::TEMPLATE.text();
    if let Some(limit) = bus.config().hop_limit.filter(|&limit| hops >= limit) {
        return Err(PublishError::TooManyHops { template, hops, limit });
    }
    let headers = Headers::default();
    let draft = Draft { hops, ..Draft::of::<T>(bus.channel(|name| message.write_channel(name)), &headers) };
    let parcel = bus.encode::<T::Codec, _>(draft, written(message))?;
    Ok(Announcement { channel: parcel.channel, payload: parcel.payload })
}
