//! The wire format of the Python library `redis-toolkit` 0.4.

use std::{borrow::Cow, fmt, marker::PhantomData};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct,
};
use serde_json::value::RawValue;

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{BorrowedText, Rule},
    json::{has_escaped_names, metadata_of_text, refuse_envelope, text, value, write_envelope},
    located::{self, Reads},
    slot::Slot,
};

/// The wire format of the Python library `redis-toolkit` 0.4: `{"__type__": "dict", "__data__": {…}}`.
///
/// Python reads a struct as a `dict`, a sequence as a `list`, and a text, number, boolean or `()` as what it is; [`ToolkitBytes`] are its
/// `bytes`. That library reads the integers 0 and 1 as booleans, so a message that is a bare number is better sent as a struct.
///
/// The format has no metadata. A message with headers, a request and an acknowledged publish are sent as a `dict` that is the standard envelope:
/// a program in Python finds the message in `data`, and where to answer in `reply_to` and `correlation_id`. A message that looks like the envelope
/// itself is refused when it is published.
#[derive(Clone, Copy, Debug)]
pub struct RedisToolkit;

impl Codec for RedisToolkit {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        let start = payload.len();
        let slot = if outbound.exchange.is_some() || !outbound.headers.is_empty() {
            write_envelope(outbound, message, payload)?
        } else {
            serde_json::to_writer(&mut *payload, message).map_err(|error| error.to_string())?;
            refuse_envelope(Rule::Standard, &payload[start..])?;
            None
        };
        let opening = wrap(payload, start);
        Ok(slot.map(|slot| slot.behind(opening)))
    }

    /// Not where the message is sent alone: other programs expect it so.
    fn carries_context(outbound: &Outbound<'_>) -> bool {
        outbound.exchange.is_some() || !outbound.headers.is_empty()
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        located::decode(Reads::RedisToolkit, expected, payload)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        let text = unwrap(text(payload).ok()?).ok()?;
        metadata_of_text(Rule::Standard, text)
    }
}

/// What Python's `None` is.
const NONE: &str = "__NONE__";

/// How bytes begin, which are wrapped already.
const BYTES: &[u8] = br#"{"__type__":"bytes","__data__":""#;

/// Puts the wrapper around the JSON that begins at `start`, and says how many bytes came before it. Its first byte says of what type it is.
fn wrap(payload: &mut Vec<u8>, start: usize) -> usize {
    let json = &payload[start..];
    let name = match json.first() {
        _ if json.starts_with(BYTES) => return 0,
        Some(b'{') => "dict",
        Some(b'[') => "list",
        Some(b'"') => "str",
        Some(b't' | b'f') => "bool",
        Some(b'n') => {
            payload.truncate(start);
            payload.extend_from_slice(NONE.as_bytes());
            return 0;
        }
        _ if json.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => "float",
        _ => "int",
    };
    let opening = format!("{{\"__type__\": \"{name}\", \"__data__\": ");
    let before = opening.len();
    payload.splice(start..start, opening.into_bytes());
    payload.push(b'}');
    before
}

/// The JSON inside of the wrapper, or the text itself where there is none.
pub(super) fn unwrap(text: &str) -> Result<&str, DecodeError> {
    let text = text.trim_ascii();
    if text == NONE {
        return Ok("null");
    }
    if !text.starts_with('{') || !(text.contains("\"__type__\"") || has_escaped_names(text.as_bytes())) {
        return Ok(text);
    }
    let wrapper: Wrapper<'_> = value(text)?;
    match (wrapper.name, wrapper.data) {
        // No wrapper: a message that has the word somewhere inside.
        (None, _) => Ok(text),
        (Some(name), Some(_)) if name == "bytes" || name == "bytearray" => Ok(text),
        // Of types that it does not know the Python library takes the data as it is.
        (Some(_), Some(data)) => Ok(data.get()),
        (Some(_), None) => Err(DecodeError::Invalid("a `__type__` without `__data__`".to_owned())),
    }
}

/// The members of a wrapper.
struct Wrapper<'de> {
    name: Option<Cow<'de, str>>,
    data: Option<&'de RawValue>,
}

impl<'de> Deserialize<'de> for Wrapper<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrapperVisitor<'de>(PhantomData<&'de ()>);

        impl<'de> Visitor<'de> for WrapperVisitor<'de> {
            type Value = Wrapper<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with `__type__` and `__data__`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut wrapper = Wrapper { name: None, data: None };
                while let Some(member) = members.next_key::<BorrowedText<'de>>()? {
                    match &*member.0 {
                        "__type__" if wrapper.name.is_some() => return Err(de::Error::duplicate_field("__type__")),
                        "__type__" => wrapper.name = Some(members.next_value::<BorrowedText<'de>>()?.0),
                        "__data__" if wrapper.data.is_some() => return Err(de::Error::duplicate_field("__data__")),
                        "__data__" => wrapper.data = Some(members.next_value()?),
                        _ => drop(members.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(wrapper)
            }
        }

        deserializer.deserialize_map(WrapperVisitor(PhantomData))
    }
}

/// Bytes as the Python library `redis-toolkit` writes them: `{"__type__":"bytes","__data__":"<base64>"}`.
///
/// In a format that is no text they are bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ToolkitBytes(
    /// The bytes.
    pub Vec<u8>,
);

impl fmt::Debug for ToolkitBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ToolkitBytes({} bytes)", self.0.len())
    }
}

impl Serialize for ToolkitBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        let mut wrapper = serializer.serialize_struct("ToolkitBytes", 2)?;
        wrapper.serialize_field("__type__", "bytes")?;
        wrapper.serialize_field("__data__", &BASE64.encode(&self.0))?;
        wrapper.end()
    }
}

impl<'de> Deserialize<'de> for ToolkitBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Encoded {
            #[serde(rename = "__type__")]
            name: String,
            #[serde(rename = "__data__")]
            data: String,
        }

        struct BytesVisitor;

        impl Visitor<'_> for BytesVisitor {
            type Value = Vec<u8>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_owned())
            }
        }

        if !deserializer.is_human_readable() {
            return deserializer.deserialize_bytes(BytesVisitor).map(Self);
        }
        let Encoded { name, data } = Encoded::deserialize(deserializer)?;
        if name != "bytes" && name != "bytearray" {
            return Err(de::Error::custom("the `__type__` is not `bytes`"));
        }
        BASE64.decode(data).map(Self).map_err(de::Error::custom)
    }
}
