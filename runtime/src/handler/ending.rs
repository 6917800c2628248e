//! How the end of a task is announced, where its queue says so: `completed = TaskCompleted, failed = TaskFailed`.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    bus::{handle::Bus, sending::Draft},
    codec::headers::Headers,
    error::PublishError,
    handler::returned::hop,
    message::{
        contract::{AddressedByFields, BorrowedMessage, Message, OwnedMessage},
        delivery::Delivery,
        kind::Results,
        reading::written,
    },
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

    /// What the handler has returned, of a task that is [`Completed`](TaskState::Completed). It is read anew at each call.
    #[must_use]
    pub fn result<R>(&self) -> Option<R>
    where
        M: Results<Output = R>,
        R: DeserializeOwned,
    {
        let json = self.end.result.filter(|_| self.end.state == TaskState::Completed)?;
        serde_json::from_slice(json).ok()
    }

    /// The error that the handler has returned, of a task that failed with the one that `#[reply(…, error = …)]` names. It is read anew at each call.
    #[must_use]
    pub fn typed_error<E>(&self) -> Option<E>
    where
        M: Results<Error = E>,
        E: DeserializeOwned,
    {
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

/// Makes the message that announces an end; an error says why there is none. What it calls is the user's, and may panic.
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

/// `From<Ended<'_, M>>`, in words for `completed` and `failed`. It is asked of [`Announces::Itself`](crate::message::kind::Announces), so a type that
/// lacks both gives one error.
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
    label = "`impl From<Ended<'_, {M}>> for {Self}` is missing",
    note = "write `impl From<tidings::Ended<'_, {M}>> for {Self}`: it makes the message that announces how the task has ended"
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
    announcement(&T::from(Ended { task, end }), &delivery, bus)
}

fn announce_borrowed<M: BorrowedMessage, T: AddressedByFields + for<'a> From<Ended<'a, M::At<'a>>>>(
    end: &TaskEnd<'_>,
    bus: &Bus,
) -> Result<Announcement, String> {
    let mut delivery = delivery::<M>(end, bus);
    let payload = delivery.share_payload();
    let task = delivery.decode_borrowed::<M>(&payload).map_err(|rejection| rejection.to_string())?;
    announcement(&T::from(Ended { task, end }), &delivery, bus)
}

/// The task as its handler would get it.
fn delivery<M: Message>(end: &TaskEnd<'_>, bus: &Bus) -> Delivery {
    Delivery::of_entry(bus.queue_name(M::TEMPLATE.text()), end.entry.clone(), bus.config().format)
}

/// The message, as it is published. It is as far from the first of a chain as one that the handler returns.
fn announcement<T: AddressedByFields>(message: &T, delivery: &Delivery, bus: &Bus) -> Result<Announcement, String> {
    hop::<T>(delivery, bus).and_then(|hops| encode(message, hops, bus)).map_err(|error| error.to_string())
}

fn encode<T: AddressedByFields>(message: &T, hops: u32, bus: &Bus) -> Result<Announcement, PublishError> {
    let headers = Headers::default();
    let draft = Draft { hops, ..Draft::of::<T>(bus.channel(|name| message.write_channel(name)), &headers) };
    let parcel = bus.encode::<T::Codec, _>(draft, written(message))?;
    Ok(Announcement { channel: parcel.channel, payload: parcel.payload })
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use tidings::{Message, Outcome, handler, router, routers, routes};

    use super::*;
    use crate::handler::contract::{Handler, Router};

    #[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
    #[outcome(dead_letter)]
    #[error("no image")]
    struct NoImage {
        code: u8,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:resize:<size>", bound, results = "1h", completed = Completed, failed = Failed)]
    #[reply(u64, error = NoImage)]
    struct Resize {
        size: u8,
        path: String,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("completed:<id>")]
    #[message(format = "plain")]
    struct Completed {
        id: String,
        said: String,
    }

    impl From<Ended<'_, Resize>> for Completed {
        fn from(ended: Ended<'_, Resize>) -> Self {
            let said =
                format!("{:?} {:?} {}", ended.result(), ended.typed_error().map(|error| error.code), ended.attempts());
            Self { id: ended.id().to_owned(), said }
        }
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("failed:<path>")]
    struct Failed {
        path: String,
        said: String,
    }

    impl From<Ended<'_, Resize>> for Failed {
        fn from(ended: Ended<'_, Resize>) -> Self {
            let code = ended.typed_error().map(|error| error.code);
            let said = format!("{:?} {:?} {:?} {code:?}", ended.state(), ended.reason(), ended.error());
            Self { said, path: ended.into_task().path }
        }
    }

    impl From<Ended<'_, View<'_>>> for Failed {
        fn from(ended: Ended<'_, View<'_>>) -> Self {
            Self { path: ended.into_task().path.to_owned(), said: String::new() }
        }
    }

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:view", failed = Failed)]
    struct View<'a> {
        path: &'a str,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("others")]
    struct Other;

    #[handler(idempotent, timeout = "1m")]
    async fn resize(task: Resize) -> u64 {
        u64::from(task.size)
    }

    #[handler(idempotent, timeout = "1m")]
    async fn view(_: View<'_>) {}

    #[handler]
    async fn other(_: Other) {}

    struct Views;

    #[router]
    impl Views {
        #[handler]
        async fn other(&self, _: Other) {}

        #[handler(idempotent, timeout = "1m")]
        async fn view(&self, _: View<'_>) {}
    }

    async fn bus() -> Bus {
        Bus::builder("memory:").namespace("shop").payload_limit(300).connect().await.unwrap()
    }

    fn completed(entry: &Entry) -> TaskEnd<'_> {
        let state = TaskState::Completed;
        TaskEnd { entry, state, reason: None, error: None, attempts: 2, result: Some(b"7") }
    }

    fn announced(announce: Option<Announce>, end: &TaskEnd<'_>, bus: &Bus) -> Result<(String, String), String> {
        let Announcement { channel, payload } = announce.expect("it is announced")(end, bus)?;
        Ok((channel, String::from_utf8(payload).unwrap()))
    }

    #[tokio::test]
    async fn an_end_is_announced_with_the_users_message() {
        let (bus, endings) = (bus().await, <resize as Handler>::ENDINGS);
        let entry = Entry::made("tasks:resize:3", r#"{"size":3,"path":"cat"}"#);
        let told = announced(endings.of(TaskState::Completed), &completed(&entry), &bus).unwrap();
        assert_eq!(told, ("shop:completed:t-1".to_owned(), r#"{"id":"t-1","said":"Some(7) None 2"}"#.to_owned()));

        for (state, reason, said) in [
            (TaskState::Dead, Some(DeadReason::Refused), r#"Dead Some(Refused) Some(\"no\") Some(4)"#),
            (TaskState::Discarded, None, r#"Discarded None Some(\"no\") Some(4)"#),
        ] {
            let end = TaskEnd { state, reason, error: Some("no"), result: Some(br#"{"code":4}"#), ..completed(&entry) };
            let (channel, payload) = announced(endings.of(state), &end, &bus).unwrap();
            assert_eq!(channel, "shop:failed:cat");
            assert!(payload.contains(said) && payload.contains(r#""type":"Failed""#), "{payload}");
        }
        assert!(endings.of(TaskState::Expired).is_none() && endings.of(TaskState::Cancelled).is_none());
    }

    #[tokio::test]
    async fn tasks_that_borrow_are_announced_too() {
        let entry = Entry::made("tasks:view", r#"{"path":"cat"}"#);
        let end = TaskEnd { state: TaskState::Dead, ..completed(&entry) };
        let told = announced(<view as Handler>::ENDINGS.of(end.state), &end, &bus().await).unwrap();
        assert_eq!(told.0, "shop:failed:cat");
        assert!(<view as Handler>::ENDINGS.of(TaskState::Completed).is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_announced_says_why() {
        let (bus, announce) = (bus().await, <resize as Handler>::ENDINGS.of(TaskState::Completed));
        let refused = |payload: &str| {
            let entry = Entry::made("tasks:resize:3", payload);
            announced(announce, &completed(&entry), &bus).unwrap_err()
        };
        assert!(refused("{").contains("is no Resize"), "{}", refused("{"));
        assert!(refused(r#"{"size":4,"path":"cat"}"#).contains("tasks:resize"), "its size is not that of its channel");

        let failed = <resize as Handler>::ENDINGS.of(TaskState::Dead);
        let entry = Entry::made("tasks:resize:3", &format!(r#"{{"size":3,"path":"{}"}}"#, "x".repeat(300)));
        let end = TaskEnd { state: TaskState::Dead, ..completed(&entry) };
        let refused = announced(failed, &end, &bus).unwrap_err();
        assert!(refused.contains("the limit of 300"), "{refused}");
    }

    fn kinds(endings: &[Endings]) -> Vec<(bool, bool)> {
        endings.iter().map(|ending| (ending.completed.is_some(), ending.failed.is_some())).collect()
    }

    #[test]
    fn a_router_knows_the_endings_of_each_of_its_handlers() {
        fn of<R: Router>(_: &R) -> Vec<(bool, bool)> {
            kinds(&R::endings())
        }
        let free = || routes![other, resize, view];
        let expected = [(false, false), (true, true), (false, true)];
        assert_eq!(of(&free()), expected);
        assert_eq!(of(&free().with_state(7)), expected);
        assert_eq!(of(&std::sync::Arc::new(free())), expected);
        assert_eq!(kinds(&Views::endings()), [(false, false), (false, true)]);
        let both = routers![Box::new(Views), routes![resize]];
        assert_eq!(of(&both), [(false, false), (false, true), (true, true)]);
    }
}
