//! Typed addresses: the concrete channels of one message type.

use std::{fmt, ops::Deref};

use crate::{
    channel::{
        parameter::Params,
        selector::Selector,
        text::{ChannelReader, ChannelWriter},
    },
    error::AddressError,
    message::Message,
};

/// A concrete channel of messages of type `M`, with its parameters as typed fields.
///
/// `M::channel(…)` makes one, and a handler may take one: `address: Address<ChatEvent>` then has `address.room`.
/// Its text is injective: two addresses with different parameters never share a channel.
pub struct Address<M: Message> {
    params: M::Params,
}

impl<M: Message> Address<M> {
    #[doc(hidden)]
    #[must_use]
    pub fn from_params(params: M::Params) -> Self {
        Self { params }
    }

    /// Reads an address from a channel's text.
    ///
    /// # Errors
    ///
    /// [`AddressError`] when the channel does not match the template of `M`.
    pub fn parse(channel: &str) -> Result<Self, AddressError> {
        let mut reader = ChannelReader::new(channel);
        let params = M::Params::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { params })
    }
}

impl<M: Message> Deref for Address<M> {
    type Target = M::Params;

    fn deref(&self) -> &M::Params {
        &self.params
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { params: self.params.clone() }
    }
}

impl<M: Message> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        // The text is injective: the parameters need not be comparable themselves.
        self.to_string() == other.to_string()
    }
}

impl<M: Message> fmt::Display for Address<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut channel = String::new();
        self.params.write(&mut ChannelWriter::new(&mut channel));
        formatter.write_str(&channel)
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

impl<M: Message> Selector<M> for Address<M> {
    fn write(&self, channel: &mut ChannelWriter<'_>) {
        self.params.write(channel);
    }
}

/// What `publish_to` takes: an [`Address`] of the message, owned or borrowed.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no address of `{M}`",
    label = "not an address of `{M}`",
    note = "write `{M}::channel(…)`"
)]
pub trait AddressOf<M: Message> {
    fn as_address(&self) -> &Address<M>;
}

#[diagnostic::do_not_recommend]
impl<M: Message> AddressOf<M> for Address<M> {
    fn as_address(&self) -> &Self {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<M: Message> AddressOf<M> for &Address<M> {
    fn as_address(&self) -> &Address<M> {
        self
    }
}
