//! The standard envelope as MessagePack.

use std::marker::PhantomData;

use rmp_serde::Deserializer;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{Envelope, Seen, Written},
    scan::{Head, NO_ITEM, Scanner, rest_after_item},
};

/// [MessagePack](https://msgpack.org): the standard envelope as a map with the members that it has in JSON. The message alone is understood too.
///
/// Structs are maps with their fields' names, so that fields may be added; [`serde_bytes`](https://docs.rs/serde_bytes) makes a field compact
/// bytes. Needs the feature `messagepack`.
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        let mut serializer = rmp_serde::Serializer::new(payload).with_struct_map();
        Written::new(outbound, message).serialize(&mut serializer).map_err(|error| error.to_string())
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        let rest = rest_after_item(payload, head).map_err(|reason| DecodeError::Invalid(reason.to_owned()))?;
        let mut seen = Seen::default();
        let seed = Envelope { expected, seen: &mut seen, message: PhantomData };
        let read = seed.deserialize(&mut Deserializer::from_read_ref(payload)).map_err(|error| error.to_string());
        seen.settle(read, rest, || rmp_serde::from_slice(payload).map_err(|error| error.to_string()))
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        rest_after_item(payload, head).ok()?;
        let mut seen = Seen::default();
        let seed = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
        seed.deserialize(&mut Deserializer::from_read_ref(payload)).ok()?;
        Some(seen.inbound)
    }
}

fn head(scanner: &mut Scanner<'_>) -> Result<Head, &'static str> {
    let first = scanner.byte()?;
    match first {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Ok(Head::Leaf),
        0x80..=0x8f => Ok(Head::Items(2 * u64::from(first & 0x0f))),
        0x90..=0x9f => Ok(Head::Items(u64::from(first & 0x0f))),
        0xa0..=0xbf => scanner.leaf(u64::from(first & 0x1f)),
        0xc1 => Err(NO_ITEM),
        0xc4..=0xc6 => counted(scanner, first - 0xc4, 0),
        // An extension has its type beside its length.
        0xc7..=0xc9 => counted(scanner, first - 0xc7, 1),
        0xca | 0xcb => scanner.leaf(4 << (first - 0xca)),
        0xcc..=0xcf => scanner.leaf(1 << (first - 0xcc)),
        0xd0..=0xd3 => scanner.leaf(1 << (first - 0xd0)),
        0xd4..=0xd8 => scanner.leaf(1 + (1 << (first - 0xd4))),
        0xd9..=0xdb => counted(scanner, first - 0xd9, 0),
        0xdc | 0xdd => Ok(Head::Items(scanner.number(2 << (first - 0xdc))?)),
        0xde | 0xdf => Ok(Head::Items(2 * scanner.number(2 << (first - 0xde))?)),
    }
}

/// Bytes whose number stands before them, in 1, 2 or 4 bytes.
fn counted(scanner: &mut Scanner<'_>, size: u8, more: u64) -> Result<Head, &'static str> {
    let length = scanner.number(1 << size)?;
    scanner.leaf(length + more)
}
