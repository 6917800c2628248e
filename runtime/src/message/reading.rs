//! How messages are written and read: with serde's traits, in words of our own.
//!
//! # Traits that exist for their error texts
//!
//! rustc explains a missing implementation with the text of the trait that is asked for, and else lists other people's types that have it. A
//! trait of our own at the place where a rule is asked says the rule once, in a user's words, and names what to write; a trait of serde or a
//! bound that is inherited would say it again at each use, in words about serde.
//!
//! | rule | trait | who asks | UI test |
//! |--|--|--|--|
//! | a message is written with `Serialize` | `Writable` | `Message::Writer`, which the derive sets to `Serde` | `message/missing_serialize` |
//! | a message is read with `Deserialize` | `Readable` | `OwnedMessage::Reader`, set to `Serde` | `message/missing_deserialize` |
//! | so is one that borrows | `ReadableFrom` | `BorrowedMessage::Reader`, set to `SerdeBorrowed` | `borrowed/no_deserialize` |
//! | a field is sent from thread to thread | `Sent` | `sent::<T>`, in the derive's constant for each field that may not be | `message/field_of_one_thread` |
//! | a parameter can stand in a channel | `FillsSegment` | `parameter::<T>`, in the derive's constant for each parameter | `message/enum_that_is_no_parameter` |
//! | so can what a struct holds | `FillsSegment` | `held::<T>`, in the constant of `#[derive(ChannelParam)]` | `param/around_no_parameter` |
//! | an argument fits its parameter | `IntoParam` | `M::channel(…)` and the pattern's functions | `verbs/parameter_of_another_type` |
//! | an address is one of this message | `AddressOf` | `publish_to`, `request_to`, `Batch::push_to` | `verbs/address_of_another_message` |
//! | `publish` needs every parameter as a field | `CompleteChannel` | `publish` of a message where some are none | `verbs/publish_without_all_fields` |
//! | so does `request` | `CompleteRequest` | `request` of such a message | `request/request_without_all_fields` |
//! | a request is not published | `Published` | `publish` and `publish_to` of a request | `request/published` |
//! | `enqueue` needs every parameter as a field | `CompleteQueue` | `enqueue` of a task where some are none | `queue/enqueue_without_all_fields` |
//! | what is no task is not enqueued | `SentAsTask` | `enqueue` of a broadcast or a request | `queue/enqueue_of_a_broadcast` |
//! | a task is neither published nor requested | `TaskPublished`, `TaskRequested` | `publish`, `request` and the like of a task | `queue/published`, `queue/requested` |
//! | only a task has a lease | `Leased` | `Extract` of `&Lease` | `queue/lease_of_a_broadcast` |
//! | a field tells tasks apart | `TellsApart` | the call of a handler with `once = field` | `queue/once_by_no_key` |
//! | a task is tried again after a time | `After` | `#[derive(Outcome)]`, for `retry_after` | `outcome/retry_after_no_duration` |
//! | `from` names a message that owns its fields | `IsOlder` | the derive's constant for it, behind `Arrives` | `message/older_that_borrows` |
//! | of which the newer one is made | `Becomes` | the derive's function that reads it | `message/older_without_from` |
//! | a message is sent by itself | `PublishedByItself`, `RequestedByItself` | `publish` and `request` of a bus | `verbs/asked_of_the_bus` |
//! | a builder is awaited before what it makes is used | `NotSubscribedYet`, `NotServedYet`, `NotEnqueuedYet` | `next`, `shutdown` and `result` of the builders | `verbs/not_awaited` |
//! | a task has no options of its handler or its queue | `PrioritizedByItself`, `RetriedByItself` | `priority` and `retries` of `enqueue` | `queue/said_of_each_task` |
//! | a subscription is to broadcasts that own their fields | `Subscribable` | `Bus::subscribe` | `borrowed/subscribed`, `request/subscribed` |
//! | what is replayed is a dead letter, or several | `Letters` | `replay` and `delete` of a queue | `queue/other_things_replayed` |
//! | generic code publishes broadcasts, and requests requests | `Publishable`, `Requestable` | the user's bounds | `verbs/given_to_generic_code` |
//! | a handler takes a message, and `from` names one | `Arrives` | the constants of the handler and of the derive | `handler/not_a_message`, `message/older_that_is_none` |
//! | or one that borrows | `ArrivesBorrowed` | the same, where the type is written with a lifetime | `borrowed/no_message` |
//! | a request is answered with its reply | `IntoReply` | `Returned<AnswerWith<_>>` of the handler's call | `request/no_reply` |
//! | or with its typed error | `IntoAnswer` | `Returned<AnswerOr<_>>`, likewise | `request/wrong_reply` |
//! | a task whose result is kept comes to it | `IntoResult`, `IntoEnd` | `Returned<WorkedWith<_>>` and `Returned<WorkedOr<_>>` | `result/wrong_reply` |
//! | layers need the feature `tower` | `HandlerLayers` | `handler_layer`, without the feature | none: the tests have the feature |
//!
//! These would exist without their texts, which have the same form:
//!
//! | rule | trait | who asks | UI test |
//! |--|--|--|--|
//! | a message is derived | `Message`, `OwnedMessage`, `BorrowedMessage` | bounds of the runtime; handlers ask `Arrives` first | none, the words are those of `Arrives` |
//! | the fields say where a message goes | `AddressedByFields` | `Publish::new`, `Batch::push` | `verbs/returned_without_all_fields` |
//! | an error says what becomes of a task | `Outcome` | the user's bounds: handlers fail with any error | none |
//! | a task is one of a queue | `Queue` | `Enqueue::new` | `queue/broadcast_returned_as_task` |
//! | a request has a reply | `Request` | `Requesting` | none: `request` is not there, `request/request_of_a_broadcast` |
//! | a codec is one | `Codec` | `Message::Codec`, which the derive sets | `message/codec_that_is_none` |
//! | a type can stand in a channel | `ChannelParam` | bounds of the runtime; the derive asks `FillsSegment` first | none, the words are those of `FillsSegment` |
//! | a `<rest..>` is a list | `RestParam` | `rest_parameter::<T>`, in the derive's constant | `message/rest_that_is_no_list` |
//! | a subscription is to channels of its message | `Selector` | `Bus::subscribe` | `verbs/subscribed_to_a_text` |
//! | an argument can be extracted | `Extract` | the handler, for each argument after the message | `handler/not_an_extractor` |
//! | the router's state has the part | `FromState` | `Extract` of `State<T>`, at `Bus::serve` | `routes/missing_state` |
//! | a handler runs with the router's state | `Call` | the router of `routes![…]` | none: the text of `FromState` comes first |
//! | a handler is one | `Handler` | `routes![…]` | none: in `routes/not_a_handler` rustc first says that a function is no type |
//! | a router is one | `Router` | `Bus::serve` | `router/not_a_router` |
//! | a return value asks for something | `IntoOutcome` | `Returned<NoAnswer>` | `handler/not_an_outcome` |

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::message::contract::{Message, OwnedMessage};

/// The payload of a message, for the codec.
pub(crate) fn written<M: Message>(message: &M) -> &<M::Writer as Writable<M>>::Written {
    M::Writer::written(message)
}

/// What the codec reads for a message: the message itself, known to implement `Deserialize`.
pub(crate) type Read<M> = <<M as OwnedMessage>::Reader as Readable<M>>::Read;

/// The message that was read.
pub(crate) fn from_read<M: OwnedMessage>(read: Read<M>) -> M {
    M::Reader::from_read(read)
}

/// Messages are written and read with serde's traits.
#[doc(hidden)]
#[derive(Debug)]
pub enum Serde {}

/// `M: Serialize`, in words of our own: those of serde's trait list other people's types.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the message `{M}` cannot be written: it does not implement `serde::Serialize`",
    label = "does not implement `Serialize`",
    note = "write `#[derive(serde::Serialize)]` on `{M}`"
)]
pub trait Writable<M> {
    type Written: Serialize;

    fn written(message: &M) -> &Self::Written;
}

#[diagnostic::do_not_recommend]
impl<M: Serialize> Writable<M> for Serde {
    type Written = M;

    fn written(message: &M) -> &M {
        message
    }
}

/// `M: DeserializeOwned`, in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the message `{M}` cannot be read: it does not implement `serde::Deserialize`",
    label = "does not implement `Deserialize`",
    note = "write `#[derive(serde::Deserialize)]` on `{M}`"
)]
pub trait Readable<M> {
    type Read: DeserializeOwned;

    fn from_read(read: Self::Read) -> M;
}

#[diagnostic::do_not_recommend]
impl<M: DeserializeOwned> Readable<M> for Serde {
    type Read = M;

    fn from_read(read: M) -> M {
        read
    }
}

/// `T: Send + Sync`, in words of our own, and once: as a bound of `Message` it is asked wherever there is one.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a message goes from thread to thread, and `{Self}` stays on one",
    label = "stays on one thread",
    note = "write `Arc` instead of `Rc`, `Mutex` instead of `RefCell`, and what a `Cell`, a guard or a pointer holds instead of it"
)]
pub trait Sent {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Send + Sync> Sent for T {}

/// Asks that of a field's type.
#[doc(hidden)]
pub const fn sent<T: ?Sized + Sent>() {}

/// A generic type is no message, and nothing is asked of it: the derive has said so already.
#[doc(hidden)]
#[derive(Debug)]
pub enum Unread {}

impl<M> Writable<M> for Unread {
    type Written = ();

    fn written(_message: &M) -> &() {
        &()
    }
}

impl<M> Readable<M> for Unread {
    type Read = ();

    fn from_read((): ()) -> M {
        unreachable!("a program with such a message does not compile")
    }
}

/// Messages that borrow from their payload are read with serde's trait.
#[doc(hidden)]
#[derive(Debug)]
pub enum SerdeBorrowed {}

/// `M: Deserialize<'de>`, in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the message `{M}` cannot be read: it does not implement `serde::Deserialize`",
    label = "does not implement `Deserialize`",
    note = "write `#[derive(serde::Deserialize)]` on `{M}`, and `#[serde(borrow)]` on each field that borrows and is no reference"
)]
pub trait ReadableFrom<'de, M> {
    type Read: Deserialize<'de>;

    fn from_read(read: Self::Read) -> M;
}

#[diagnostic::do_not_recommend]
impl<'de, M: Deserialize<'de>> ReadableFrom<'de, M> for SerdeBorrowed {
    type Read = M;

    fn from_read(read: M) -> M {
        read
    }
}
