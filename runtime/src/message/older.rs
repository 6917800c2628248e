//! How what older code wrote is read: `#[message(version = 2, from = ResizeImageV1)]`.
//!
//! A message names the one of the version before, which may do the same: so each version is read as its own type, and made into the next one until
//! it is the handler's. A message without `from` pays nothing, as its constant says so.

use std::marker::PhantomData;

use crate::{
    codec::contract::{Codec, DecodeError, Expected, Format, Inbound},
    message::{
        contract::{BorrowedMessage, OwnedMessage},
        facts::Facts,
        reading::from_read,
    },
};

/// Reads a payload of an older version, which is the first argument.
#[doc(hidden)]
pub type ReadOlder<M> = for<'de> fn(u64, Format, &'de [u8]) -> Result<(M, Inbound<'de>), DecodeError>;

/// Likewise, for a message that borrows from its payload.
#[doc(hidden)]
pub type ReadOlderBorrowed<M> =
    for<'de> fn(u64, Format, &'de [u8]) -> Result<(<M as BorrowedMessage>::At<'de>, Inbound<'de>), DecodeError>;

/// A message of the version before, as the derive uses it: the one constant in which its type is asked to be a message.
#[doc(hidden)]
#[derive(Debug)]
pub struct Older<P> {
    facts: Facts,
    is_known: bool,
    is_awaited: bool,
    read: ReadOlder<P>,
}

/// `OwnedMessage`, in words for `from`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message that owns its fields",
    label = "not a message of the version before",
    note = "`from` names a type with `#[derive(Message)]` and without a lifetime, which older code wrote"
)]
pub trait IsOlder: Sized {
    const OLDER: Older<Self>;
}

#[diagnostic::do_not_recommend]
impl<P: OwnedMessage<Answer: Answered>> IsOlder for P {
    const OLDER: Older<Self> =
        Older { facts: P::FACTS, is_known: P::Answer::IS_KNOWN, is_awaited: P::Answer::IS_AWAITED, read: read::<P> };
}

/// What handlers return, by the types of which those who wait for it read it.
#[doc(hidden)]
pub trait Answered {
    /// The reply and its error; nothing where there is none.
    type Types;

    /// Whether somebody waits for it.
    const IS_AWAITED: bool;

    /// Whether it is what was written, and does not stand in where a macro has failed.
    const IS_KNOWN: bool = true;
}

/// Whether two answers are of the same types, as `<Same<A, B>>::IS_SAME`: an inherent constant goes before that of a trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Same<A, B>(PhantomData<(A, B)>);

impl<A> Same<A, A> {
    pub const IS_SAME: bool = true;
}

/// See [`Same`].
#[doc(hidden)]
pub trait OrNot {
    const IS_SAME: bool = false;
}

impl<A, B> OrNot for Same<A, B> {}

/// `M: From<Self>`, in words for `from`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` cannot be made of `{Self}`, the version before",
    label = "`impl From<{Self}> for {M}` is missing",
    note = "write `impl From<{Self}> for {M}`: it makes the newer version of what older code wrote"
)]
pub trait Becomes<M> {
    fn becomes(self) -> M;
}

#[diagnostic::do_not_recommend]
impl<P, M: From<P>> Becomes<M> for P {
    fn becomes(self) -> M {
        M::from(self)
    }
}

impl<P> Older<P> {
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// Whether its derive has not failed.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether whoever sends it waits for an answer.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Reads a payload of the version before, or of one before that, and makes the newer message of it.
    ///
    /// # Errors
    ///
    /// What is wrong with the payload.
    pub fn read<'de, M>(
        &self,
        version: u64,
        format: Format,
        payload: &'de [u8],
    ) -> Result<(M, Inbound<'de>), DecodeError>
    where
        P: Becomes<M>,
    {
        let (older, inbound) = (self.read)(version, format, payload)?;
        Ok((older.becomes(), inbound))
    }
}

fn read<P: OwnedMessage>(version: u64, format: Format, payload: &[u8]) -> Result<(P, Inbound<'_>), DecodeError> {
    match P::OLDER {
        Some(older) if version < u64::from(P::VERSION) => older(version, format, payload),
        _ => {
            let expected = Expected::new(P::NAME, P::VERSION).format(format);
            let (read, inbound) = P::Codec::decode(&expected, payload)?;
            Ok((from_read(read), inbound))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use serde::{Deserialize, Serialize};
    use tidings::Message;

    use crate::{
        codec::contract::Format,
        error::Rejection,
        message::{
            contract::OwnedMessage,
            delivery::Delivery,
            lease::{Lease, Task},
        },
        time::now,
        transport::{
            durable::{
                record::Record,
                task::{Entry, EntryAt, QueueName},
            },
            frame::{Frame, Origin},
        },
    };

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks")]
    #[message(name = "Task", version = 2)]
    struct Second {
        id: u64,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks")]
    #[message(name = "Task", version = 3, from = Second)]
    struct Third {
        number: u64,
    }

    impl From<Second> for Third {
        fn from(second: Second) -> Self {
            Self { number: second.id }
        }
    }

    #[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
    #[queue("tasks")]
    #[message(name = "Task", version = 4, from = Third)]
    struct Newest {
        text: String,
    }

    impl From<Third> for Newest {
        fn from(third: Third) -> Self {
            Self { text: format!("number {}", third.number) }
        }
    }

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks")]
    #[message(name = "Task", version = 4, from = Third)]
    struct Borrows<'a> {
        text: std::borrow::Cow<'a, str>,
    }

    impl From<Third> for Borrows<'_> {
        fn from(third: Third) -> Self {
            Self { text: third.number.to_string().into() }
        }
    }

    fn broadcast(payload: &str) -> Delivery {
        let bytes = Bytes::from(format!("tasks{payload}"));
        let end = bytes.len() as u32;
        Delivery::of(Frame::new(bytes, 0..5, 5..end, Origin::Broadcast { token: 0 }, now()), Format::Envelope)
    }

    fn task(name: Option<&str>, version: Option<u64>, payload: &str) -> Delivery {
        let at = EntryAt { channel: "tasks".into(), is_back: false, entry: "1700000000000-0".into() };
        let record = Record { owners: 4, failures: 2, crashes: 1, snoozes: 5, hand_backs: 6, ..Record::default() };
        let entry = Entry {
            at,
            id: "t-1".into(),
            name: name.map(str::to_owned),
            version,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            record,
            unique: None,
            expires_at: None,
        };
        let lease = Lease::new(entry.token(), now());
        let queue = QueueName { template: "tasks", namespace: "".into() };
        Delivery::of_task(Task { queue, entry, lease, once: Arc::new(Mutex::new(None)) }, Format::Envelope)
    }

    fn envelope(version: u64, data: &str) -> String {
        format!(r#"{{"id":"e-1","type":"Task","timestamp":7,"version":{version},"data":{data}}}"#)
    }

    fn text<M: OwnedMessage + Into<Newest>>(mut delivery: Delivery) -> Result<String, Rejection> {
        delivery.decode::<M>().map(|message| message.into().text).map_err(|rejection| *rejection)
    }

    #[test]
    fn each_version_is_read_as_what_it_was() {
        for (version, data) in [(2, r#"{"id":7}"#), (3, r#"{"number":7}"#), (4, r#"{"text":"number 7"}"#)] {
            let payload = envelope(version, data);
            assert_eq!(text::<Newest>(broadcast(&payload)).unwrap(), "number 7", "version {version}");
            assert_eq!(text::<Newest>(task(None, None, &payload)).unwrap(), "number 7", "version {version}");
            // A plain payload: the entry says it.
            assert_eq!(
                text::<Newest>(task(Some("Task"), Some(version), data)).unwrap(),
                "number 7",
                "version {version}"
            );
        }
        // The oldest that is known, as before.
        assert_eq!(text::<Newest>(broadcast(&envelope(1, r#"{"id":7}"#))).unwrap(), "number 7");
        // What says no version has the handler's.
        assert_eq!(text::<Newest>(broadcast(r#"{"text":"plain"}"#)).unwrap(), "plain");
        assert!(matches!(text::<Newest>(broadcast(r#"{"id":7}"#)), Err(Rejection::Undecodable { .. })));
    }

    #[test]
    fn metadata_of_an_older_message_is_kept() {
        let mut delivery = broadcast(&envelope(2, r#"{"id":7}"#));
        delivery.decode::<Newest>().unwrap();
        assert_eq!(delivery.id(), Some("e-1"));
    }

    #[test]
    fn what_borrows_reads_older_versions_too() {
        for (version, data) in [(2, r#"{"id":7}"#), (4, r#"{"text":"7"}"#)] {
            let mut delivery = broadcast(&envelope(version, data));
            let payload = delivery.share_payload();
            assert_eq!(delivery.decode_borrowed::<Borrows<'_>>(&payload).unwrap().text, "7");
        }
    }

    #[test]
    fn the_entry_of_a_task_says_what_it_is() {
        let of_another_name = text::<Newest>(task(Some("Other"), None, r#"{"text":"a"}"#));
        assert!(matches!(of_another_name, Err(Rejection::WrongType { found, .. }) if found == "Other"));
        let newer = text::<Newest>(task(Some("Task"), Some(5), r#"{"text":"a"}"#));
        assert!(matches!(newer, Err(Rejection::NewerVersion { found: 5, known: 4, .. })));
        let newer = text::<Newest>(task(None, None, &envelope(5, r#"{"text":"a"}"#)));
        assert!(matches!(newer, Err(Rejection::NewerVersion { found: 5, .. })));
    }

    #[test]
    fn a_delivery_tells_what_its_task_has_been_through() {
        let mut delivery = task(None, None, r#"{"text":"a"}"#);
        delivery.decode::<Newest>().unwrap();
        assert_eq!(
            (delivery.channel(), delivery.payload(), delivery.id()),
            ("tasks", &br#"{"text":"a"}"#[..], Some("t-1"))
        );
        assert_eq!((delivery.attempt(), delivery.failures(), delivery.crashes()), (4, 2, 1));
        assert_eq!((delivery.snoozes(), delivery.hand_backs()), (5, 6));
        assert_eq!(delivery.lease().map(Lease::token), Some(5));
        assert_eq!(delivery.task().unwrap().entry.payload, delivery.payload(), "it is the delivery's");
        let since = delivery.timestamp().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis(), 1_700_000_000_000);
        let broadcast = broadcast("{}");
        assert_eq!((broadcast.attempt(), broadcast.failures(), broadcast.lease().is_some()), (1, 0, false));
    }
}
