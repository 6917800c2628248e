//! How messages are written and read: with serde's traits, in words of our own.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::message::contract::{BorrowedMessage, Message, OwnedMessage};

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
