//! The trait that `#[derive(Message)]` implements.

pub(crate) mod address;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    channel::{
        parameter::Params,
        selector::Selector,
        template::Template,
        text::{ChannelReader, ChannelWriter},
    },
    codec::contract::Codec,
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
pub trait Message: Sized + Send + Sync {
    /// The name on the wire, the type's name unless `#[message(name = "…")]` says otherwise.
    const NAME: &'static str;
    /// The version on the wire. A receiver refuses versions newer than its own and takes older ones.
    const VERSION: u32;
    /// The doc comment, for generated documents.
    const DESCRIPTION: &'static str;
    /// The channel.
    const TEMPLATE: Template;

    /// How values become payloads and come back: what `#[message(codec = …)]` names, or else
    /// [`ByBus`](crate::codec::ByBus), which leaves it to the bus.
    type Codec: Codec;
    /// The parameters of the channel.
    type Params: Params;
    /// The pattern that `any()` starts with.
    type Pattern: Selector<Self>;

    /// What a handler's return value means: [`Broadcast`](crate::outcome::Broadcast), or an answer.
    #[doc(hidden)]
    type Kind;

    /// How values are written: [`Serde`].
    ///
    /// A supertrait would ask for `Serialize` again at each use of a message that lacks it; this asks once, in the derive.
    #[doc(hidden)]
    type Writer: Writable<Self>;

    /// Checks the parameters in a channel that matched the template: those that are fields equal them, the others are values.
    #[doc(hidden)]
    fn verify(&self, channel: &mut ChannelReader<'_>) -> Result<(), AddressError>;
}

/// A message that owns its fields. Subscriptions yield these; handlers take them, and [borrowed ones](BorrowedMessage) too.
///
/// `#[derive(Message)]` implements it for each type without a lifetime.
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
}

/// `OwnedMessage`, with an error for messages that borrow.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` borrows from its payload, and a subscription yields messages that own their fields",
    label = "borrows from its payload",
    note = "take it in a `#[handler]`, or subscribe to a message of the same channel and name with owned fields"
)]
pub trait Subscribable: OwnedMessage {}

#[diagnostic::do_not_recommend]
impl<M: OwnedMessage> Subscribable for M {}

/// A message that borrows from the payload it is read from, such as `OrderView<'_>` with a `&str` or a `Cow<str>` as a field: nothing is
/// copied that need not be. Handlers take it.
///
/// `#[derive(Message)]` implements it for each type with one lifetime. Serde borrows `&str` and `&[u8]` by itself and other fields where
/// `#[serde(borrow)]` says so. A text with an escape, such as `\n`, cannot be borrowed from JSON: a `&str` refuses it, and the message is
/// rejected; a `Cow<str>` with `#[serde(borrow)]` borrows where it can and copies where it must.
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
}

/// The payload of a message, for the codec.
pub(crate) fn written<M: Message>(message: &M) -> &<M::Writer as Writable<M>>::Written {
    M::Writer::written(message)
}

/// What the codec reads for a message: the message itself, known to implement `Deserialize`.
pub(crate) type Read<M> = <<M as OwnedMessage>::Reader as Readable<M>>::Read;

/// What the codec reads for a message that borrows.
pub(crate) type ReadFrom<'de, M> =
    <<M as BorrowedMessage>::Reader<'de> as ReadableFrom<'de, <M as BorrowedMessage>::At<'de>>>::Read;

/// The message that was read.
pub(crate) fn from_read<M: OwnedMessage>(read: Read<M>) -> M {
    M::Reader::from_read(read)
}

/// The message that was read, and borrows.
pub(crate) fn from_borrowed<'de, M: BorrowedMessage>(read: ReadFrom<'de, M>) -> M::At<'de> {
    M::Reader::<'de>::from_read(read)
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::{ChannelParam, Message, channel::selector::write_selector, message::address::Address};

    use super::*;

    #[derive(ChannelParam, Clone, Copy, Serialize, Deserialize)]
    enum Region {
        Eu,
        UsWest,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("orders:<region>:<id>:<room: u8>:<path..>")]
    struct Placed {
        region: Region,
        id: i64,
        path: Vec<String>,
    }

    fn placed() -> Placed {
        Placed { region: Region::UsWest, id: -7, path: vec!["a:b".to_owned(), String::new()] }
    }

    fn verify(channel: &str) -> Result<(), AddressError> {
        placed().verify(&mut ChannelReader::new(channel))
    }

    #[test]
    fn fields_equal_their_parameters_and_the_others_are_values() {
        assert_eq!(verify("orders:us_west:-7:3:a%3Ab:%_"), Ok(()));
        for (channel, parameter) in [
            ("orders:eu:-7:3:a%3Ab:%_", "region"),
            ("orders:us_west:7:3:a%3Ab:%_", "id"),
            ("orders:us_west:-7:3:a%3Ab", "path"),
            ("orders:us_west:-7:3:a%3Ab:%_:c", "path"),
            ("orders:us_west:-7:3:a%3Ab:b", "path"),
            ("orders:us_west:-7:3:%.", "path"),
        ] {
            assert_eq!(verify(channel), Err(AddressError::Disagrees { parameter }), "{channel}");
        }
        assert_eq!(verify("orders:us_west:-7:x:a%3Ab:%_"), Err(AddressError::Invalid { parameter: "room" }));
        assert_eq!(verify("orders:us_west:-7"), Err(AddressError::Mismatch));
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let address = Placed::channel(Region::Eu, 7, 255, vec![String::new()]);
        let read = Address::<Placed>::parse(&address.to_string()).unwrap();
        assert_eq!(address.to_string(), "orders:eu:7:255:%_");
        assert_eq!(address, read);
        assert_eq!((read.id, read.room, read.path.len()), (7, 255, 1));
        for channel in [
            "orders:eu:7:256:x",
            "orders:EU:7:1:x",
            "orders:eu:07:1:x",
            "orders:eu:7:1",
            "orders:eu:7:1:",
            "refunds:eu:7:1:x",
        ] {
            assert!(Address::<Placed>::parse(channel).is_err(), "{channel}");
        }
    }

    #[test]
    fn a_pattern_has_a_star_for_each_parameter_that_is_left_open() {
        let mut channel = String::new();
        assert!(write_selector::<Placed>(&Placed::any().region(Region::Eu).room(7), &mut channel));
        assert_eq!(channel, "orders:eu:*:7:*");
    }

    #[test]
    fn the_template_keeps_names_and_drops_types() {
        assert_eq!(Placed::TEMPLATE.text(), "orders:<region>:<id>:<room>:<path..>");
        assert_eq!((Placed::NAME, Placed::VERSION, Placed::DESCRIPTION), ("Placed", 1, ""));
        assert_eq!(placed().path.len(), 2);
    }
}
