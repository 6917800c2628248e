//! The standard envelope as MessagePack.

use rmp_serde::decode::Error;
use serde::{Deserialize, Serialize, de::DeserializeSeed};

use crate::codec::{
    binary::{self, Binary},
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    scan::{CUT, Cursor, Head, NO_ITEM},
    slot::Slot,
    words,
};

/// [MessagePack](https://msgpack.org): the standard envelope as a map with the members that it has in JSON. The message alone is understood too.
///
/// Structs are maps with their fields' names, so that fields may be added; [`serde_bytes`](https://docs.rs/serde_bytes) makes a field compact
/// bytes. Needs the feature `messagepack`.
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        binary::encode::<Self, T>(outbound, message, payload)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        binary::decode::<Self, T>(expected, payload)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        binary::metadata::<Self>(payload)
    }
}

impl Binary for MessagePack {
    fn is_map(payload: &[u8]) -> bool {
        matches!(payload.first(), Some(0x80..=0x8f | 0xde | 0xdf))
    }

    const FOUR_BYTES: u8 = 0xce;

    fn map(payload: &mut Vec<u8>, members: usize) {
        payload.push(0x80 | members as u8);
    }

    fn write<T: Serialize + ?Sized>(value: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        let mut serializer = rmp_serde::Serializer::new(payload).with_struct_map();
        value.serialize(&mut serializer).map_err(|error| error.to_string())
    }

    fn read<'de, S: DeserializeSeed<'de>>(seed: S, payload: &'de [u8]) -> Result<S::Value, String> {
        // The position is not to be had.
        seed.deserialize(&mut rmp_serde::Deserializer::from_read_ref(payload)).map_err(|error| say(&error))
    }

    fn head(cursor: &mut Cursor<'_>) -> Result<Head, &'static str> {
        let first = cursor.byte()?;
        match first {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Ok(Head::Leaf),
            0x80..=0x8f => Ok(Head::Items(2 * u64::from(first & 0x0f))),
            0x90..=0x9f => Ok(Head::Items(u64::from(first & 0x0f))),
            0xa0..=0xbf => cursor.leaf(u64::from(first & 0x1f)),
            0xc1 => Err(NO_ITEM),
            0xc4..=0xc6 => counted(cursor, first - 0xc4, 0),
            // An extension has its type beside its length.
            0xc7..=0xc9 => counted(cursor, first - 0xc7, 1),
            0xca | 0xcb => cursor.leaf(4 << (first - 0xca)),
            0xcc..=0xcf => cursor.leaf(1 << (first - 0xcc)),
            0xd0..=0xd3 => cursor.leaf(1 << (first - 0xd0)),
            0xd4..=0xd8 => cursor.leaf(1 + (1 << (first - 0xd4))),
            0xd9..=0xdb => counted(cursor, first - 0xd9, 0),
            0xdc | 0xdd => Ok(Head::Items(cursor.number(2 << (first - 0xdc))?)),
            0xde | 0xdf => Ok(Head::Items(2 * cursor.number(2 << (first - 0xde))?)),
        }
    }
}

/// What an error says, and nothing of the payload.
fn say(error: &Error) -> String {
    match error {
        Error::Uncategorized(message) | Error::Syntax(message) => words::of_message(message),
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => CUT.to_owned(),
        Error::LengthMismatch(length) => format!("an array of another length than {length}"),
        Error::OutOfRange => "a number out of range".to_owned(),
        Error::Utf8Error(_) => "a text that is not UTF-8".to_owned(),
        Error::TypeMismatch(_) => "an item of another type".to_owned(),
        Error::DepthLimitExceeded => "nested too deeply".to_owned(),
    }
}

/// Bytes whose number stands before them, in 1, 2 or 4 bytes.
fn counted(cursor: &mut Cursor<'_>, size: u8, more: u64) -> Result<Head, &'static str> {
    let length = cursor.number(1 << size)?;
    cursor.leaf(length + more)
}
