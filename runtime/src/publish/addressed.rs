//! What every verb of a message begins with.

use std::{fmt, time::Instant};

use crate::{
    bus::{handle::Bus, sending::Draft},
    channel::{parameter::Params, text::Shown},
    codec::{contract::Exchange, headers::Headers},
    error::PublishError,
    message::{
        address::Address,
        contract::{AddressedByFields, Message},
        reading::written,
    },
    transport::contract::Parcel,
};

/// A message that is to be sent to an address, with the headers that it is to carry.
pub(super) struct Addressed<'a, M> {
    pub(super) bus: &'a Bus,
    message: &'a M,
    headers: Headers,
    /// With the namespace.
    channel: String,
    origin: Origin,
}

/// Several messages of one type: `&messages`, `[&first, &second]`, or any iterator over references to them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no iterator over references to messages of one type",
    label = "expected `&messages`, or an iterator over references",
    note = "write `&messages` for a list or an array of them, `[&first, &second]`, or `messages.iter().filter(…)`",
    note = "one alone: `message.publish(&bus)`, and a task `task.enqueue(&bus)`; those of other types are added with `.push(&message)`"
)]
pub trait Several<'m, M: 'm> {
    #[doc(hidden)]
    fn each(self) -> impl Iterator<Item = &'m M>;
}

#[diagnostic::do_not_recommend]
impl<'m, M: 'm, I: IntoIterator<Item = &'m M>> Several<'m, M> for I {
    fn each(self) -> impl Iterator<Item = &'m M> {
        self.into_iter()
    }
}

/// Where the channel comes from.
enum Origin {
    Fields,
    /// Of the caller's choice: the fields may contradict it.
    Address,
}

impl<'a, M: Message> Addressed<'a, M> {
    pub(super) fn by_fields(message: &'a M, bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        let channel = bus.channel(|channel| message.write_channel(channel));
        Self { bus, message, headers: Headers::default(), channel, origin: Origin::Fields }
    }

    pub(super) fn to(message: &'a M, address: &Address<M>, bus: &'a Bus) -> Self {
        let channel = bus.channel(|channel| address.write(channel));
        Self { bus, message, headers: Headers::default(), channel, origin: Origin::Address }
    }

    pub(super) fn header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.headers.set(name, value);
    }

    /// Encodes the message for the inbox of one instance, without a check of its address.
    pub(super) fn for_inbox(
        &self,
        inbox: &str,
        exchange: Exchange<'_>,
        deadline: Instant,
    ) -> Result<Parcel, PublishError> {
        let draft = Draft::of::<M>(inbox.to_owned(), &self.headers);
        self.bus.check_name(draft.template, &self.channel)?;
        let draft = Draft { exchange: Some(exchange), deadline: Some(deadline), ..draft };
        Ok(self.bus.encode::<M::Codec, _>(draft, written(self.message))?.into_inbox(&self.channel))
    }

    /// The message, its channel on a bus unless the message contradicts it, and its headers.
    pub(super) fn on(self, bus: &Bus) -> (&'a M, Result<String, PublishError>, Headers) {
        let checked = self.check();
        let Self { bus: own, message, headers, channel, .. } = self;
        let channel = bus.channel(|name| name.literal(own.without_namespace(&channel)));
        (message, checked.map(|()| channel), headers)
    }

    /// Encodes the message.
    pub(super) fn parcel(self, exchange: Option<Exchange<'_>>) -> Result<Parcel, PublishError> {
        self.check()?;
        self.bus.parcel(self.channel, self.message, &self.headers, exchange)
    }

    /// Refuses a message whose fields contradict the address: whoever got it would.
    pub(super) fn check(&self) -> Result<(), PublishError> {
        match self.origin {
            Origin::Fields => Ok(()),
            Origin::Address => self.bus.check_address(&self.channel, self.message),
        }
    }
}

impl<M> fmt::Debug for Addressed<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Addressed").field("channel", &Shown(&self.channel)).finish_non_exhaustive()
    }
}
