//! The standard envelope as JSON, and plain JSON.
//!
//! A payload is an envelope when it is an object that starts with one of the envelope's members and has the members `id`
//! (a string), `type` and `data`. Anything else is read as the message alone, so that `redis-cli publish` and other languages
//! just work. An envelope is read in one pass, `data` in place.

use std::marker::PhantomData;

use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{Envelope, Seen},
    slot::Slot,
};

/// JSON in the standard envelope. The message alone is understood too.
#[derive(Clone, Copy, Debug)]
pub struct Json;

/// JSON, the message alone. The standard envelope is understood too.
///
/// A plain message carries no headers: setting one is an error. Requests and acknowledged publishes are sent in the standard envelope, because a
/// plain message could not say where the answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Codec for Json {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        write_envelope(outbound, message, payload).map_err(|error| error.to_string())
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        // One check of the whole payload lets the parser borrow and skip the check of each string.
        decode_text(expected, text(payload)?)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        let mut seen = Seen::default();
        let seed = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
        seed.deserialize(&mut serde_json::Deserializer::from_str(text(payload).ok()?)).ok()?;
        Some(seen.inbound)
    }
}

impl Codec for Plain {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        if outbound.exchange.is_some() {
            return Json::encode_with_slot(outbound, message, payload);
        }
        if !outbound.headers.is_empty() {
            return Err("a plain message carries no headers; publish it in the envelope".to_owned());
        }
        serde_json::to_writer(payload, message).map_err(|error| error.to_string())?;
        Ok(None)
    }

    /// A plain message has a place for headers only where it travels in the envelope.
    fn carries_context(outbound: &Outbound<'_>) -> bool {
        outbound.exchange.is_some()
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        Json::decode(expected, payload)
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        Json::metadata(expected, payload)
    }
}

/// A payload as text.
pub(super) fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    str::from_utf8(payload).map_err(|error| DecodeError::Invalid(error.to_string()))
}

/// Reads the standard envelope, or else the message alone.
pub(super) fn decode_text<'de, T: Deserialize<'de>>(
    expected: &Expected,
    text: &'de str,
) -> Result<(T, Inbound<'de>), DecodeError> {
    if may_be_envelope(text.as_bytes())
        && let Some(result) = decode_envelope(expected, text)
    {
        return result;
    }
    Ok((value(text)?, Inbound::default()))
}

/// Reads a value.
pub(super) fn value<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| DecodeError::Invalid(error.to_string()))
}

pub(super) fn write_envelope<T: Serialize>(
    outbound: &Outbound<'_>,
    message: &T,
    payload: &mut Vec<u8>,
) -> Result<Option<Slot>, serde_json::Error> {
    let mut slot = None;
    // `type` and `version` come before `data`, so that a receiver refuses before it decodes.
    payload.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *payload, outbound.id)?;
    payload.extend_from_slice(b",\"type\":");
    serde_json::to_writer(&mut *payload, outbound.name)?;
    payload.extend_from_slice(b",\"timestamp\":");
    payload.extend_from_slice(itoa::Buffer::new().format(outbound.timestamp).as_bytes());
    payload.extend_from_slice(b",\"version\":");
    payload.extend_from_slice(itoa::Buffer::new().format(outbound.version).as_bytes());
    if !outbound.headers.is_empty() {
        payload.extend_from_slice(b",\"headers\":");
        serde_json::to_writer(&mut *payload, outbound.headers)?;
    }
    if let Some(exchange) = outbound.exchange {
        payload.extend_from_slice(b",\"correlation_id\":");
        serde_json::to_writer(&mut *payload, exchange.correlation_id)?;
        if let Some(reply_to) = exchange.reply_to {
            payload.extend_from_slice(b",\"reply_to\":");
            serde_json::to_writer(&mut *payload, reply_to)?;
        }
        if let Some(millis) = exchange.time_left {
            payload.extend_from_slice(b",\"time_left\":");
            slot = Some(Slot::append_decimal(payload, millis));
        }
    }
    payload.extend_from_slice(b",\"data\":");
    serde_json::to_writer(&mut *payload, message)?;
    payload.push(b'}');
    Ok(slot)
}

/// Whether the first member could be an envelope's: a cheap look that spares most plain messages the first pass.
fn may_be_envelope(payload: &[u8]) -> bool {
    let Some(rest) = payload.trim_ascii_start().strip_prefix(b"{") else { return false };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"\"") else { return false };
    let Some(end) = rest.iter().take(MEMBER_MAX + 1).position(|&byte| byte == b'"') else { return false };
    match &rest[..end] {
        b"id" => {
            let value = rest[end + 1..].trim_ascii_start().strip_prefix(b":").unwrap_or_default();
            value.trim_ascii_start().starts_with(b"\"")
        }
        b"type" | b"timestamp" | b"version" | b"headers" | b"data" => true,
        _ => false,
    }
}

/// Bytes of the longest member that an envelope may start with.
const MEMBER_MAX: usize = "timestamp".len();

/// `None` when the payload is no envelope after all.
fn decode_envelope<'de, T: Deserialize<'de>>(
    expected: &Expected,
    text: &'de str,
) -> Option<Result<(T, Inbound<'de>), DecodeError>> {
    let mut seen = Seen::default();
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = Envelope { expected, seen: &mut seen, message: PhantomData::<T> };
    let message = seed.deserialize(&mut parser).and_then(|message| parser.end().map(|()| message));
    if let Some(refusal) = seen.refusal.take().filter(|_| seen.is_envelope()) {
        return Some(Err(refusal));
    }
    match message {
        Ok(Some(message)) if seen.is_envelope() => Some(Ok((message, seen.inbound))),
        Err(error) if seen.is_envelope() => Some(Err(DecodeError::Invalid(error.to_string()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::codec::{
        contract::{Exchange, Format},
        headers::Headers,
    };

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order {
        id: u64,
        customer: String,
    }

    const EXPECTED: Expected = Expected::new("Order", 2);

    fn decode(payload: &str) -> Result<(Order, Inbound<'_>), DecodeError> {
        Json::decode(&EXPECTED, payload.as_bytes())
    }

    fn order() -> Order {
        Order { id: 7, customer: "Ada".to_owned() }
    }

    #[test]
    fn an_envelope_comes_back_whole() {
        let headers = Headers::from_iter([("trace", "a\"b")]);
        let exchange = Exchange { correlation_id: "c-1", reply_to: Some("answers"), time_left: Some(5_123) };
        let outbound = Outbound {
            format: Format::Envelope,
            source: "test",
            name: "Order",
            version: 2,
            id: "x-1",
            timestamp: 1_700_000_000_123,
            headers: &headers,
            exchange: Some(exchange),
        };
        let mut payload = Vec::new();
        Json::encode(&outbound, &order(), &mut payload).unwrap();
        let (message, inbound): (Order, _) = Json::decode(&EXPECTED, &payload).unwrap();
        assert_eq!(message, order());
        assert_eq!(inbound.id.as_deref(), Some("x-1"));
        assert_eq!(inbound.timestamp, Some(1_700_000_000_123));
        assert_eq!(inbound.version, Some(2));
        assert_eq!(inbound.headers, headers);
        assert_eq!(inbound.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(inbound.reply_to.as_deref(), Some("answers"));
        assert_eq!(inbound.time_left, Some(5_123));
    }

    #[test]
    fn members_may_come_in_any_order_and_unknown_ones_are_passed_over() {
        let (message, inbound) = decode(
            r#"{"data":{"id":7,"customer":"Ada"},"extra":[1,{"data":2}],"version":"1.0","type":"Order","timestamp":1700000000.5,"id":"a\nb"}"#,
        )
        .unwrap();
        assert_eq!(message, order());
        assert_eq!(inbound.id.as_deref(), Some("a\nb"));
        assert_eq!(inbound.timestamp, Some(1_700_000_000_500));
    }

    #[test]
    fn a_plain_message_is_understood() {
        for payload in [r#"{"id":7,"customer":"Ada"}"#, r#" { "customer" : "Ada", "id" : 7, "type": "x", "data": 1 }"#]
        {
            let (message, inbound) = decode(payload).unwrap();
            assert_eq!(message, order());
            assert_eq!(inbound.id, None);
        }
    }

    #[test]
    fn a_plain_message_may_have_members_that_an_envelope_has() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "type", content = "data", rename_all = "snake_case")]
        enum Event {
            Join(String),
        }

        let (event, _): (Event, _) = Json::decode(&EXPECTED, br#"{"type":"join","data":"Ada"}"#).unwrap();
        assert_eq!(event, Event::Join("Ada".to_owned()));
    }

    #[test]
    fn another_type_is_refused_wherever_it_stands() {
        for payload in [
            r#"{"id":"a","type":"Invoice","data":{"id":7,"customer":"Ada"}}"#,
            r#"{"data":{"id":7,"customer":"Ada"},"id":"a","type":"Invoice"}"#,
            r#"{"id":"a","type":"Invoice","data":[]}"#,
        ] {
            assert_eq!(decode(payload).unwrap_err(), DecodeError::WrongType("Invoice".to_owned()), "{payload}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_and_an_older_one_is_not() {
        let newer = r#"{"id":"a","type":"Order","version":3,"data":{"renamed":1}}"#;
        assert_eq!(decode(newer).unwrap_err(), DecodeError::NewerVersion(3));
        assert!(decode(r#"{"id":"a","type":"Order","version":1,"data":{"id":7,"customer":"Ada"}}"#).is_ok());
    }

    #[test]
    fn garbage_is_an_error() {
        let deep = "[".repeat(100_000);
        for payload in [
            "",
            "{",
            "null",
            "{\"id\":\"a\",\"type\":\"Order\",\"data\":{\"id\":\"x\"}}",
            "{\"id\":\"a\",\"id\":\"b\",\"type\":\"Order\",\"data\":{\"id\":7,\"customer\":\"Ada\"}}",
            "{\"id\":\"a\",\"type\":\"Order\"}",
            deep.as_str(),
        ] {
            assert!(matches!(decode(payload), Err(DecodeError::Invalid(_))), "{payload:.60}");
        }
        assert!(matches!(Json::decode::<Order>(&EXPECTED, b"\xff\xfe"), Err(DecodeError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Json::decode::<Order>(&EXPECTED, &payload);
        }

        #[test]
        fn no_mutilated_envelope_panics(cut in 0usize..90, byte in any::<u8>()) {
            let mut payload = br#"{"id":"a","type":"Order","timestamp":1,"version":1,"data":{"id":7,"customer":"Ada"}}"#.to_vec();
            let at = cut % payload.len();
            payload[at] = byte;
            let _ = Json::decode::<Order>(&EXPECTED, &payload);
            payload.truncate(at);
            prop_assert!(Json::decode::<Order>(&EXPECTED, &payload).is_err());
        }
    }
}
