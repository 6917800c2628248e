//! The standard envelope as JSON, and plain JSON.
//!
//! An object with `data`, and as texts `id` and `type`, is the envelope, in whatever order; anything else is read as the message alone, so that
//! `redis-cli publish` and other languages just work. A message that is declared plain is read as an envelope only if `correlation_id` or
//! `reply_to` is there too, as it is sent in one only then.

use std::sync::LazyLock;

use memchr::{
    memchr,
    memmem::{self, Finder},
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess},
};
use serde_json::value::RawValue;

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{Data, Direct, Envelope, Reading, Rule, Seen, open},
    headers::LooseHeaders,
    located::{self, Reads},
    loose::Loose,
    slot::Slot,
    words,
};

/// JSON in the standard envelope. The message alone is understood too.
#[derive(Clone, Copy, Debug)]
pub struct Json;

/// JSON, the message alone. The standard envelope is understood too, where it has `correlation_id` or `reply_to`.
///
/// A plain message carries no headers: setting one is an error. Requests and acknowledged publishes are sent in the standard envelope, because a
/// plain message could not say where the answer goes. A message that looks like such an envelope itself is refused when it is published.
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
        write_envelope(outbound, message, payload)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        located::decode(Reads::Envelope(Rule::Standard), expected, payload)
    }

    fn decode_beside<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
        inbound: &mut Option<Inbound<'de>>,
    ) -> Result<T, DecodeError> {
        located::decode_beside(Reads::Envelope(Rule::Standard), expected, payload, inbound)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        metadata_of_text(Rule::Standard, text(payload).ok()?)
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
        encode_plain(Rule::OnlyExchanges, outbound, message, payload)
    }

    /// A plain message has a place for headers only where it travels in the envelope.
    fn carries_context(outbound: &Outbound<'_>) -> bool {
        outbound.exchange.is_some()
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        located::decode(Reads::Envelope(Rule::OnlyExchanges), expected, payload)
    }

    fn decode_beside<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
        inbound: &mut Option<Inbound<'de>>,
    ) -> Result<T, DecodeError> {
        located::decode_beside(Reads::Envelope(Rule::OnlyExchanges), expected, payload, inbound)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        metadata_of_text(Rule::OnlyExchanges, text(payload).ok()?)
    }
}

/// Writes the message alone where nobody waits for an answer, for receivers that tell it from an envelope by this rule.
pub(super) fn encode_plain<T: Serialize>(
    rule: Rule,
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
    let start = payload.len();
    serde_json::to_writer(&mut *payload, message).map_err(|error| error.to_string())?;
    refuse_envelope(rule, &payload[start..]).map(|()| None)
}

/// Refuses a message alone that would be read as an envelope.
pub(super) fn refuse_envelope(rule: Rule, payload: &[u8]) -> Result<(), String> {
    if !may_be_envelope(rule, payload) || text(payload).map_or(true, |text| metadata_of_text(rule, text).is_none()) {
        return Ok(());
    }
    Err("the message alone would be read as an envelope, as it has `data`, and texts as `id` and `type`: rename one of these members, or \
         publish it in the envelope (`#[message(format = \"envelope\")]`)"
        .to_owned())
}

/// A payload as text.
#[inline]
pub(super) fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    str::from_utf8(payload).map_err(|error| DecodeError::Invalid(error.to_string()))
}

/// The data of the standard envelope, where there is one, in whatever order its members are.
pub(super) fn data_of_envelope<'de>(
    expected: &Expected,
    rule: Rule,
    text: &'de str,
) -> Option<Result<(&'de RawValue, Inbound<'de>), DecodeError>> {
    open(
        expected,
        rule,
        |seen| read::<&RawValue, Direct>(expected, rule, text, seen),
        |seen| survey(rule, text, seen),
        || whole(text, Data::new()),
    )
}

/// The metadata of the standard envelope, where there is one.
pub(super) fn metadata_of_text(rule: Rule, text: &str) -> Option<Inbound<'_>> {
    if !may_be_envelope(rule, text.as_bytes()) {
        return None;
    }
    let mut seen = Seen::default();
    if read::<IgnoredAny, Direct>(&Expected::ANYTHING, rule, text, &mut seen).is_err() {
        seen = Seen::default();
        survey(rule, text, &mut seen).ok()?;
    }
    seen.is_envelope(rule).then(|| seen.into_inbound())
}

/// Reads a value.
pub(super) fn value<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| DecodeError::Invalid(words::of_json(&error)))
}

pub(super) fn write_envelope<T: Serialize>(
    outbound: &Outbound<'_>,
    message: &T,
    payload: &mut Vec<u8>,
) -> Result<Option<Slot>, String> {
    outbound.headers.within_limit()?;
    write_members(outbound, message, payload).map_err(|error| error.to_string())
}

fn write_members<T: Serialize>(
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

/// Whether the text could be an envelope: a cheap look that spares plain messages the pass over their members.
pub(super) fn may_be_envelope(rule: Rule, payload: &[u8]) -> bool {
    let Some(members) = payload.trim_ascii_start().strip_prefix(b"{") else { return false };
    if members.len() < SHORTEST {
        return false;
    }
    if rule == Rule::Standard && begins_as_ours(members) {
        return true;
    }
    // Most messages have no such member as the first, so they are looked through once.
    let has = |name: &Finder<'_>| name.find(members).is_some();
    let has_members = has(&NAMES.data)
        && has(&NAMES.of_type)
        && has(&NAMES.id)
        && (rule == Rule::Standard || has(&NAMES.correlation_id) || has(&NAMES.reply_to));
    has_members || has_escaped_names(members)
}

/// Bytes of the shortest envelope, behind its brace.
pub(super) const SHORTEST: usize = br#""id":"","type":"","data":0}"#.len();

/// The names of members in their quotation marks, ready to be searched for.
struct Names {
    data: Finder<'static>,
    of_type: Finder<'static>,
    id: Finder<'static>,
    correlation_id: Finder<'static>,
    reply_to: Finder<'static>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    data: Finder::new("\"data\""),
    of_type: Finder::new("\"type\""),
    id: Finder::new("\"id\""),
    correlation_id: Finder::new("\"correlation_id\""),
    reply_to: Finder::new("\"reply_to\""),
});

/// Whether the members begin with `id` and `type`, written as we do.
fn begins_as_ours(members: &[u8]) -> bool {
    let Some(rest) = members.strip_prefix(b"\"id\":\"") else { return false };
    memchr(b'"', rest).is_some_and(|end| rest[end + 1..].starts_with(b",\"type\":\""))
}

/// Whether a letter of a member's name may be written as an escape.
pub(super) fn has_escaped_names(text: &[u8]) -> bool {
    memchr(b'\\', text).is_some_and(|first| {
        let text = &text[first..];
        [b"\\u005", b"\\u006", b"\\u007"].iter().any(|escape| memmem::find(text, *escape).is_some())
    })
}

/// Reads the members of an envelope, and its data where it is known to be one.
fn read<'de, T: Deserialize<'de>, R: Reading>(
    expected: &Expected,
    rule: Rule,
    text: &'de str,
    seen: &mut Seen<'de>,
) -> Result<Option<T>, String> {
    whole(text, Envelope::<T, R>::new(expected, rule, seen))
}

fn survey<'de>(rule: Rule, text: &'de str, seen: &mut Seen<'de>) -> Result<(), String> {
    read::<IgnoredAny, Apart>(&Expected::ANYTHING, rule, text, seen).map(drop)
}

/// Reads the whole of a text.
pub(super) fn whole<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, String> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    value.map_err(|error| words::of_json(&error))
}

/// Each value apart from the others, so that one which nothing can hold (`1e400`, half of a surrogate pair) is odd, and the rest is still read.
pub(super) enum Apart {}

impl Reading for Apart {
    fn value<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Loose<'de>, A::Error> {
        let value = members.next_value::<&RawValue>()?.get();
        let broken = if value.starts_with('"') { Loose::BrokenText } else { Loose::Other };
        Ok(serde_json::from_str(value).unwrap_or(broken))
    }

    fn headers<'de, A: MapAccess<'de>>(members: &mut A) -> Result<LooseHeaders, A::Error> {
        let value = members.next_value::<&RawValue>()?.get();
        Ok(serde_json::from_str(value).unwrap_or_else(|_| LooseHeaders::unreadable()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::codec::{
        by_bus::ByBus,
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
    fn the_shortest_envelope_is_one_in_any_order() {
        for members in
            [r#""id":"","type":"","data":7"#, r#""type":"","id":"","data":7"#, r#""data":7,"type":"","id":"""#]
        {
            let text = format!("{{{members}}}");
            let (number, _) = Json::decode::<u8>(&Expected::new("", 1), text.as_bytes()).unwrap();
            assert_eq!(number, 7, "{text}");
        }
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
    fn a_place_for_metadata_stays_empty_where_there_is_none() {
        fn said<C: Codec>(format: Format, payload: &str) -> Option<Option<String>> {
            let mut inbound = None;
            let read = C::decode_beside(&EXPECTED.format(format), payload.as_bytes(), &mut inbound);
            assert_eq!(read, Ok(order()));
            inbound.map(|inbound| inbound.id.map(Into::into))
        }

        let alone = r#"{"id":7,"customer":"Ada"}"#;
        let envelope = format!(r#"{{"id":"a","type":"Order","timestamp":1,"version":1,"data":{alone}}}"#);
        let unordered = format!(r#"{{"data":{alone},"type":"Order","id":"a"}}"#);
        for payload in [&envelope, &unordered] {
            let id = Some(Some("a".to_owned()));
            assert_eq!(
                [said::<Json>(Format::Envelope, payload), said::<ByBus>(Format::Plain, payload)],
                [id.clone(), id]
            );
        }
        assert_eq!([said::<Json>(Format::Envelope, alone), said::<Plain>(Format::Envelope, alone)], [None, None]);
        assert_eq!([Format::Envelope, Format::Plain].map(|format| said::<ByBus>(format, alone)), [None, None]);
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
