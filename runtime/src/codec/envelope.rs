//! The standard envelope, in whatever format it is written: a map with the members `id`, `type`, `timestamp`, `version`, `headers`,
//! `correlation_id`, `reply_to`, `time_left` and `data`, read in one pass, `data` in place.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use crate::codec::{
    contract::{DecodeError, Expected, Inbound},
    slot::TIME_LEFT_MAX,
};

/// What has been read of an envelope, also when reading ends in an error.
#[derive(Default)]
pub(super) struct Seen<'de> {
    pub(super) inbound: Inbound<'de>,
    /// One bit for each member that has come.
    members: u16,
    pub(super) refusal: Option<DecodeError>,
}

impl Seen<'_> {
    pub(super) fn is_envelope(&self) -> bool {
        self.inbound.id.is_some() && self.has(Member::Type) && self.has(Member::Data)
    }

    fn has(&self, member: Member) -> bool {
        self.members & (1 << member as u16) != 0
    }

    /// Which of two ids or answers' addresses counts must not depend on the reader, so no member comes twice.
    fn note<E: de::Error>(&mut self, member: Member) -> Result<(), E> {
        if self.has(member) && !matches!(member, Member::Other) {
            return Err(E::custom("a member of the envelope comes twice"));
        }
        self.members |= 1 << member as u16;
        Ok(())
    }
}

/// Reads an envelope whose `data` is a `T`.
pub(super) struct Envelope<'s, 'de, T> {
    pub(super) expected: &'s Expected,
    pub(super) seen: &'s mut Seen<'de>,
    pub(super) message: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Envelope<'_, 'de, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Envelope<'_, 'de, T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut message = None;
        while let Some(member) = members.next_key::<Member>()? {
            self.seen.note(member)?;
            match member {
                Member::Id => self.seen.inbound.id = Some(members.next_value::<BorrowedText<'de>>()?.0),
                Member::Type => {
                    let found = members.next_value::<BorrowedText<'de>>()?.0;
                    if found != self.expected.name {
                        self.seen.refusal.get_or_insert(DecodeError::WrongType(shorten(&found)));
                    }
                }
                Member::Timestamp => self.seen.inbound.timestamp = members.next_value::<Timestamp>()?.0,
                Member::Version => {
                    let version = members.next_value::<Version>()?.0;
                    self.seen.inbound.version = version;
                    if version.is_some_and(|version| version > u64::from(self.expected.version)) {
                        self.seen.refusal.get_or_insert(DecodeError::NewerVersion(version.unwrap_or_default()));
                    }
                }
                Member::Headers => self.seen.inbound.headers = members.next_value()?,
                Member::CorrelationId => {
                    self.seen.inbound.correlation_id =
                        members.next_value::<Option<BorrowedText<'de>>>()?.map(|text| text.0);
                }
                Member::ReplyTo => {
                    self.seen.inbound.reply_to = members.next_value::<Option<BorrowedText<'de>>>()?.map(|text| text.0);
                }
                Member::TimeLeft => self.seen.inbound.time_left = members.next_value::<TimeLeft>()?.0,
                Member::Data => {
                    if self.seen.refusal.is_some() {
                        members.next_value::<IgnoredAny>()?;
                    } else {
                        message = Some(members.next_value()?);
                    }
                }
                Member::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(message)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
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
    #[serde(other)]
    Other,
}

/// A text that is borrowed where it can be.
#[derive(Deserialize)]
pub(super) struct BorrowedText<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Milliseconds since the epoch, from milliseconds, seconds or RFC 3339; nothing from what is none of them.
pub(super) struct Timestamp(pub(super) Option<u64>);

/// A whole number, perhaps as text (`"1.0"`), as other languages write it.
pub(super) struct Version(pub(super) Option<u64>);

/// Milliseconds, whole or not, perhaps as text.
pub(super) struct TimeLeft(pub(super) Option<u32>);

/// Numbers below are seconds: as milliseconds they would lie in 1973.
const FIRST_MILLISECONDS: f64 = 1e11;

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        Ok(Self(match scalar {
            Scalar::Number(number) if number < 0.0 => None,
            Scalar::Number(number) if number < FIRST_MILLISECONDS => Some((number * 1000.0) as u64),
            Scalar::Number(number) => Some(number as u64),
            Scalar::Text(text) => humantime::parse_rfc3339_weak(&text)
                .ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .and_then(|since| u64::try_from(since.as_millis()).ok()),
            Scalar::Null => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        Ok(Self(match scalar {
            Scalar::Number(number) if number >= 0.0 => Some(number as u64),
            Scalar::Text(text) => text.split('.').next().and_then(|major| major.parse().ok()),
            Scalar::Number(_) | Scalar::Null => None,
        }))
    }
}

impl<'de> Deserialize<'de> for TimeLeft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        Ok(Self(match scalar {
            // What is more than can be said is the most that can be said.
            Scalar::Number(number) if number >= 0.0 => Some((number as u32).min(TIME_LEFT_MAX)),
            Scalar::Text(text) => text.parse().ok().map(|millis: u32| millis.min(TIME_LEFT_MAX)),
            Scalar::Number(_) | Scalar::Null => None,
        }))
    }
}

/// What foreign envelopes put where a number is expected.
enum Scalar<'de> {
    Null,
    Number(f64),
    Text(Cow<'de, str>),
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number or a text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A foreign name, fit for a log line.
pub(super) fn shorten(name: &str) -> String {
    let visible = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    name.chars().take(64).map(visible).collect()
}
