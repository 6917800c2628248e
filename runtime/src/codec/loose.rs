//! Metadata as other programs write it: whatever stands in its place is read, and what means nothing is odd instead of an error.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::codec::{headers::LooseHeaders, slot::TIME_LEFT_MAX};

/// What stands where metadata is expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Loose<'de> {
    /// As good as absent.
    Null,
    Bool(bool),
    Integer(i128),
    Real(f64),
    Text(Cow<'de, str>),
    /// A text that is none: with half of a surrogate pair, say.
    BrokenText,
    /// Milliseconds since the Unix epoch, in a format that has times of its own.
    Time(Option<u64>),
    /// A map, where one is wanted.
    Headers(Box<LooseHeaders>),
    /// What holds other values, bytes, and numbers that nothing can hold.
    Other,
}

/// What one member says.
#[derive(Debug, PartialEq)]
pub(super) enum Said<T> {
    Nothing,
    This(T),
    /// Something that cannot be read.
    Odd,
}

impl<T> Said<T> {
    fn from_option(value: Option<T>) -> Self {
        value.map_or(Self::Odd, Self::This)
    }
}

impl<'de> Loose<'de> {
    /// A value, of which a map is taken as headers.
    pub(super) fn with_headers<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor { takes_headers: true, lifetime: PhantomData })
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::BrokenText)
    }

    pub(super) fn text(self) -> Said<Cow<'de, str>> {
        match self {
            Self::Text(text) => Said::This(text),
            Self::Null => Said::Nothing,
            _ => Said::Odd,
        }
    }

    /// A text, or what CloudEvents says how to write as one.
    pub(super) fn attribute(self) -> Said<Cow<'de, str>> {
        match self {
            Self::Bool(value) => Said::This(Cow::Borrowed(if value { "true" } else { "false" })),
            Self::Integer(value) => Said::This(Cow::Owned(value.to_string())),
            other => other.text(),
        }
    }

    /// Milliseconds since the epoch, from RFC 3339 or a number.
    pub(super) fn timestamp(self) -> Said<u64> {
        match self {
            Self::Null => Said::Nothing,
            Self::Text(text) => Said::from_option(millis_of_text(&text)),
            Self::Integer(number) => Said::from_option(u64::try_from(number).ok().map(millis_of_integer)),
            Self::Real(number) => Said::from_option(millis_of_real(number)),
            Self::Time(millis) => Said::from_option(millis),
            Self::Bool(_) | Self::BrokenText | Self::Headers(_) | Self::Other => Said::Odd,
        }
    }

    /// A whole number, perhaps as text (`"1.0"`), as other languages write it.
    pub(super) fn version(self) -> Said<u64> {
        match self {
            Self::Null => Said::Nothing,
            Self::Text(text) => Said::from_option(text.split('.').next().and_then(|major| major.parse().ok())),
            Self::Integer(number) => Said::from_option(u64::try_from(number).ok()),
            Self::Real(number) if (0.0..=u64::MAX as f64).contains(&number) => Said::This(number as u64),
            _ => Said::Odd,
        }
    }

    /// Milliseconds, whole or not, perhaps as text. What is more than can be said is the most that can be said.
    pub(super) fn time_left(self) -> Said<u32> {
        let cut = |millis: i128| u32::try_from(millis.min(TIME_LEFT_MAX.into())).ok();
        match self {
            Self::Null => Said::Nothing,
            Self::Text(text) => Said::from_option(text.trim_ascii().parse().ok().and_then(cut)),
            Self::Integer(millis) => Said::from_option(cut(millis)),
            Self::Real(millis) if millis >= 0.0 => Said::from_option(cut(millis as i128)),
            _ => Said::Odd,
        }
    }
}

/// Numbers below are seconds, those below a thousand times as much milliseconds, and so on: a second's number of today has ten digits, and each
/// unit's holds from 1973, or from 1970 for seconds, to the year 5138.
const SECONDS_END: u64 = 100_000_000_000;
const MILLIS_END: u64 = SECONDS_END * 1_000;
const MICROS_END: u64 = MILLIS_END * 1_000;

pub(super) fn millis_of_integer(number: u64) -> u64 {
    match number {
        0..SECONDS_END => number * 1_000,
        SECONDS_END..MILLIS_END => number,
        MILLIS_END..MICROS_END => number / 1_000,
        MICROS_END.. => number / 1_000_000,
    }
}

fn millis_of_real(number: f64) -> Option<u64> {
    // Beyond the seconds a fraction is less than a millisecond, and so is what was lost of seconds with one.
    (0.0..=u64::MAX as f64).contains(&number).then(|| match number {
        seconds if seconds < SECONDS_END as f64 => (seconds * 1_000.0).round() as u64,
        larger => millis_of_integer(larger as u64),
    })
}

/// RFC 3339, or the same without an offset: UTC, as Python's `datetime.utcnow().isoformat()` writes it.
fn millis_of_text(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339));
    u64::try_from(time.ok()?.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The extension type of MessagePack's times.
const MESSAGEPACK_TIME: i128 = -1;

/// What the three forms of MessagePack's times say: seconds in 4 bytes; nanoseconds in 30 bits and seconds in 34; in 4 bytes and 8.
fn millis_of_extension(bytes: &[u8]) -> Option<u64> {
    let (seconds, nanos) = match *bytes {
        [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        [n0, n1, n2, n3, a, b, c, d, e, f, g, h] => {
            (i64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([n0, n1, n2, n3]))
        }
        _ => return None,
    };
    let millis = u64::try_from(seconds).ok()?.checked_mul(1_000)?;
    (nanos < 1_000_000_000).then(|| millis.checked_add(u64::from(nanos / 1_000_000))).flatten()
}

/// What serde_json calls a number's only member where the feature `arbitrary_precision` is on, as it may be anywhere in the program.
const NUMBER: &str = "$serde_json::private::Number";

fn number_of_text(text: &str) -> Loose<'static> {
    match (text.parse(), text.parse::<f64>()) {
        (Ok(integer), _) => Loose::Integer(integer),
        (_, Ok(real)) if real.is_finite() => Loose::Real(real),
        _ => Loose::Other,
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor { takes_headers: false, lifetime: PhantomData })
    }
}

struct LooseVisitor<'de> {
    takes_headers: bool,
    lifetime: PhantomData<&'de ()>,
}

impl<'de> Visitor<'de> for LooseVisitor<'de> {
    type Value = Loose<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("metadata")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Loose::Integer(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Loose::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Self::Value, E> {
        Ok(Loose::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Self::Value, E> {
        Ok(i128::try_from(number).map_or(Loose::Other, Loose::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Loose::Real(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text)))
    }

    fn visit_bytes<E>(self, _bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut headers = LooseHeaders::default();
        let mut number = None;
        while let Some(name) = members.next_key::<Name<'de>>()? {
            if self.takes_headers || name.as_str() == NUMBER {
                let value: Loose<'de> = members.next_value()?;
                if name.as_str() == NUMBER {
                    number = Some(value);
                } else {
                    headers.take(name.into_text(), value.text());
                }
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(match number {
            Some(Loose::Text(number)) => number_of_text(&number),
            _ if self.takes_headers => Loose::Headers(Box::new(headers)),
            _ => Loose::Other,
        })
    }

    /// An item of CBOR behind a tag that makes something else of it.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
        let (IgnoredAny, item) = tagged.variant()?;
        item.newtype_variant::<IgnoredAny>().map(|_| Loose::Other)
    }

    /// An extension of MessagePack: its type and its bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Self::Value, D::Error> {
        struct ExtensionVisitor<'de>(PhantomData<&'de ()>);

        impl<'de> Visitor<'de> for ExtensionVisitor<'de> {
            type Value = Loose<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an extension")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let of_type = parts.next_element::<Loose<'de>>()?;
                let bytes = parts.next_element::<Bytes>()?.map(|bytes| bytes.0);
                while parts.next_element::<IgnoredAny>()?.is_some() {}
                Ok(match (of_type, bytes) {
                    (Some(Loose::Integer(MESSAGEPACK_TIME)), Some(millis)) => Loose::Time(millis),
                    _ => Loose::Other,
                })
            }
        }

        extension.deserialize_any(ExtensionVisitor(PhantomData))
    }
}

/// The bytes of an extension, as a time.
struct Bytes(Option<u64>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(millis_of_extension(bytes)))
            }
        }

        deserializer.deserialize_bytes(BytesVisitor)
    }
}

/// A member's name: a text, or in some formats something else.
pub(super) struct Name<'de>(Option<Cow<'de, str>>);

impl Name<'_> {
    /// The name; nothing is called so whose name is no text.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn into_text(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Loose::deserialize(deserializer)? {
            Loose::Text(text) => Some(text),
            _ => None,
        }))
    }
}
