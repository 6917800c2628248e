//! Typed addresses: the concrete channels of one message type.

use std::{fmt, ops::Deref};

use crate::{
    channel::{
        parameter::Params,
        selector::Selector,
        text::{ChannelReader, ChannelWriter, Shown},
    },
    error::AddressError,
    message::contract::Message,
};

/// A concrete channel of messages of type `M`, with its parameters as typed fields.
///
/// `M::channel(…)` makes one, and a handler may take one: `address: Address<ChatEvent>` then has `address.room`.
/// Its text is injective: two addresses with different parameters never share a channel.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Address, Message};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("chat:room:<room: String>")]
/// struct ChatLine { text: String }
///
/// let address = ChatLine::channel("a:b");
/// assert_eq!(address.to_string(), "chat:room:a%3Ab"); // no value leaves its segment
/// let read = Address::<ChatLine>::parse("chat:room:a%3Ab")?;
/// assert_eq!(read.room, "a:b");
/// assert!(Address::<ChatLine>::parse("chat:room:a:b").is_err());
/// # Ok::<(), tidings::AddressError>(())
/// ```
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
        write!(formatter, "Address({:?})", Shown(&self.to_string()))
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
    note = "a message's type makes its addresses, and the address comes first: write `{M}::channel(…)` there"
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
    use serde::{Deserialize, Serialize};

    use crate::{ChannelParam, Message, channel::selector::write_selector};

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
        assert_eq!(
            verify("orders:us_west:-7:x:a%3Ab:%_"),
            Err(AddressError::Invalid { parameter: "room", reason: None })
        );
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
