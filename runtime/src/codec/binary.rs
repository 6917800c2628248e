//! What the binary formats have in common: the standard envelope, written and read with a format's own serializer and deserializer.

use std::marker::PhantomData;

use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    contract::{DecodeError, Expected, Inbound, Outbound},
    envelope::{Data, Direct, Envelope, Rule, Seen, open},
    scan::{Cursor, Head, rest_after_item},
    slot::Slot,
};

/// A format of its own bytes.
pub(super) trait Binary {
    /// What the next bytes begin.
    fn head(cursor: &mut Cursor<'_>) -> Result<Head, &'static str>;

    /// Whether the payload is a map.
    fn is_map(payload: &[u8]) -> bool;

    /// The mark of a number of four bytes.
    const FOUR_BYTES: u8;

    /// Begins a map of so many members, fewer than 16.
    fn map(payload: &mut Vec<u8>, members: usize);

    fn write<T: Serialize + ?Sized>(value: &T, payload: &mut Vec<u8>) -> Result<(), String>;

    /// Reads the first item of a payload, which is known to be whole.
    fn read<'de, S: DeserializeSeed<'de>>(seed: S, payload: &'de [u8]) -> Result<S::Value, String>;
}

pub(super) fn encode<F: Binary, T: Serialize>(
    outbound: &Outbound<'_>,
    message: &T,
    payload: &mut Vec<u8>,
) -> Result<Option<Slot>, String> {
    let exchange = outbound.exchange;
    let (reply_to, time_left) = exchange.map_or((None, None), |exchange| (exchange.reply_to, exchange.time_left));
    let optional = [!outbound.headers.is_empty(), exchange.is_some(), reply_to.is_some(), time_left.is_some()];
    // `id`, `type`, `timestamp`, `version` and `data` are always there.
    outbound.headers.within_limit()?;
    F::map(payload, 5 + optional.into_iter().filter(|&is_there| is_there).count());
    member::<F, _>("id", outbound.id, payload)?;
    member::<F, _>("type", outbound.name, payload)?;
    member::<F, _>("timestamp", &outbound.timestamp, payload)?;
    member::<F, _>("version", &outbound.version, payload)?;
    if !outbound.headers.is_empty() {
        member::<F, _>("headers", outbound.headers, payload)?;
    }
    if let Some(exchange) = exchange {
        member::<F, _>("correlation_id", exchange.correlation_id, payload)?;
    }
    if let Some(reply_to) = reply_to {
        member::<F, _>("reply_to", reply_to, payload)?;
    }
    let slot = match time_left {
        Some(millis) => {
            F::write("time_left", payload)?;
            Some(Slot::append_big_endian(payload, F::FOUR_BYTES, millis))
        }
        None => None,
    };
    member::<F, _>("data", message, payload)?;
    Ok(slot)
}

fn member<F: Binary, T: Serialize + ?Sized>(name: &str, value: &T, payload: &mut Vec<u8>) -> Result<(), String> {
    F::write(name, payload)?;
    F::write(value, payload)
}

/// Reads an envelope, or else the message alone.
pub(super) fn decode<'de, F: Binary, T: Deserialize<'de>>(
    expected: &Expected,
    payload: &'de [u8],
) -> Result<(T, Inbound<'de>), DecodeError> {
    let rest = rest_after_item(payload, F::head).map_err(|reason| DecodeError::Invalid(reason.to_owned()))?;
    if rest > 0 {
        return Err(DecodeError::Invalid(format!("{rest} bytes after the message")));
    }
    if F::is_map(payload)
        && let Some(result) = open(
            expected,
            RULE,
            |seen| F::read(Envelope::<T, Direct>::new(expected, RULE, seen), payload),
            |seen| survey::<F>(payload, seen),
            || F::read(Data::new(), payload),
        )
    {
        return result;
    }
    let message = F::read(PhantomData::<T>, payload).map_err(DecodeError::Invalid)?;
    Ok((message, Inbound::default()))
}

pub(super) fn metadata<F: Binary>(payload: &[u8]) -> Option<Inbound<'_>> {
    rest_after_item(payload, F::head).ok()?;
    let mut seen = Seen::default();
    survey::<F>(payload, &mut seen).ok()?;
    seen.is_envelope(RULE).then(|| seen.into_inbound())
}

/// No message is declared to be alone in these formats.
const RULE: Rule = Rule::Standard;

fn survey<'de, F: Binary>(payload: &'de [u8], seen: &mut Seen<'de>) -> Result<(), String> {
    F::read(Envelope::<IgnoredAny, Direct>::new(&Expected::ANYTHING, RULE, seen), payload).map(drop)
}
