//! Publishing one message.

use std::{
    future::{IntoFuture, Ready, ready},
    marker::PhantomData,
};

use crate::{
    bus::Bus,
    channel::Address,
    error::PublishError,
    message::{AddressedByFields, Message},
};

/// A publish that is sent when it is awaited.
#[derive(Debug)]
#[must_use = "nothing is published until this is awaited"]
pub struct Publishing<'a, M> {
    message: PhantomData<&'a M>,
}

/// What the server said of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// How many subscribers received it, where the server can tell.
    pub receivers: Option<u64>,
}

impl<'a, M: Message> Publishing<'a, M> {
    #[doc(hidden)]
    pub fn by_fields(_message: &'a M, _bus: &'a Bus) -> Self
    where
        M: AddressedByFields,
    {
        Self { message: PhantomData }
    }

    #[doc(hidden)]
    pub fn to(_message: &'a M, _address: &Address<M>, _bus: &'a Bus) -> Self {
        Self { message: PhantomData }
    }
}

impl<M: Message> IntoFuture for Publishing<'_, M> {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(Ok(Receipt { receivers: None }))
    }
}
