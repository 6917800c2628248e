//! What a handler's return value asks for.

use std::fmt;

use crate::{
    bus::Bus,
    channel::{Address, ChannelWriter},
    delivery::Headers,
    error::Rejection,
    message::{AddressedByFields, Message},
};

/// What is to be done after a handler ran.
#[derive(Debug)]
#[doc(hidden)]
pub enum Outcome {
    /// Nothing more.
    Done,
    /// Publish these, in order.
    Publish(Vec<Outgoing>),
    /// The handler failed: logged and counted.
    Failed(String),
    /// The message never reached the handler.
    Rejected(Rejection),
    /// The handler's filter did not want it.
    Filtered,
}

/// An encoded message on its way out.
#[derive(Debug)]
#[doc(hidden)]
pub struct Outgoing {
    pub(crate) template: &'static str,
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
}

/// What a handler may return: nothing, [`Publish`], or a `Result` of either with any error that can be displayed.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not an outcome",
    note = "a handler returns nothing, `Publish<M>`, or `Result<_, E>` with an error that implements `Display`"
)]
pub trait IntoOutcome {
    #[doc(hidden)]
    fn into_outcome(self, bus: &Bus) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self, _bus: &Bus) -> Outcome {
        Outcome::Done
    }
}

impl<T: IntoOutcome, E: fmt::Display> IntoOutcome for Result<T, E> {
    fn into_outcome(self, bus: &Bus) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(bus),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

impl<T: IntoOutcome> IntoOutcome for Option<T> {
    fn into_outcome(self, bus: &Bus) -> Outcome {
        self.map_or(Outcome::Done, |value| value.into_outcome(bus))
    }
}

/// Messages that a handler wants published once it has returned, in order.
///
/// They are encoded at once; if one cannot be encoded, the delivery fails and none of them is published. Messages of different
/// types are returned as a tuple: `(Publish<A>, Publish<B>)`.
#[derive(Debug)]
#[must_use = "a handler returns it; nothing is published otherwise"]
pub struct Publish<M: Message> {
    messages: Vec<(String, M)>,
}

impl<M: AddressedByFields> Publish<M> {
    /// Publishes one message to the channel that its fields name.
    pub fn new(message: M) -> Self {
        Self::all([message])
    }

    /// Publishes several messages, in order.
    pub fn all(messages: impl IntoIterator<Item = M>) -> Self {
        let addressed = messages.into_iter().map(|message| {
            let mut channel = String::new();
            message.write_channel(&mut ChannelWriter::new(&mut channel));
            (channel, message)
        });
        Self { messages: addressed.collect() }
    }
}

impl<M: Message> Publish<M> {
    /// Publishes one message to an address.
    pub fn to(address: &Address<M>, message: M) -> Self {
        Self { messages: vec![(address.to_string(), message)] }
    }

    /// Publishes these messages, and then those of `next`.
    pub fn and(mut self, mut next: Self) -> Self {
        self.messages.append(&mut next.messages);
        self
    }
}

impl<M: Message> IntoOutcome for Publish<M> {
    fn into_outcome(self, bus: &Bus) -> Outcome {
        let encode = |(channel, message): &(String, M)| {
            let channel = bus.channel(|name| name.literal(channel));
            bus.outgoing(channel, message, &Headers::default())
        };
        let encoded: Result<Vec<_>, _> = self.messages.iter().map(encode).collect();
        encoded.map_or_else(|error| Outcome::Failed(error.to_string()), Outcome::Publish)
    }
}

macro_rules! tuple_outcomes {
    ($($name:ident),*) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: Message),*> IntoOutcome for ($(Publish<$name>,)*) {
            #[allow(non_snake_case)]
            fn into_outcome(self, bus: &Bus) -> Outcome {
                let ($($name,)*) = self;
                let mut outgoing = Vec::new();
                $(match $name.into_outcome(bus) {
                    Outcome::Publish(mut encoded) => outgoing.append(&mut encoded),
                    failed => return failed,
                })*
                Outcome::Publish(outgoing)
            }
        }
    };
}

tuple_outcomes!(A, B);
tuple_outcomes!(A, B, C);
tuple_outcomes!(A, B, C, D);
