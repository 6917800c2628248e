//! What a message promises beside being delivered.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::message::contract::{AddressedByFields, Message};

/// A message that reaches everybody who is there. `#[derive(Message)]` implements it for every message without a `#[reply(…)]`; never
/// implement it by hand.
///
/// Only broadcasts can be published, returned with [`Publish`](crate::Publish), put into batches and subscribed to: the reply to a request
/// that was published would be lost, and a subscription that listens for requests would count as somebody who answers them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a broadcast",
    label = "not a broadcast",
    note = "a request is sent with `message.request(&bus)` and taken by a `#[handler]`, since its reply would be lost otherwise; a task with `message.enqueue(&bus)`, in a batch with `batch.enqueue(&message)`"
)]
pub trait Broadcast: Message {}

/// A broadcast that can announce the end of a task: its value says where it goes. The derive implements it for each that is one.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot announce the end of a task",
    label = "not a broadcast whose fields name its channel",
    note = "`completed` and `failed` name a type with `#[derive(Message)]` and `#[channel(\"…\")]` that has each parameter of its channel as a field: it is \
            published when a task has ended, and nobody is there to say an address"
)]
pub trait Announces: Broadcast + AddressedByFields {
    /// The broadcast's own type. Of a type that is none there is none, so what else is asked of it gives no further error.
    type Itself: Announces;
}

/// A message that is answered. `#[derive(Message)]` with `#[reply(Quote)]` or `#[reply(Quote, error = QuoteError)]` implements it; never
/// implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request",
    label = "not answered",
    note = "write `#[reply(Type)]` or `#[reply(Type, error = ErrorType)]` on `{Self}`"
)]
pub trait Request: Message {
    /// The answer.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// The error that a handler may answer instead.
    type Error: Serialize + DeserializeOwned + Send + 'static;
}

/// A task of a queue: one instance works on it, at least once, and it is not lost. `#[derive(Message)]` with `#[queue("…")]` implements it;
/// never implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task of a queue",
    label = "not a task",
    note = "write `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Queue: Message {
    /// [`AtLeastOnce`] or [`AtMostOnce`].
    #[doc(hidden)]
    type Runs;
}

/// How often each task of a queue runs: until it has succeeded.
#[doc(hidden)]
#[derive(Debug)]
pub enum AtLeastOnce {}

/// How often each task of a queue runs: it is done when it is taken.
#[doc(hidden)]
#[derive(Debug)]
pub enum AtMostOnce {}

/// A task whose result is kept, for whoever waits for it. `#[derive(Message)]` with `#[queue(…, results = "1h")]` and
/// `#[reply(Resized)]` or `#[reply(Resized, error = ResizeError)]` implements it; never implement it by hand.
///
/// Its handler returns the reply, or a tuple of it and what follows: `(Resized, Enqueue<SendMail>)`. The error derives
/// [`Outcome`](crate::Outcome), so that it says whether the task is tried again; the result of one that is, is that of its last attempt.
#[diagnostic::on_unimplemented(
    message = "the results of `{Self}` are not kept",
    label = "no result to wait for",
    note = "write `results = \"1h\"` in `#[queue(…)]` and `#[reply(Type, error = ErrorType)]` on `{Self}`",
    note = "of tasks that were enqueued together say which one it is: `enqueued.of::<Task>().result(&bus)`"
)]
pub trait Results: Queue {
    /// What its handler returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The error that its handler may return instead. It is displayed too, in logs and with the dead letter.
    type Error: fmt::Display + Serialize + DeserializeOwned + Send + 'static;
}

/// The error of a request, or of a task, whose handler never answers with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}
