//! The standard envelope as CBOR.

use serde::{Deserialize, Serialize, de::DeserializeSeed};

use crate::codec::{
    binary::{self, Binary},
    cbor_reader::Reader,
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    scan::{CUT, Cursor, Head, NO_ITEM},
    slot::Slot,
};

/// [CBOR](https://www.rfc-editor.org/rfc/rfc8949): the standard envelope as a map with the members that it has in JSON. The message alone is
/// understood too.
///
/// Structs are maps with their fields' names, so that fields may be added; [`serde_bytes`](https://docs.rs/serde_bytes) makes a field compact
/// bytes. The unit `()` is `null`, so that `Some(())` comes back as `None`.
///
/// What other programs write is read as RFC 8949 says: texts in pieces, and items behind tags that only annotate them; a whole number where one
/// with a fraction is declared, and the other way round if the fraction is zero. An item is refused whose tag makes something else of
/// it, such as a decimal fraction (tag 4). Needs the feature
/// `cbor`.
#[derive(Clone, Copy, Debug)]
pub struct Cbor;

impl Codec for Cbor {
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

impl Binary for Cbor {
    fn is_map(payload: &[u8]) -> bool {
        let mut cursor = Cursor::new(payload);
        loop {
            let is_map = cursor.peek().is_some_and(|first| first >> 5 == 5);
            match Self::head(&mut cursor) {
                Ok(Head::Mark) => {}
                Ok(_) => return is_map,
                Err(_) => return false,
            }
        }
    }

    const FOUR_BYTES: u8 = 0x1a;

    fn map(payload: &mut Vec<u8>, members: usize) {
        payload.push(0xa0 | members as u8);
    }

    fn write<T: Serialize + ?Sized>(value: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        let mut serializer = minicbor_serde::Serializer::new(payload);
        value.serialize(serializer.serialize_unit_as_null(true)).map_err(|error| error.to_string())
    }

    fn read<'de, S: DeserializeSeed<'de>>(seed: S, payload: &'de [u8]) -> Result<S::Value, String> {
        let mut reader = Reader::new(payload);
        seed.deserialize(&mut reader).map_err(|error| format!("{error} at byte {}", reader.position()))
    }

    fn head(cursor: &mut Cursor<'_>) -> Result<Head, &'static str> {
        let first = cursor.byte()?;
        let argument = match first & 0x1f {
            small @ 0..=23 => Some(u64::from(small)),
            size @ 24..=27 => Some(cursor.number(1 << (size - 24))?),
            31 => None,
            _ => return Err(NO_ITEM),
        };
        match (first >> 5, argument) {
            (0 | 1 | 7, Some(_)) => Ok(Head::Leaf),
            (2 | 3, Some(length)) => cursor.leaf(length),
            (4, Some(count)) => Ok(Head::Items(count)),
            (5, Some(count)) => Ok(Head::Items(count.checked_mul(2).ok_or(CUT)?)),
            (2..=5, None) => Ok(Head::Open),
            (6, Some(_)) => Ok(Head::Mark),
            (7, None) => Ok(Head::Break),
            _ => Err(NO_ITEM),
        }
    }
}
