//! The traits that `#[derive(Message)]` implements.

use crate::{
    channel::{
        parameter::Params,
        selector::Selector,
        template::Template,
        text::{ChannelReader, ChannelWriter},
    },
    codec::contract::Codec,
    error::AddressError,
    message::{
        address::Address,
        facts::{Facts, Kind, QueueFacts},
        older::{ReadOlder, ReadOlderBorrowed},
        reading::{Readable, ReadableFrom, Writable},
    },
};

/// A type whose values travel on a channel that is part of the type. Derive it with `#[derive(Message)]`; never implement it by hand.
///
/// The derive also generates the verbs (`publish`, `publish_to`), the typed address (`channel`) and the patterns (`any`) as inherent
/// functions, so that no trait needs to be in scope. Code that is generic over its message writes as its bound what it does with it:
/// [`Publishable`](crate::Publishable), [`Requestable`](crate::Requestable) or [`Subscribable`](crate::Subscribable).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Message: Sized + Send + Sync {
    /// The name on the wire, the type's name unless `#[message(name = "…")]` says otherwise.
    const NAME: &'static str;
    /// The version on the wire. A receiver refuses versions newer than its own and takes older ones.
    const VERSION: u32;
    /// The doc comment, for generated documents.
    const DESCRIPTION: &'static str;
    /// The channel.
    const TEMPLATE: Template;
    /// What the message promises.
    const KIND: Kind;
    /// What its queue promises, where it is a task of one.
    #[doc(hidden)]
    const QUEUE: Option<QueueFacts> = None;
    /// All of these, for whoever has no type.
    #[doc(hidden)]
    const FACTS: Facts = Facts::of::<Self>();

    /// How values become payloads and come back: what `#[message(codec = …)]` names, or else
    /// [`ByBus`](crate::codec::ByBus), which leaves it to the bus.
    type Codec: Codec;
    /// The parameters of the channel.
    type Params: Params;
    /// The pattern that `any()` starts with.
    type Pattern: Selector<Self>;

    /// What a handler's return value means: [`NoAnswer`](crate::handler::returned::NoAnswer), or an answer.
    #[doc(hidden)]
    type Answer;

    /// How the end of its tasks is announced: `()`, not at all; or itself, which then implements
    /// [`Announced`](crate::handler::ending::Announced).
    #[doc(hidden)]
    type Endings;

    /// How values are written: [`Serde`].
    ///
    /// A supertrait would ask for `Serialize` again at each use of a message that lacks it; this asks once, in the derive.
    #[doc(hidden)]
    type Writer: Writable<Self>;

    /// The pattern of all channels. Each message has a function of its own of this name; this one is for code that is generic over its message.
    fn any() -> Self::Pattern;

    /// Checks the parameters in a channel that matched the template: those that are fields equal them, the others are values.
    #[doc(hidden)]
    fn verify(&self, channel: &mut ChannelReader<'_>) -> Result<(), AddressError>;
}

/// A message that owns its fields. `#[derive(Message)]` implements it for each type without a lifetime; never implement it by hand.
///
/// Subscriptions yield these; handlers take them, and [borrowed ones](BorrowedMessage) too.
// The words are those of `Arrives`: a handler's argument that is no message fails both, and gives one error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait OwnedMessage: Message + 'static {
    /// How values are read: [`Serde`].
    #[doc(hidden)]
    type Reader: Readable<Self>;
    /// How what older code wrote is read, where `#[message(from = …)]` says so.
    #[doc(hidden)]
    const OLDER: Option<ReadOlder<Self>> = None;
}

/// A message that borrows from the payload it is read from. `#[derive(Message)]` implements it for each type with one lifetime; never
/// implement it by hand.
///
/// `OrderView<'_>` with a `&str` or a `Cow<str>` as a field is one: nothing is copied that need not be. Handlers take it. Serde borrows
/// `&str` and `&[u8]` by itself and other fields where `#[serde(borrow)]` says so. A text with an escape, such as `\n`, cannot be borrowed
/// from JSON: a `&str` refuses it, and the message is rejected; a `Cow<str>` with `#[serde(borrow)]` borrows where it can and copies where
/// it must.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message that borrows from its payload",
    label = "does not borrow from its payload",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on a type with one lifetime"
)]
pub trait BorrowedMessage: Message {
    /// The message with another lifetime.
    #[doc(hidden)]
    type At<'de>: Message;

    /// How values are read: [`SerdeBorrowed`].
    #[doc(hidden)]
    type Reader<'de>: ReadableFrom<'de, Self::At<'de>>;

    /// How what older code wrote is read, where `#[message(from = …)]` says so.
    #[doc(hidden)]
    const OLDER: Option<ReadOlderBorrowed<Self>> = None;
}

/// A message whose parameters are all fields, so that its value alone says where it goes. `#[derive(Message)]` implements it; never
/// implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where to publish: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.publish_to({Self}::channel(…), &bus)`, or `Publish::to(&{Self}::channel(…), message)` where a handler returns it"
)]
pub trait AddressedByFields: Message {
    /// The address that the fields name. Each message has a function of its own of this name; this one is for code that is generic over its
    /// message.
    fn address(&self) -> Address<Self>;

    #[doc(hidden)]
    fn write_channel(&self, channel: &mut ChannelWriter<'_>);
}
