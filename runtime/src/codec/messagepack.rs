//! The standard envelope as MessagePack.

use std::marker::PhantomData;

use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    Codec, DecodeError, Expected, Inbound, Outbound,
    envelope::{DEPTH_MAX, Envelope, Seen, Written},
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
        let mut seen = Seen::default();
        let mut deserializer = deserializer(payload);
        let read = Envelope { expected, seen: &mut seen, message: PhantomData }.deserialize(&mut deserializer);
        let rest = deserializer.get_ref().len();
        seen.settle(read.map_err(|error| error.to_string()), rest, || {
            let mut deserializer = self::deserializer(payload);
            let message = T::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
            Ok((message, deserializer.get_ref().len()))
        })
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        let mut seen = Seen::default();
        let seed = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
        seed.deserialize(&mut deserializer(payload)).ok()?;
        Some(seen.inbound)
    }
}

fn deserializer(payload: &[u8]) -> rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'_, [u8]>> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(DEPTH_MAX);
    deserializer
}
