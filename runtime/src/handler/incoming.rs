//! How a handler's message is decoded, as the generated code asks for it.

use bytes::Bytes;

use crate::{
    error::{AddressError, Rejection},
    handler::{
        ending::{Announced, Endings},
        outcome::Outcome,
    },
    message::{
        contract::{BorrowedMessage, OwnedMessage},
        delivery::Delivery,
        facts::{Facts, Kind},
    },
};

/// The message of a handler, as the generated code uses it.
///
/// The macro makes one constant of it for each handler. Only there is the type asked to be a message: a type that is none gives
/// one error, and everything else in the generated code still has a meaning. It is no associated type of [`Handler`], because
/// a public function may take a message that is private to its crate.
#[doc(hidden)]
#[derive(Debug)]
pub struct Incoming<M> {
    facts: Facts,
    endings: Endings,
    decode: fn(&mut Delivery) -> Result<M, Box<Rejection>>,
}

/// `Message`, without a list of every other message of the program in its error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Arrives: Sized {
    /// The message's own type. Of a type that is none there is none, so what else is asked of it gives no further error.
    type Itself;
    /// What the handler's return value means.
    type Answer;

    const INCOMING: Incoming<Self>;
}

#[diagnostic::do_not_recommend]
impl<M: OwnedMessage<Endings: Announced>> Arrives for M {
    type Itself = Self;
    type Answer = M::Answer;

    const INCOMING: Incoming<Self> =
        Incoming { facts: M::FACTS, endings: M::Endings::ENDINGS, decode: Delivery::decode::<M> };
}

/// The message of a handler that borrows from the payload, such as `OrderView<'_>`, as the generated code uses it: [`Incoming`], but for the
/// lifetime of one call.
#[doc(hidden)]
#[derive(Debug)]
pub struct IncomingBorrowed {
    facts: Facts,
    endings: Endings,
}

/// `BorrowedMessage`, without a list of every other message of the program in its error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message that borrows from its payload",
    label = "does not borrow from its payload",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on a type with one lifetime"
)]
pub trait ArrivesBorrowed: Sized {
    /// What the handler's return value means.
    type Answer;
    /// The message, for the lifetime of one call.
    type At<'de>;

    const INCOMING: IncomingBorrowed;

    /// Like [`Incoming::decode`]. `payload` is the delivery's.
    fn decode<'de>(delivery: &mut Delivery, payload: &'de Bytes) -> Result<Self::At<'de>, Outcome>;
}

#[diagnostic::do_not_recommend]
impl<M: BorrowedMessage<Endings: Announced>> ArrivesBorrowed for M {
    type Answer = M::Answer;
    type At<'de> = M::At<'de>;

    const INCOMING: IncomingBorrowed = IncomingBorrowed { facts: M::FACTS, endings: M::Endings::ENDINGS };

    fn decode<'de>(delivery: &mut Delivery, payload: &'de Bytes) -> Result<M::At<'de>, Outcome> {
        match delivery.decode_borrowed::<M>(payload) {
            Ok(_) if is_expired(M::KIND, delivery) => Err(Outcome::Expired),
            Ok(message) => Ok(message),
            Err(rejection) => Err(Outcome::Rejected(rejection)),
        }
    }
}

impl<M> Incoming<M> {
    /// For a handler that leaves the lifetime of its message out, which is an error already.
    #[must_use]
    pub const fn without_lifetime(facts: Facts) -> Self {
        let decode =
            |_: &mut Delivery| Err(Box::new(Rejection::Address { template: "", source: AddressError::Mismatch }));
        Self { facts, endings: Endings::NONE, decode }
    }

    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// How the end of its tasks is announced.
    #[must_use]
    pub const fn endings(&self) -> Endings {
        self.endings
    }

    /// The message.
    ///
    /// # Errors
    ///
    /// The outcome of a message that cannot be decoded, or that nobody waits for any more.
    #[inline]
    pub fn decode(&self, delivery: &mut Delivery) -> Result<M, Outcome> {
        match (self.decode)(delivery) {
            Ok(_) if is_expired(self.facts.kind(), delivery) => Err(Outcome::Expired),
            Ok(message) => Ok(message),
            Err(rejection) => Err(Outcome::Rejected(rejection)),
        }
    }
}

impl IncomingBorrowed {
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// How the end of its tasks is announced.
    #[must_use]
    pub const fn endings(&self) -> Endings {
        self.endings
    }

    /// What the message borrows from: it lives as long as the call.
    #[must_use]
    pub fn payload(&self, delivery: &Delivery) -> Bytes {
        delivery.share_payload()
    }
}

/// Only requests expire. Whoever waits for the acknowledgement of a broadcast must not keep others from handling it.
#[inline]
fn is_expired(kind: Kind, delivery: &Delivery) -> bool {
    kind == Kind::Request && delivery.is_expired()
}
