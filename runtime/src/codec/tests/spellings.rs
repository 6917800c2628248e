//! How other programs spell what an envelope says beside its data: versions, times, headers.

use serde_json::json;

use crate::codec::loose::{Loose, Said, millis_of_integer};

use super::*;

fn loose(json: &str) -> Loose<'_> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_version_is_a_whole_number_or_what_begins_with_one() {
    for (spelling, version) in [("1", 1), ("2.9", 2), ("\"3\"", 3), ("\"4.5.6\"", 4), ("0.0", 0), ("1e3", 1_000)] {
        assert_eq!(loose(spelling).version(), Said::This(version), "{spelling}");
    }
    for spelling in ["-1", "-0.5", "1e300", "\"v1\"", "\"\"", "true", "[1]", "{}", "\"-1\""] {
        assert_eq!(loose(spelling).version(), Said::Odd, "{spelling}");
    }
    assert_eq!(loose("null").version(), Said::Nothing);
}

#[test]
fn the_time_left_is_in_milliseconds_and_the_most_at_most() {
    let most = i32::MAX as u32;
    for (spelling, millis) in [
        ("0", 0),
        ("7", 7),
        ("7.9", 7),
        ("0.0", 0),
        ("\"7\"", 7),
        ("\" 7\\n\"", 7),
        ("99999999999999999999", most),
        ("1e300", most),
    ] {
        assert_eq!(loose(spelling).time_left(), Said::This(millis), "{spelling}");
    }
    for spelling in ["-1", "-0.5", "\"7.9\"", "\"soon\"", "true", "[]", "{}"] {
        assert_eq!(loose(spelling).time_left(), Said::Odd, "{spelling}");
    }
    assert_eq!(loose("null").time_left(), Said::Nothing);
    assert_eq!(
        [Loose::Real(f64::NAN).time_left(), Loose::Real(f64::INFINITY).time_left()],
        [Said::Odd, Said::This(most)]
    );
}

#[test]
fn the_unit_of_a_time_is_known_by_its_size() {
    for (number, millis) in [
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (99_999_999_999_999, 99_999_999_999_999),
        (100_000_000_000_000, 100_000_000_000),
        (1_764_079_200_123_456, 1_764_079_200_123),
        (99_999_999_999_999_999, 99_999_999_999_999),
        (100_000_000_000_000_000, 100_000_000_000),
        (1_764_079_200_123_456_789, 1_764_079_200_123),
    ] {
        assert_eq!(millis_of_integer(number), millis);
        assert_eq!(loose(&number.to_string()).timestamp(), Said::This(millis));
    }
    for (spelling, millis) in [
        ("1764079200.123", 1_764_079_200_123),
        ("100000000000.0", 100_000_000_000),
        ("1764079200123.9", 1_764_079_200_123),
    ] {
        assert_eq!(loose(spelling).timestamp(), Said::This(millis), "{spelling}");
    }
    for spelling in ["-1", "-1.5", "1e300", "\"yesterday\"", "true", "{}"] {
        assert_eq!(loose(spelling).timestamp(), Said::Odd, "{spelling}");
    }
}

#[test]
fn a_number_of_any_precision_is_one_and_other_objects_are_none() {
    for (text, number) in
        [("5", Loose::Integer(5)), ("1.5", Loose::Real(1.5)), ("1e400", Loose::Other), ("x", Loose::Other)]
    {
        assert_eq!(loose(&json!({"$serde_json::private::Number": text}).to_string()), number, "{text}");
    }
    for other in [r#"{"$serde_json::private::Number":5}"#, r#"{"Number":"5"}"#, r#"{"a":"b"}"#, "{}", "[]"] {
        assert_eq!(loose(other), Loose::Other, "{other}");
    }
}

#[test]
fn what_is_told_of_a_message_is_told_of_each_member() {
    assert!(Inbound::new().is_nothing());
    let said = [
        Inbound::new().id("a"),
        Inbound::new().timestamp(0),
        Inbound::new().version(0),
        Inbound::new().headers(Headers::from_iter([("a", "")])),
        Inbound::new().correlation_id(""),
        Inbound::new().reply_to(""),
        Inbound::new().time_left(0),
        Inbound::new().unreadable(1),
    ];
    let of_each = said.each_ref().map(|inbound| {
        let Inbound { id, timestamp, version, headers, correlation_id, reply_to, time_left, unreadable } = inbound;
        let texts = [id, correlation_id, reply_to].map(Option::is_some);
        let others =
            [timestamp.is_some(), version.is_some(), !headers.is_empty(), time_left.is_some(), *unreadable > 0];
        texts.into_iter().chain(others).filter(|is_there| *is_there).count()
    });
    assert_eq!(of_each, [1; 8]);
    assert!(said.iter().all(|inbound| !inbound.is_nothing()));
}

/// A codec of a user's own.
struct Own;

impl Codec for Own {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Json::encode(outbound, message, payload)
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

#[test]
fn a_codec_of_ones_own_has_no_slot_and_carries_the_context() {
    let headers = Headers::default();
    let outbound = outbound(&headers, Some(Exchange::new("c").time_left(1)));
    let mut payload = Vec::new();
    assert_eq!(Own::encode_with_slot(&outbound, &true, &mut payload), Ok(None));
    assert_eq!(Own::metadata(&EXPECTED, &payload).unwrap().time_left, Some(1));
    assert!(Own::carries_context(&outbound));
    let mut inbound = None;
    assert_eq!(Own::decode_beside(&EXPECTED, &payload, &mut inbound), Ok(true));
    assert_eq!(inbound.unwrap().correlation_id.as_deref(), Some("c"));
}

/// A bus's format is its codec, whatever is asked of it.
fn is_what_the_bus_says<C: Codec>(format: Format) {
    let (none, some) = (Headers::default(), Headers::from_iter([("a", "b")]));
    for (headers, exchange) in [
        (&none, None),
        (&some, None),
        (&none, Some(Exchange::new("c").time_left(1))),
        (&some, Some(Exchange::new("c"))),
    ] {
        let outbound = Outbound { format, ..outbound(headers, exchange) };
        let (mut by_bus, mut by_codec) = (Vec::new(), Vec::new());
        assert_eq!(ByBus::carries_context(&outbound), C::carries_context(&outbound), "{format:?}");
        let slots = (
            ByBus::encode_with_slot(&outbound, &true, &mut by_bus),
            C::encode_with_slot(&outbound, &true, &mut by_codec),
        );
        assert_eq!((&slots.0, &by_bus), (&slots.1, &by_codec), "{format:?}");
        let expected = EXPECTED.format(format);
        let metadata = [ByBus::metadata(&expected, &by_bus), C::metadata(&expected, &by_codec)];
        let [by_bus, by_codec] =
            metadata.map(|inbound| inbound.map(|inbound| (inbound.correlation_id, inbound.headers)));
        assert_eq!(by_bus, by_codec, "{format:?}");
        assert_eq!(by_bus.is_some_and(|(id, _)| id.is_some()), exchange.is_some(), "{format:?}");
    }
}

#[test]
fn a_bus_chooses_among_the_codecs() {
    is_what_the_bus_says::<Json>(Format::Envelope);
    is_what_the_bus_says::<Plain>(Format::Plain);
    is_what_the_bus_says::<CloudEvents>(Format::CloudEvents);
    is_what_the_bus_says::<RedisToolkit>(Format::RedisToolkit);
    #[cfg(feature = "messagepack")]
    is_what_the_bus_says::<MessagePack>(Format::MessagePack);
    #[cfg(feature = "cbor")]
    is_what_the_bus_says::<Cbor>(Format::Cbor);
}

#[test]
fn a_context_is_carried_where_there_are_headers() {
    let (none, some) = (Headers::default(), Headers::from_iter([("a", "b")]));
    let exchange = Some(Exchange::new("c"));
    let carries = [(&none, None), (&some, None), (&none, exchange), (&some, exchange)]
        .map(|(headers, exchange)| RedisToolkit::carries_context(&outbound(headers, exchange)));
    assert_eq!(carries, [false, true, true, true]);
    assert!(CloudEvents::carries_context(&outbound(&none, None)));
}
