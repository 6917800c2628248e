//! The standard envelope as CBOR.

use std::marker::PhantomData;

use minicbor_serde::{Deserializer, Serializer};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    Codec, DecodeError, Expected, Inbound, Outbound,
    envelope::{DEPTH_MAX, Envelope, Seen, Written},
};

/// [CBOR](https://www.rfc-editor.org/rfc/rfc8949): the standard envelope as a map with the members that it has in JSON. The message alone is
/// understood too.
///
/// Structs are maps with their fields' names, so that fields may be added; [`serde_bytes`](https://docs.rs/serde_bytes) makes a field compact
/// bytes. Needs the feature `cbor`.
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
        let rest = payload.len() - item(payload).map_err(|reason| DecodeError::Invalid(reason.to_owned()))?;
        let mut seen = Seen::default();
        let seed = Envelope { expected, seen: &mut seen, message: PhantomData };
        let read = seed.deserialize(&mut Deserializer::new(payload)).map_err(|error| error.to_string());
        seen.settle(read, rest, || {
            let message = T::deserialize(&mut Deserializer::new(payload)).map_err(|error| error.to_string())?;
            Ok((message, rest))
        })
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        item(payload).ok()?;
        let mut seen = Seen::default();
        let seed = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
        seed.deserialize(&mut Deserializer::new(payload)).ok()?;
        Some(seen.inbound)
    }
}

/// The bytes of the first item, which is whole and not too deep: the deserializer itself goes as deep as the bytes want.
fn item(payload: &[u8]) -> Result<usize, &'static str> {
    let mut scanner = Scanner { rest: payload };
    // What is still missing of each item that is open; `None` where a break ends it.
    let mut open: Vec<Option<u64>> = Vec::new();
    loop {
        let opened = match scanner.head()? {
            (0 | 1, Some(_)) => None,
            (2 | 3, Some(length)) => {
                scanner.skip(length)?;
                None
            }
            (4, Some(length)) => Some(Some(length)),
            (5, Some(length)) => Some(Some(length.checked_mul(2).ok_or(CUT)?)),
            (2..=5, None) => Some(None),
            // A tag is part of the item that follows.
            (6, Some(_)) => continue,
            (7, Some(_)) => None,
            (7, None) if open.pop() == Some(None) => None,
            _ => return Err("a byte that begins no item"),
        };
        match opened {
            Some(Some(0)) | None => {}
            Some(_) if open.len() == DEPTH_MAX => return Err("nested too deeply"),
            Some(missing) => {
                open.push(missing);
                continue;
            }
        }
        while let Some(Some(missing)) = open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return Ok(payload.len() - scanner.rest.len());
        }
    }
}

/// What is wrong with a payload that ends too early.
const CUT: &str = "the payload ends within an item";

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    /// The major type of the next item, and its argument; none where the length is open.
    fn head(&mut self) -> Result<(u8, Option<u64>), &'static str> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        let argument = match first & 0x1f {
            small @ 0..=23 => Some(u64::from(small)),
            size @ 24..=27 => {
                let (bytes, rest) = self.rest.split_at_checked(1 << (size - 24)).ok_or(CUT)?;
                self.rest = rest;
                Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
            }
            31 => None,
            _ => return Err("a byte that begins no item"),
        };
        Ok((first >> 5, argument))
    }

    fn skip(&mut self, length: u64) -> Result<(), &'static str> {
        let length = usize::try_from(length).map_err(|_| CUT)?;
        self.rest = self.rest.get(length..).ok_or(CUT)?;
        Ok(())
    }
}
