//! Wire formats: how a message and its metadata become a payload, and come back.
//!
//! | codec | a payload is | on receive it also takes |
//! |--|--|--|
//! | [`Json`] | the standard envelope as JSON | the message alone |
//! | [`Plain`] | the message alone as JSON | the standard envelope |
//! | [`CloudEvents`] | a CloudEvent 1.0 in JSON's structured mode | the standard envelope, the message alone |
//! | [`RedisToolkit`] | what the Python library `redis-toolkit` 0.4 writes | the standard envelope, the message alone |
//! | `MessagePack` (feature `messagepack`) | the standard envelope as MessagePack | the message alone as MessagePack |
//! | `Cbor` (feature `cbor`) | the standard envelope as CBOR | the message alone as CBOR |
//!
//! An object is the standard envelope exactly if it has `data`, and as texts `id` and `type`, in any order; of a message that is declared plain, if
//! it has `correlation_id` or `reply_to` as well. Everything else is the message alone, and a message alone that would be read as an envelope is
//! refused when it is published. Metadata that cannot be read is absent, and [counted](Inbound::unreadable); so is what comes twice, but an
//! envelope with two `type`s or two `data` is refused.
//!
//! A message chooses its codec with `#[message(codec = CloudEvents)]`, and a codec of your own works the same way. What the other
//! messages are written in, [`BusBuilder::format`](crate::BusBuilder::format) says.
//!
//! Requests and acknowledged publishes need metadata; each codec carries it. Answers always travel in the standard envelope as JSON, so that
//! whoever asks need not know the format of whoever answers; an answer in one of the other formats of JSON text is understood.
//!
//! # Inside
//!
//! `contract` is the trait and what it is told, `by_bus` leaves the choice to the bus, `headers` and `answers` travel in every format, and
//! `envelope` is the standard envelope in any of them, `loose` its metadata as other programs write it. `located` is where in JSON text the message stands. `json`, `cloud_events`, `redis_toolkit`, `messagepack` and `cbor` are a format each;
//! the last two share `binary` and `scan`, and `cbor_reader` reads what other programs write, and `no_binary` stands in without their features. `slot` is where the time left stands, and
//! `words` what errors may say. This floor is the lowest: it knows nothing else of the crate.

pub(crate) mod answers;
#[cfg(any(feature = "cbor", feature = "messagepack"))]
mod binary;
pub(crate) mod by_bus;
#[cfg(feature = "cbor")]
pub(crate) mod cbor;
#[cfg(feature = "cbor")]
mod cbor_reader;
pub(crate) mod cloud_events;
pub(crate) mod contract;
pub(crate) mod envelope;
pub(crate) mod headers;
pub(crate) mod json;
mod located;
mod loose;
#[cfg(feature = "messagepack")]
pub(crate) mod messagepack;
#[cfg(not(all(feature = "cbor", feature = "messagepack")))]
mod no_binary;
mod own_order;
pub(crate) mod redis_toolkit;
#[cfg(any(feature = "cbor", feature = "messagepack"))]
pub(crate) mod scan;
pub(crate) mod slot;
mod words;

#[cfg(feature = "cbor")]
pub use self::cbor::Cbor;
#[cfg(feature = "messagepack")]
pub use self::messagepack::MessagePack;
pub use self::{
    by_bus::ByBus,
    cloud_events::CloudEvents,
    contract::{Codec, DecodeError, Exchange, Expected, Format, Inbound, Outbound},
    headers::Headers,
    json::{Json, Plain},
    redis_toolkit::{RedisToolkit, ToolkitBytes},
    slot::Slot,
};

#[cfg(test)]
mod tests;
