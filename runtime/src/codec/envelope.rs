//! The standard envelope, in whatever format it is written: a map with the members `id`, `type`, `timestamp`, `version`, `headers`,
//! `correlation_id`, `reply_to`, `time_left` and `data`.
//!
//! What comes in our own order is read in one pass, `data` in place; where `data` comes before it is known to be an envelope's, a second pass
//! reads it. Of members that come twice none is taken, as which of them counts would depend on the reader: metadata is then absent, and an
//! envelope whose `type` or `data` comes twice is refused.

use std::{borrow::Cow, fmt, marker::PhantomData};

use memchr::memmem;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use crate::codec::{
    contract::{DecodeError, Expected, Inbound},
    headers::LooseHeaders,
    loose::{Loose, Said},
};

/// When a map is the envelope, and not the message: it has `data`, and as texts `id` and `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing else is asked.
    Standard,
    /// Of a message that is declared plain: `correlation_id` or `reply_to` is there as well, as only then it is sent in the envelope.
    OnlyExchanges,
}

/// What has been read of an envelope, also when reading ends in an error.
#[derive(Default)]
pub(super) struct Seen<'de> {
    inbound: Inbound<'de>,
    name: Option<Cow<'de, str>>,
    /// One bit for each member that has come.
    members: u16,
    has_id: bool,
    has_type: bool,
    is_exchange: bool,
    /// The member of which two make the envelope unreadable, if two have come.
    twice: Option<&'static str>,
    /// Whether reading ended within the data of what is known to be an envelope.
    broke_in_data: bool,
}

impl<'de> Seen<'de> {
    pub(super) fn is_envelope(&self, rule: Rule) -> bool {
        self.has(Member::Data) && self.will_be_envelope(rule)
    }

    /// Whether it is an envelope if it has data.
    fn will_be_envelope(&self, rule: Rule) -> bool {
        self.has_id && self.has_type && (rule == Rule::Standard || self.is_exchange)
    }

    pub(super) fn into_inbound(self) -> Inbound<'de> {
        self.inbound
    }

    fn has(&self, member: Member) -> bool {
        self.members & (1 << member as u16) != 0
    }

    /// Whether an envelope is one of what is expected, as far as has been read.
    fn fits(&self, expected: &Expected) -> bool {
        let is_newer = self.inbound.version.is_some_and(|version| version > u64::from(expected.version));
        self.twice.is_none() && self.name.as_deref() == Some(expected.name) && !is_newer
    }

    /// Why an envelope that does not fit is not read.
    fn refusal(self, expected: &Expected) -> DecodeError {
        if let Some(member) = self.twice {
            return DecodeError::Invalid(format!("an envelope with two members `{member}`"));
        }
        match self.name {
            None => DecodeError::Invalid("an envelope whose `type` is no valid text".to_owned()),
            Some(name) if name != expected.name => DecodeError::WrongType(shorten(&name)),
            Some(_) => DecodeError::NewerVersion(self.inbound.version.unwrap_or_default()),
        }
    }

    /// Takes a member that is neither `headers` nor `data`.
    fn take(&mut self, member: Member, value: Loose<'de>) {
        let again = self.note(member);
        let Inbound { id, timestamp, version, correlation_id, reply_to, time_left, unreadable, .. } = &mut self.inbound;
        match member {
            Member::Id => {
                self.has_id |= value.is_text();
                keep(id, again, value.text(), unreadable);
            }
            Member::Type => {
                self.has_type |= value.is_text();
                if again {
                    self.twice = Some("type");
                } else if let Said::This(name) = value.text() {
                    self.name = Some(name);
                }
            }
            Member::Timestamp => keep(timestamp, again, value.timestamp(), unreadable),
            Member::Version => keep(version, again, value.version(), unreadable),
            Member::CorrelationId => {
                self.is_exchange |= value != Loose::Null;
                keep(correlation_id, again, value.text(), unreadable);
            }
            Member::ReplyTo => {
                self.is_exchange |= value != Loose::Null;
                keep(reply_to, again, value.text(), unreadable);
            }
            Member::TimeLeft => keep(time_left, again, value.time_left(), unreadable),
            Member::Headers | Member::Data | Member::Other => {}
        }
    }

    fn take_headers(&mut self, headers: LooseHeaders) {
        let again = self.note(Member::Headers);
        let (headers, odd) = headers.into_headers();
        self.inbound.headers = if again { Default::default() } else { headers };
        self.inbound.unreadable = self.inbound.unreadable.saturating_add(if again { 1 } else { odd });
    }

    /// Notes that a member has come, and says whether it had come before.
    fn note(&mut self, member: Member) -> bool {
        let again = self.has(member);
        self.members |= 1 << member as u16;
        again
    }
}

/// The message of an envelope; `None` where there is none.
///
/// `first` is the one pass in place. `survey` reads the members again, but not the data, and with more care for what is odd. `data` reads the
/// data only.
pub(super) fn open<'de, T>(
    expected: &Expected,
    rule: Rule,
    first: impl FnOnce(&mut Seen<'de>) -> Result<Option<T>, String>,
    survey: impl FnOnce(&mut Seen<'de>) -> Result<(), String>,
    data: impl FnOnce() -> Result<T, String>,
) -> Option<Result<(T, Inbound<'de>), DecodeError>> {
    let mut seen = Seen::default();
    let invalid = |error| Some(Err(DecodeError::Invalid(error)));
    let (message, broken) = match first(&mut seen) {
        Ok(message) => (message, None),
        Err(error) => {
            let broken = seen.broke_in_data.then_some(error);
            seen = Seen::default();
            // What cannot be read to its end is no message: one whose members may all be absent would be read as empty.
            if let Err(error) = survey(&mut seen) {
                return invalid(broken.unwrap_or(error));
            }
            (None, broken)
        }
    };
    if !seen.is_envelope(rule) {
        return None;
    }
    if !seen.fits(expected) {
        return Some(Err(seen.refusal(expected)));
    }
    match (message, broken) {
        (Some(message), _) => Some(Ok((message, seen.inbound))),
        (None, Some(error)) => invalid(error),
        (None, None) => match data() {
            Ok(message) => Some(Ok((message, seen.inbound))),
            Err(error) => invalid(error),
        },
    }
}

/// Takes what a member says, unless it comes again: then nothing is known of it. What cannot be read is counted.
pub(super) fn keep<T>(place: &mut Option<T>, again: bool, said: Said<T>, unreadable: &mut u32) {
    let said = if again { Said::Odd } else { said };
    if matches!(said, Said::Odd) {
        *unreadable = unreadable.saturating_add(1);
    }
    *place = match said {
        Said::This(value) => Some(value),
        Said::Nothing | Said::Odd => None,
    };
}

/// How a format's metadata is read.
pub(super) trait Reading {
    fn value<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Loose<'de>, A::Error>;

    fn headers<'de, A: MapAccess<'de>>(members: &mut A) -> Result<LooseHeaders, A::Error>;
}

/// In place.
pub(super) enum Direct {}

impl Reading for Direct {
    fn value<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Loose<'de>, A::Error> {
        members.next_value()
    }

    fn headers<'de, A: MapAccess<'de>>(members: &mut A) -> Result<LooseHeaders, A::Error> {
        members.next_value()
    }
}

/// Reads the members of a map, and its `data` as a `T` where it is known by then that they are an envelope's.
pub(super) struct Envelope<'s, 'de, T, R> {
    expected: &'s Expected,
    rule: Rule,
    seen: &'s mut Seen<'de>,
    message: PhantomData<(T, R)>,
}

impl<'s, 'de, T, R> Envelope<'s, 'de, T, R> {
    pub(super) fn new(expected: &'s Expected, rule: Rule, seen: &'s mut Seen<'de>) -> Self {
        Self { expected, rule, seen, message: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>, R: Reading> DeserializeSeed<'de> for Envelope<'_, 'de, T, R> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, R: Reading> Visitor<'de> for Envelope<'_, 'de, T, R> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Self { expected, rule, seen, .. } = self;
        let mut message = None;
        while let Some(member) = members.next_key::<Member>()? {
            match member {
                Member::Data => {
                    if seen.note(Member::Data) {
                        seen.twice = Some("data");
                    }
                    if seen.will_be_envelope(rule) && seen.fits(expected) {
                        seen.broke_in_data = true;
                        message = Some(members.next_value()?);
                        seen.broke_in_data = false;
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Member::Headers => seen.take_headers(R::headers(&mut members)?),
                Member::Other => drop(members.next_value::<IgnoredAny>()?),
                member => seen.take(member, R::value(&mut members)?),
            }
        }
        Ok(message)
    }
}

/// Reads the `data` of what is known to be an envelope, and nothing else.
pub(super) struct Data<T>(PhantomData<T>);

impl<T> Data<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Data<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Data<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<T, A::Error> {
        let mut message = None;
        while let Some(member) = members.next_key::<Member>()? {
            match member {
                Member::Data => message = Some(members.next_value()?),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        message.ok_or_else(|| serde::de::Error::missing_field("data"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Id,
    Type,
    Timestamp,
    Version,
    Headers,
    CorrelationId,
    ReplyTo,
    TimeLeft,
    Data,
    Other,
}

impl Member {
    fn of(name: &str) -> Self {
        match name {
            "id" => Self::Id,
            "type" => Self::Type,
            "timestamp" => Self::Timestamp,
            "version" => Self::Version,
            "headers" => Self::Headers,
            "correlation_id" => Self::CorrelationId,
            "reply_to" => Self::ReplyTo,
            "time_left" => Self::TimeLeft,
            "data" => Self::Data,
            _ => Self::Other,
        }
    }
}

/// From whatever stands where a name is expected: what is no text is no name of ours.
impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(Member::of(name))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i128<E>(self, _: i128) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            /// Names in bytes are names, as they are for the fields of a message.
            fn visit_bytes<E>(self, name: &[u8]) -> Result<Member, E> {
                Ok(str::from_utf8(name).map_or(Member::Other, Member::of))
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_none<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Member, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Member, A::Error> {
                let (IgnoredAny, item) = tagged.variant()?;
                item.newtype_variant::<IgnoredAny>().map(|_| Member::Other)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Member, D::Error> {
                IgnoredAny::deserialize(extension).map(|_| Member::Other)
            }
        }

        deserializer.deserialize_any(MemberVisitor)
    }
}

/// What a payload may be of which only the head is there: as far as the name of its data, in each format, and then nothing as data.
pub(crate) fn without_data(head: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    NOTHING_AS_DATA.iter().flat_map(move |(name, nothing)| {
        let places = memmem::find_iter(head, *name).take(PLACES);
        places.map(move |at| [&head[..at + name.len()], *nothing].concat())
    })
}

/// The name of the last member, and what is the rest of the envelope if that is nothing: in JSON, in the wrapper of redis-toolkit, in MessagePack
/// and in CBOR.
const NOTHING_AS_DATA: [(&[u8], &[u8]); 4] =
    [(b"\"data\"", b":null}"), (b"\"data\"", b":null}}"), (b"\xa4data", b"\xc0"), (b"\x64data", b"\xf6")];
/// Where the name of the data is looked for: headers may have it too.
const PLACES: usize = 8;

/// A text that is borrowed where it can be.
#[derive(Deserialize)]
pub(super) struct BorrowedText<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A foreign name, fit for a log line.
pub(super) fn shorten(name: &str) -> String {
    let visible = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    name.chars().take(64).map(visible).collect()
}
