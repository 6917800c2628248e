//! Tasks that a handler returns.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    bus::tasks::EnqueueOptions,
    channel::text::{ChannelWriter, Shown},
    codec::headers::Headers,
    message::{
        address::Address,
        contract::{AddressedByFields, Message},
        kind::Queue,
    },
    transport::durable::task::{Due, Unique},
};

/// Tasks that a handler wants enqueued once it has returned, in order: the follow-ups of what it did.
///
/// They are encoded at once; if one cannot be encoded, the delivery fails and none of them is enqueued. Where the handler works on a queue itself,
/// its follow-ups are enqueued in the same step that says that its task is done, so that a crash neither loses nor doubles one; on a cluster only
/// those of a queue in the same slot, which is the same queue, and the others right before. Tasks of different types, and messages, are returned as
/// a tuple: `(Enqueue<A>, Publish<B>)`.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Enqueue, Message, handler};
/// #[derive(Message, Serialize, Deserialize)]
/// #[queue("tasks:resize")]
/// struct ResizeImage { path: String }
///
/// #[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
/// #[queue("tasks:mail")]
/// struct SendMail { about: String }
///
/// #[handler(idempotent, timeout = "2m")]
/// async fn resize(task: ResizeImage) -> Enqueue<SendMail> {
///     Enqueue::new(SendMail { about: task.path })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let follow_up = resize(ResizeImage { path: "cat.png".into() }).await;
/// assert_eq!(follow_up, Enqueue::new(SendMail { about: "cat.png".into() }));
/// # }
/// ```
///
/// `Debug` shows the channels and leaves the tasks out.
#[derive(PartialEq, Eq)]
#[must_use = "a handler returns it; nothing is enqueued otherwise"]
pub struct Enqueue<M> {
    pub(super) tasks: Vec<Planned<M>>,
}

/// A task with its headers, its channel without the namespace, and how it is enqueued.
#[derive(PartialEq, Eq)]
pub(super) struct Planned<M> {
    pub(super) channel: String,
    pub(super) headers: Headers,
    pub(super) options: EnqueueOptions,
    pub(super) message: M,
}

impl<M> Planned<M> {
    fn new(channel: String, message: M) -> Self {
        Self { channel, headers: Headers::default(), options: EnqueueOptions::default(), message }
    }
}

impl<M: AddressedByFields + Queue> Enqueue<M> {
    /// Enqueues one task in the part of its queue that its fields name.
    pub fn new(message: M) -> Self {
        Self::all([message])
    }

    /// Enqueues several tasks, in order.
    pub fn all(messages: impl IntoIterator<Item = M>) -> Self {
        let planned = messages.into_iter().map(|message| {
            let mut channel = String::new();
            message.write_channel(&mut ChannelWriter::new(&mut channel));
            Planned::new(channel, message)
        });
        Self { tasks: planned.collect() }
    }
}

impl<M: Queue> Enqueue<M> {
    /// Enqueues one task in the part of its queue that an address names.
    pub fn to(address: &Address<M>, message: M) -> Self {
        Self { tasks: vec![Planned::new(address.to_string(), message)] }
    }
}

// Each of these is about the tasks that it holds so far; those that `and` adds later have their own.
impl<M> Enqueue<M> {
    /// Sets a header of each of its tasks.
    ///
    /// A plain message carries none: the delivery then fails, and nothing that its handler returned is sent.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.tasks.iter_mut().for_each(|task| task.headers.set(name.as_str(), value.as_str()));
        self
    }

    /// Has its tasks wait for so long before they may be taken, counted by the server's clock from when it has them. Default: not at all.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|options| options.due = Due::In(delay))
    }

    /// Has its tasks wait until this time of day, by the server's clock, to the millisecond.
    pub fn at(self, time: SystemTime) -> Self {
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.with(|options| options.due = Due::At(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// Has its tasks not be run once they have waited for longer than this since they were due, by the server's clock. Default: they wait for as
    /// long as it takes.
    pub fn expires_in(self, time: Duration) -> Self {
        self.with(|options| options.expires_in = Some(time))
    }

    /// Adds a task only while the queue has none with this key: the key holds for the window, and at least until the task has ended. Of several
    /// tasks with one key the first is added.
    pub fn deduplicate(self, key: impl Into<String>, window: Duration) -> Self {
        let unique = Unique { key: key.into(), window };
        self.with(|options| options.unique = Some(unique.clone()))
    }

    fn with(mut self, set: impl Fn(&mut EnqueueOptions)) -> Self {
        self.tasks.iter_mut().for_each(|task| set(&mut task.options));
        self
    }

    /// Enqueues these tasks, and then those of `next`.
    pub fn and(mut self, mut next: Self) -> Self {
        self.tasks.append(&mut next.tasks);
        self
    }

    /// How many tasks it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks, in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &M> {
        self.tasks.iter().map(|task| &task.message)
    }

    /// The tasks themselves, in order.
    pub fn into_messages(self) -> impl ExactSizeIterator<Item = M> {
        self.tasks.into_iter().map(|task| task.message)
    }

    /// The channel of each task, in the same order, without the namespace.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tasks.iter().map(|task| task.channel.as_str())
    }

    /// The headers of each task, in the same order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &Headers> {
        self.tasks.iter().map(|task| &task.headers)
    }
}

impl<M: Message> Enqueue<M> {
    /// Whether it holds tasks, all of which go to this address.
    #[must_use]
    pub fn is_for(&self, address: &Address<M>) -> bool {
        let address = address.to_string();
        !self.is_empty() && self.channels().all(|channel| channel == address)
    }
}

impl<M> fmt::Debug for Enqueue<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels: Vec<_> = self.channels().take(SHOWN).map(Shown).collect();
        formatter.debug_struct("Enqueue").field("len", &self.len()).field("channels", &channels).finish_non_exhaustive()
    }
}

/// Channels that are shown of many.
const SHOWN: usize = 3;
