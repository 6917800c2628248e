//! The trait that `#[derive(Message)]` implements.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    channel::{ChannelReader, ChannelWriter, Params, Selector, Template},
    codec::Format,
    error::AddressError,
    publish::Publishing,
};

/// A type whose values travel on a channel that is part of the type.
///
/// Derive it: the derive also generates the verbs (`publish`, `publish_to`), the typed address (`channel`) and the patterns
/// (`any`) as inherent functions, so that no trait needs to be in scope.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Message: Sized + Send + Sync + 'static {
    /// The name on the wire, the type's name unless `#[message(name = "…")]` says otherwise.
    const NAME: &'static str;
    /// The version on the wire. A receiver refuses versions newer than its own and takes older ones.
    const VERSION: u32;
    /// The doc comment, for generated documents.
    const DESCRIPTION: &'static str;
    /// The channel.
    const TEMPLATE: Template;
    /// The format that the type chooses; `None` leaves it to the bus.
    const FORMAT: Option<Format>;

    /// The parameters of the channel.
    type Params: Params;
    /// The pattern that `any()` starts with.
    type Pattern: Selector<Self>;

    /// What a handler's return value means: [`Broadcast`](crate::outcome::Broadcast), or an answer.
    #[doc(hidden)]
    type Kind;

    /// How values are written and read: [`Serde`].
    ///
    /// A supertrait would ask for `Serialize` again at each use of a message that lacks it; this asks once, in the derive.
    #[doc(hidden)]
    type Payload: Writable<Self> + Readable<Self>;

    /// Checks the parameters in a channel that matched the template: those that are fields equal them, the others are values.
    #[doc(hidden)]
    fn verify(&self, channel: &mut ChannelReader<'_>) -> Result<(), AddressError>;
}

/// The payload of a message, for the codec.
pub(crate) fn written<M: Message>(message: &M) -> &<M::Payload as Writable<M>>::Written {
    M::Payload::written(message)
}

/// What the codec reads for a message: the message itself, known to implement `Deserialize`.
pub(crate) type Read<M> = <<M as Message>::Payload as Readable<M>>::Read;

/// The message that was read.
pub(crate) fn from_read<M: Message>(read: Read<M>) -> M {
    M::Payload::from_read(read)
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

/// What `publish` asks of a message whose parameters are not all fields. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say where to publish: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.publish_to({M}::channel(…), &bus)`"
)]
pub trait CompleteChannel<'a, M> {
    fn incomplete(self) -> Publishing<'a, M>;
}

/// A message whose parameters are all fields: its value alone says where it goes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where to publish: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.publish_to({Self}::channel(…), &bus)`, or `Publish::to(&{Self}::channel(…), message)` where a handler returns it"
)]
pub trait AddressedByFields: Message {
    #[doc(hidden)]
    fn write_channel(&self, channel: &mut ChannelWriter<'_>);
}

/// The parameters of a message whose derive has failed, so that no second error follows from the first.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Stub;

impl Params for Stub {
    fn write(&self, _channel: &mut ChannelWriter<'_>) {}

    fn read(_channel: &mut ChannelReader<'_>) -> Result<Self, AddressError> {
        Err(AddressError::Mismatch)
    }
}
