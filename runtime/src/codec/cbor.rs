//! The standard envelope as CBOR.

use std::marker::PhantomData;

use minicbor_serde::{Deserializer, Serializer};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{Envelope, Seen, Written},
    scan::{CUT, Head, NO_ITEM, Scanner, rest_after_item},
};

/// [CBOR](https://www.rfc-editor.org/rfc/rfc8949): the standard envelope as a map with the members that it has in JSON. The message alone is
/// understood too.
///
/// Structs are maps with their fields' names, so that fields may be added; [`serde_bytes`](https://docs.rs/serde_bytes) makes a field compact
/// bytes. The unit `()` is an empty array, and so is a `null` within a `serde_json::Value`. Needs the feature `cbor`.
#[derive(Clone, Copy, Debug)]
pub struct Cbor;

impl Codec for Cbor {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Written::new(outbound, message).serialize(&mut Serializer::new(payload)).map_err(|error| error.to_string())
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        let rest = rest_after_item(payload, head).map_err(|reason| DecodeError::Invalid(reason.to_owned()))?;
        let mut seen = Seen::default();
        let seed = Envelope { expected, seen: &mut seen, message: PhantomData };
        let read = seed.deserialize(&mut Deserializer::new(payload)).map_err(|error| error.to_string());
        seen.settle(read, rest, || minicbor_serde::from_slice(payload).map_err(|error| error.to_string()))
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        rest_after_item(payload, head).ok()?;
        let mut seen = Seen::default();
        let seed = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
        seed.deserialize(&mut Deserializer::new(payload)).ok()?;
        Some(seen.inbound)
    }
}

fn head(scanner: &mut Scanner<'_>) -> Result<Head, &'static str> {
    let first = scanner.byte()?;
    let argument = match first & 0x1f {
        small @ 0..=23 => Some(u64::from(small)),
        size @ 24..=27 => Some(scanner.number(1 << (size - 24))?),
        31 => None,
        _ => return Err(NO_ITEM),
    };
    match (first >> 5, argument) {
        (0 | 1 | 7, Some(_)) => Ok(Head::Leaf),
        (2 | 3, Some(length)) => scanner.leaf(length),
        (4, Some(count)) => Ok(Head::Items(count)),
        (5, Some(count)) => Ok(Head::Items(count.checked_mul(2).ok_or(CUT)?)),
        (2..=5, None) => Ok(Head::Open),
        (6, Some(_)) => Ok(Head::Mark),
        (7, None) => Ok(Head::Break),
        _ => Err(NO_ITEM),
    }
}
