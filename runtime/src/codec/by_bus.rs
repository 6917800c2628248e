//! The codec of the messages that leave the choice to the bus.

use serde::{Deserialize, Serialize};

#[cfg(feature = "cbor")]
use crate::codec::cbor::Cbor;
#[cfg(feature = "messagepack")]
use crate::codec::messagepack::MessagePack;

use crate::codec::{
    cloud_events::CloudEvents,
    contract::{Codec, DecodeError, Expected, Format, Inbound, Outbound},
    envelope::Rule,
    json::{Json, Plain, encode_plain},
    located::{self, Reads},
    redis_toolkit::RedisToolkit,
    slot::Slot,
};

/// Does what the bus's [`Format`] says: the codec of every message that chooses none.
///
/// A bus that says [`Format::Plain`] still takes every envelope for one, as those of its messages that come from buses which say nothing are sent
/// in it; [`Plain`](crate::codec::Plain) takes only those with `correlation_id` or `reply_to`.
#[derive(Clone, Copy, Debug)]
pub struct ByBus;

macro_rules! by_format {
    ($format:expr, $function:ident $arguments:tt) => {
        match $format {
            Format::Envelope => Json::$function $arguments,
            Format::Plain => PlainByBus::$function $arguments,
            Format::CloudEvents => CloudEvents::$function $arguments,
            Format::RedisToolkit => RedisToolkit::$function $arguments,
            #[cfg(feature = "messagepack")]
            Format::MessagePack => MessagePack::$function $arguments,
            #[cfg(feature = "cbor")]
            Format::Cbor => Cbor::$function $arguments,
        }
    };
}

impl Codec for ByBus {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        by_format!(outbound.format, encode(outbound, message, payload))
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        by_format!(outbound.format, encode_with_slot(outbound, message, payload))
    }

    fn carries_context(outbound: &Outbound<'_>) -> bool {
        by_format!(outbound.format, carries_context(outbound))
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        let mut inbound = None;
        let message = Self::decode_beside(expected, payload, &mut inbound)?;
        Ok((message, inbound.unwrap_or_default()))
    }

    #[inline(always)]
    fn decode_beside<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
        inbound: &mut Option<Inbound<'de>>,
    ) -> Result<T, DecodeError> {
        let reads = match expected.format {
            Format::Envelope | Format::Plain => Reads::Envelope(Rule::Standard),
            Format::CloudEvents => Reads::CloudEvents,
            Format::RedisToolkit => Reads::RedisToolkit,
            #[cfg(feature = "messagepack")]
            Format::MessagePack => return MessagePack::decode_beside(expected, payload, inbound),
            #[cfg(feature = "cbor")]
            Format::Cbor => return Cbor::decode_beside(expected, payload, inbound),
        };
        located::decode_beside(reads, expected, payload, inbound)
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        by_format!(expected.format, metadata(expected, payload))
    }
}

/// Writes the message alone, and reads it with the rule of everybody who has not declared it plain.
enum PlainByBus {}

impl Codec for PlainByBus {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        encode_plain(Rule::Standard, outbound, message, payload)
    }

    fn carries_context(outbound: &Outbound<'_>) -> bool {
        Plain::carries_context(outbound)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        Json::decode(expected, payload)
    }

    fn decode_beside<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
        inbound: &mut Option<Inbound<'de>>,
    ) -> Result<T, DecodeError> {
        Json::decode_beside(expected, payload, inbound)
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        Json::metadata(expected, payload)
    }
}
