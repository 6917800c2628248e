//! What is the envelope and what is the message: in any order of members, with odd metadata, in every format.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

/// All of its members may be absent, so whatever is read as it is found out only by its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Patch {
    name: Option<String>,
    count: Option<u64>,
}

fn patch() -> Patch {
    Patch { name: Some("Ada".to_owned()), count: None }
}

const EXPECTED: Expected = Expected::new("Patch", 1);

/// Writes a map in the order of its entries, as another program would.
type Write = fn(&[(&str, Value)]) -> Vec<u8>;

struct Ordered<'a>(&'a [(&'a str, Value)]);

impl Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn write_json(members: &[(&str, Value)]) -> Vec<u8> {
    serde_json::to_vec(&Ordered(members)).unwrap()
}

fn write_toolkit(members: &[(&str, Value)]) -> Vec<u8> {
    format!(r#"{{"__type__":"dict","__data__":{}}}"#, String::from_utf8(write_json(members)).unwrap()).into_bytes()
}

#[cfg(feature = "messagepack")]
fn write_messagepack(members: &[(&str, Value)]) -> Vec<u8> {
    rmp_serde::to_vec_named(&Ordered(members)).unwrap()
}

#[cfg(feature = "cbor")]
fn write_cbor(members: &[(&str, Value)]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut serializer = minicbor_serde::Serializer::new(&mut payload);
    Ordered(members).serialize(serializer.serialize_unit_as_null(true)).unwrap();
    payload
}

type Decode = for<'de> fn(&Expected, &'de [u8]) -> Result<(Patch, Inbound<'de>), DecodeError>;
type Metadata = for<'de> fn(&Expected, &'de [u8]) -> Option<Inbound<'de>>;

fn read<'de, C: Codec>(expected: &Expected, payload: &'de [u8]) -> Result<(Patch, Inbound<'de>), DecodeError> {
    C::decode(expected, payload)
}

fn metadata<'de, C: Codec>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
    C::metadata(expected, payload)
}

/// How other programs write each format, and how it is read here.
fn formats() -> Vec<(&'static str, Write, Decode, Metadata)> {
    vec![
        ("json", write_json, read::<Json>, metadata::<Json>),
        ("cloud events", write_json, read::<CloudEvents>, metadata::<CloudEvents>),
        ("redis-toolkit", write_toolkit, read::<RedisToolkit>, metadata::<RedisToolkit>),
        ("redis-toolkit, bare", write_json, read::<RedisToolkit>, metadata::<RedisToolkit>),
        #[cfg(feature = "messagepack")]
        ("messagepack", write_messagepack, read::<MessagePack>, metadata::<MessagePack>),
        #[cfg(feature = "cbor")]
        ("cbor", write_cbor, read::<Cbor>, metadata::<Cbor>),
    ]
}

fn envelope() -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!("a")),
        ("type", json!("Patch")),
        ("timestamp", json!(1_764_079_200_123_u64)),
        ("version", json!(1)),
        ("headers", json!({"h": "x"})),
        ("correlation_id", json!("c")),
        ("reply_to", json!("answers")),
        ("time_left", json!(1_500)),
        ("data", json!({"name": "Ada"})),
        ("own", json!([1, {"data": 2}])),
    ]
}

proptest! {
    #[test]
    fn an_envelope_is_read_in_any_order(members in Just(envelope()).prop_shuffle()) {
        for (format, write, decode, metadata) in formats() {
            let payload = write(&members);
            let (message, inbound) = decode(&EXPECTED, &payload).unwrap();
            prop_assert_eq!(&message, &patch(), "{}", format);
            for inbound in [inbound, metadata(&EXPECTED, &payload).unwrap()] {
                prop_assert_eq!(inbound.id.as_deref(), Some("a"), "{}", format);
                prop_assert_eq!(inbound.timestamp, Some(1_764_079_200_123));
                prop_assert_eq!(inbound.version, Some(1));
                prop_assert_eq!(&inbound.headers, &Headers::from_iter([("h", "x")]));
                prop_assert_eq!(inbound.correlation_id.as_deref(), Some("c"));
                prop_assert_eq!(inbound.reply_to.as_deref(), Some("answers"));
                prop_assert_eq!((inbound.time_left, inbound.unreadable), (Some(1_500), 0));
            }
        }
    }

    /// Whatever else an envelope has, in whatever order, it is its data that is read, or nothing.
    #[test]
    fn odd_metadata_is_absent_and_counted(
        odd in prop::collection::vec((0..7_usize, 0..8_usize), 1..4),
        order in Just((0..13).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let places = ["timestamp", "version", "headers", "correlation_id", "reply_to", "time_left", "id"];
        let values = [
            json!({"seconds": 1, "nanos": 5}), json!([1, [2]]), json!(true), json!(-5.5), json!({"a": {"b": {}}}), json!([]),
            json!([{"$serde_json::private::Number": {}}]), json!({"": null}),
        ];
        let mut members: Vec<_> = envelope().into_iter().filter(|(name, _)| !odd.iter().any(|(at, _)| places[*at] == *name)).collect();
        for (at, value) in &odd {
            let value = if places[*at] == "headers" { json!(["x", value]) } else { values[*value].clone() };
            members.push((places[*at], value));
        }
        let has_id = members.iter().any(|(name, value)| *name == "id" && value.is_string());
        if !has_id {
            members.push(("id", json!("a")));
        }
        members.sort_by_key(|(name, value)| order[(name.len() * 7 + value.to_string().len()) % order.len()]);
        for (format, write, decode, _) in formats() {
            let payload = write(&members);
            let (message, inbound) = decode(&EXPECTED, &payload).unwrap();
            prop_assert_eq!(&message, &patch(), "{}", format);
            prop_assert!(inbound.unreadable > 0, "{}: {:?}", format, inbound);
            for (at, _) in &odd {
                let is_absent = match places[*at] {
                    "timestamp" => inbound.timestamp.is_none(),
                    "version" => inbound.version.is_none(),
                    "headers" => inbound.headers.is_empty(),
                    "correlation_id" => inbound.correlation_id.is_none(),
                    "reply_to" => inbound.reply_to.is_none(),
                    "time_left" => inbound.time_left.is_none(),
                    _ => inbound.id.is_none(),
                };
                prop_assert!(is_absent, "{} {}", format, places[*at]);
            }
        }
    }

    /// What is published alone comes back as it was, or is refused when it is published.
    #[test]
    fn a_plain_message_comes_back_or_is_refused(
        names in prop::sample::subsequence(vec!["id", "type", "data", "correlation_id", "reply_to", "headers", "name"], 0..=7),
        values in prop::collection::vec(0..6_usize, 7),
    ) {
        let value = |at: usize| [json!("a"), json!(7), json!(null), json!({"name": "b"}), json!("\u{e9}\"data\""), json!([])][values[at]].clone();
        let message: Map<String, Value> = names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), value(at))).collect();
        let is_text = |name: &str| message.get(name).is_some_and(Value::is_string);
        let is_there = |name: &str| message.get(name).is_some_and(|value| !value.is_null());
        let standard = message.contains_key("data") && is_text("id") && is_text("type");
        let of_exchange = standard && (is_there("correlation_id") || is_there("reply_to"));
        let message = Value::Object(message);
        comes_back::<Plain>(&message, of_exchange, Format::Plain)?;
        comes_back::<RedisToolkit>(&message, standard, Format::RedisToolkit)?;
        for (format, refused) in [(Format::Plain, standard), (Format::RedisToolkit, standard), (Format::Envelope, false), (Format::CloudEvents, false)] {
            comes_back::<ByBus>(&message, refused, format)?;
        }
    }
}

fn comes_back<C: Codec>(message: &Value, is_refused: bool, format: Format) -> Result<(), TestCaseError> {
    let outbound = Outbound::new("Any", "id-1").format(format);
    let mut payload = Vec::new();
    match C::encode(&outbound, message, &mut payload) {
        Err(reason) => prop_assert!(is_refused && reason.contains("rename"), "{}: {}", message, reason),
        Ok(()) => {
            prop_assert!(!is_refused, "{}", message);
            let expected = Expected::new("Any", 1).format(format);
            let (read, inbound) = C::decode::<Value>(&expected, &payload).unwrap();
            prop_assert_eq!(&read, message);
            if format == Format::Plain {
                prop_assert_eq!((inbound.id, inbound.reply_to, inbound.correlation_id), (None, None, None));
                prop_assert!(C::metadata(&expected, &payload).is_none());
            }
        }
    }
    Ok(())
}

#[test]
fn messages_that_look_like_an_envelope_are_refused_whatever_makes_them_so() {
    #[derive(Serialize)]
    #[serde(tag = "type", content = "data")]
    enum Tagged {
        Joined { room: u64 },
    }

    #[derive(Serialize)]
    struct Flat {
        reply_to: String,
        #[serde(flatten)]
        event: Tagged,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    let flat = |id: Value| Flat {
        reply_to: "x".to_owned(),
        event: Tagged::Joined { room: 1 },
        rest: BTreeMap::from([("id".to_owned(), id)]),
    };
    let outbound = Outbound::new("Flat", "id-1");
    assert!(Plain::encode(&outbound, &flat(json!("a")), &mut Vec::new()).is_err());
    assert!(Plain::encode(&outbound, &flat(json!(1)), &mut Vec::new()).is_ok());
    assert!(RedisToolkit::encode(&outbound, &flat(json!("a")), &mut Vec::new()).is_err());
    assert!(Json::encode(&outbound, &flat(json!("a")), &mut Vec::new()).is_ok());
}

#[test]
fn what_lacks_a_member_is_the_message_and_its_metadata_is_nobodys() {
    for missing in ["id", "type", "data"] {
        let mut members: Vec<_> = envelope().into_iter().filter(|(name, _)| *name != missing).collect();
        members.push(("name", json!("Eve")));
        for (format, write, decode, metadata) in formats() {
            let payload = write(&members);
            let (message, inbound) = decode(&EXPECTED, &payload).unwrap();
            assert_eq!(message.name.as_deref(), Some("Eve"), "{format} {missing}");
            assert_eq!((inbound.reply_to, inbound.correlation_id, inbound.id), (None, None, None), "{format}");
            assert!(metadata(&EXPECTED, &payload).is_none(), "{format} {missing}");
        }
    }
    // An id or a type that is no text makes no envelope.
    for (name, odd) in [("id", json!(7)), ("id", json!(null)), ("type", json!(["Patch"])), ("type", json!(1))] {
        let members: Vec<_> =
            envelope().into_iter().map(|(own, value)| (own, if own == name { odd.clone() } else { value })).collect();
        for (format, write, decode, metadata) in formats() {
            let payload = write(&members);
            assert_eq!(decode(&EXPECTED, &payload).unwrap().0, Patch::default(), "{format} {name}");
            assert!(metadata(&EXPECTED, &payload).is_none());
        }
    }
}

#[test]
fn what_is_declared_plain_is_an_envelope_only_with_an_exchange() {
    for (members, is_envelope) in [
        (r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"name":"Eve"}"#, false),
        (r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"name":"Eve","reply_to":null}"#, false),
        (r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"name":"Eve","reply_to":"x"}"#, true),
        (r#"{"data":{"name":"Ada"},"correlation_id":"x","name":"Eve","type":"Patch","id":"a"}"#, true),
    ] {
        let (message, inbound) = Plain::decode::<Patch>(&EXPECTED, members.as_bytes()).unwrap();
        assert_eq!(
            (message.name.as_deref(), inbound.id.is_some()),
            (Some(if is_envelope { "Ada" } else { "Eve" }), is_envelope)
        );
        assert_eq!(Plain::metadata(&EXPECTED, members.as_bytes()).is_some(), is_envelope);
        let (message, _) = ByBus::decode::<Patch>(&EXPECTED.format(Format::Plain), members.as_bytes()).unwrap();
        assert_eq!(message.name.as_deref(), Some("Ada"));
    }
}

#[test]
fn members_that_come_twice() {
    for (more, is_absent) in [
        (r#""id":"b""#, (|inbound| inbound.id.is_none()) as fn(&Inbound<'_>) -> bool),
        (r#""id":7"#, |inbound| inbound.id.is_none()),
        (r#""reply_to":"mallory""#, |inbound| inbound.reply_to.is_none()),
        (r#""correlation_id":"d""#, |inbound| inbound.correlation_id.is_none()),
        (r#""timestamp":1"#, |inbound| inbound.timestamp.is_none()),
        (r#""headers":{}"#, |inbound| inbound.headers.is_empty()),
    ] {
        let members = String::from_utf8(write_json(&envelope())).unwrap();
        for payload in
            [members.replacen('{', &format!("{{{more},"), 1), format!("{},{more}}}", &members[..members.len() - 1])]
        {
            let (message, inbound) = Json::decode::<Patch>(&EXPECTED, payload.as_bytes()).unwrap();
            assert!(message == patch() && inbound.unreadable > 0, "{payload}");
            assert!(is_absent(&inbound), "{payload}");
        }
    }
    for payload in [
        r#"{"data":{"name":"Ada"},"data":{"name":"Eve"},"id":"a","type":"Patch"}"#,
        r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"data":{"name":"Eve"}}"#,
        r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"type":"Patch"}"#,
        r#"{"type":"Invoice","id":"a","data":{"name":"Ada"},"type":"Patch"}"#,
    ] {
        let error = Json::decode::<Patch>(&EXPECTED, payload.as_bytes()).unwrap_err();
        assert!(matches!(&error, DecodeError::Invalid(reason) if reason.contains("two members")), "{error}");
    }
}

#[test]
fn values_that_nothing_can_hold_lose_no_message() {
    for odd in [
        r#""timestamp":1e400"#,
        r#""timestamp":{"$serde_json::private::Number":"x"}"#,
        r#""version":123456789012345678901234567890123456789012345678901234567890"#,
        r#""correlation_id":"\ud800""#,
        r#""headers":{"a":"\ud800"}"#,
        r#""time_left":-1e999"#,
    ] {
        for payload in [
            format!(r#"{{"id":"a","type":"Patch",{odd},"data":{{"name":"Ada"}}}}"#),
            format!(r#"{{"data":{{"name":"Ada"}},{odd},"type":"Patch","id":"a"}}"#),
            format!(r#"{{"id":"a","type":"Patch","data":{{"name":"Ada"}},{odd}}}"#),
        ] {
            let (message, inbound) = Json::decode::<Patch>(&EXPECTED, payload.as_bytes()).unwrap();
            assert_eq!((message, inbound.unreadable), (patch(), 1), "{payload}");
            assert_eq!(Json::metadata(&EXPECTED, payload.as_bytes()).unwrap().unreadable, 1, "{payload}");
        }
    }
    // A name or a data that is broken is no message, and never an empty one.
    for payload in [
        r#"{"id":"a","type":"\ud800","data":{"name":"Ada"}}"#,
        r#"{"id":"a","type":"Patch","\ud800":1,"data":{"name":"Ada"}}"#,
        r#"{"id":"a","type":"Patch","data":{"name":"\ud800"}}"#,
        r#"{"id":"a","type":"Patch","data":{"name":"Ada"}"#,
        r#"{"id":"a","type":"Patch","data":{"name":"Ada"}} x"#,
    ] {
        assert!(
            matches!(Json::decode::<Patch>(&EXPECTED, payload.as_bytes()), Err(DecodeError::Invalid(_))),
            "{payload}"
        );
    }
}

#[test]
fn names_written_with_escapes_are_names() {
    let payload = br#"{"d\u0061ta":{"name":"Ada"},"\u0069d":"a","type":"Patch"}"#;
    assert_eq!(Json::decode::<Patch>(&EXPECTED, payload).unwrap().0, patch());
    let payload = br#"{"data":{"name":"Ada"},"id":"a","type":"Patch","reply\u005Fto":"x"}"#;
    assert_eq!(Plain::decode::<Patch>(&EXPECTED, payload).unwrap().1.reply_to.as_deref(), Some("x"));
}

#[test]
fn a_refusal_does_not_depend_on_the_order() {
    let odd = [("id", json!("a")), ("type", json!("Patch")), ("version", json!(2)), ("data", json!({"name": 7}))];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 3, 2], [2, 3, 0, 1]] {
        let members = order.map(|at| odd[at].clone());
        for (format, write, decode, _) in formats() {
            assert_eq!(
                decode(&EXPECTED, &write(&members)).unwrap_err(),
                DecodeError::NewerVersion(2),
                "{format} {order:?}"
            );
        }
        let members = members.map(|(name, value)| (name, if name == "type" { json!("Invoice") } else { value }));
        for (format, write, decode, _) in formats() {
            let error = decode(&EXPECTED, &write(&members)).unwrap_err();
            assert_eq!(error, DecodeError::WrongType("Invoice".to_owned()), "{format} {order:?}");
        }
    }
}

#[test]
fn more_headers_than_a_message_carries() {
    let headers = |count: usize| Headers::from_iter((0..count).map(|n| (format!("h{n}"), "x")));
    let (most, too_many) = (headers(256), headers(257));
    fn encode<C: Codec>(headers: &Headers) -> Result<Vec<u8>, String> {
        let mut payload = Vec::new();
        C::encode(&Outbound::new("Patch", "a").headers(headers), &patch(), &mut payload).map(|()| payload)
    }
    fn check<C: Codec>(most: &Headers, too_many: &Headers) {
        let payload = encode::<C>(most).unwrap();
        let (_, inbound) = C::decode::<Patch>(&EXPECTED, &payload).unwrap();
        assert_eq!((&inbound.headers, inbound.unreadable), (most, 0));
        let reason = encode::<C>(too_many).unwrap_err();
        assert!(reason.contains("257") && reason.contains("256"), "{reason}");
    }
    check::<Json>(&most, &too_many);
    check::<CloudEvents>(&most, &too_many);
    check::<RedisToolkit>(&most, &too_many);
    #[cfg(feature = "messagepack")]
    check::<MessagePack>(&most, &too_many);
    #[cfg(feature = "cbor")]
    check::<Cbor>(&most, &too_many);
    let members = serde_json::to_value(&too_many).unwrap();
    let payload = write_json(&[
        ("headers", members),
        ("data", json!({"name": "Ada"})),
        ("id", json!("a")),
        ("type", json!("Patch")),
    ]);
    let (message, inbound) = Json::decode::<Patch>(&EXPECTED, &payload).unwrap();
    assert_eq!((message, inbound.headers.is_empty(), inbound.unreadable), (patch(), true, 1));
}

#[cfg(feature = "cbor")]
mod cbor {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample<'a> {
        text: &'a str,
        #[serde(borrow)]
        owned: std::borrow::Cow<'a, str>,
        number: f64,
        count: u64,
        any: Value,
        nothing: Option<u8>,
        note: Note,
        pair: (u8, i8),
        character: char,
        unit: (),
    }

    /// An item as its hexadecimal digits, with texts between bars.
    fn bytes(notation: &str) -> Vec<u8> {
        notation.split('|').enumerate().fold(Vec::new(), |mut bytes, (at, part)| {
            if at % 2 == 1 {
                bytes.extend_from_slice(part.as_bytes());
            } else {
                let digits: Vec<char> = part.chars().filter(|digit| !digit.is_whitespace()).collect();
                bytes.extend(digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()));
            }
            bytes
        })
    }

    fn value<'de, T: Deserialize<'de>>(payload: &'de [u8]) -> Result<T, DecodeError> {
        Cbor::decode(&Expected::new("Any", 1), payload).map(|(value, _)| value)
    }

    fn read<T: serde::de::DeserializeOwned>(notation: &str) -> Result<T, DecodeError> {
        value(&bytes(notation))
    }

    #[test]
    fn what_is_written_comes_back() {
        let sample = Sample {
            text: "a",
            owned: "b\u{e9}".into(),
            number: 9.0,
            count: u64::MAX,
            any: json!({"null": null, "list": [null, {}, [], -1, 0.5, "x"]}),
            nothing: None,
            note: Note::Price { cents: -5, rate: 0.25 },
            pair: (255, -128),
            character: '\u{1f980}',
            unit: (),
        };
        let payload = encoded::<Cbor, _>(&sample);
        let (read, _) = Cbor::decode::<Sample<'_>>(&Expected::new("Order", 2), &payload).unwrap();
        assert_eq!(read, sample);
        assert!(payload.as_ptr_range().contains(&read.text.as_ptr()));
        for value in [json!(null), json!([null]), json!({"a": null})] {
            let payload = encoded::<Cbor, _>(&value);
            assert_eq!(Cbor::decode::<Value>(&Expected::new("Order", 2), &payload).unwrap().0, value);
        }
        let large = encoded::<Cbor, _>(&(u128::MAX, i128::MIN, u128::from(u64::MAX) + 1));
        let large = Cbor::decode::<(u128, i128, u128)>(&Expected::new("Order", 2), &large).unwrap().0;
        assert_eq!(large, (u128::MAX, i128::MIN, u128::from(u64::MAX) + 1));
    }

    #[test]
    fn texts_and_bytes_in_pieces() {
        assert_eq!(read("7f 62|Ad| 61|a| ff"), Ok("Ada".to_owned()));
        assert_eq!(read("a1 7f 61|a| 61|b| ff 7f ff"), Ok(json!({"ab": ""})));
        assert_eq!(read("5f 42 0102 41 03 ff"), Ok(ToolkitBytes(vec![1, 2, 3])));
        let envelope =
            "bf 7f 62|id| ff 7f 61|a| ff 64|type| 7f 65|Patch| ff 64|data| bf 64|name| 7f 61|A| 62|da| ff ff ff";
        let payload = bytes(envelope);
        let (message, inbound) = Cbor::decode::<Patch>(&EXPECTED, &payload).unwrap();
        assert_eq!((message, inbound.id.as_deref()), (patch(), Some("a")));
    }

    #[test]
    fn tags_that_only_annotate() {
        assert_eq!(read("c0 74|2013-03-21T20:04:00Z|"), Ok("2013-03-21T20:04:00Z".to_owned()));
        assert_eq!(read("c1 1a 514b67b0"), Ok(1_363_896_240_u64));
        assert_eq!(read("c1 1a 514b67b0"), Ok(1_363_896_240.0));
        assert_eq!(read("d8 20 63|a:b|"), Ok(json!("a:b")));
        assert_eq!(read("d9 d9f7 a1 61|a| d8 20 f6"), Ok(json!({"a": null})));
        assert_eq!(read("c1 f6"), Ok(None::<u64>));
        assert_eq!(read("d9 0102 82 01 02"), Ok(vec![1, 2]));
        assert_eq!(read("d8 20 66|urgent|"), Ok(Note::Urgent));
        let envelope = "d9 d9f7 a4 64|data| a1 64|name| d8 20 63|Ada| 62|id| d8 20 61|a| 64|type| 65|Patch| 69|timestamp| c1 1a 514b67b0";
        let payload = bytes(envelope);
        let (message, inbound) = Cbor::decode::<Patch>(&EXPECTED, &payload).unwrap();
        assert_eq!((message, inbound.id.as_deref(), inbound.timestamp), (patch(), Some("a"), Some(1_363_896_240_000)));
        // Large numbers, and decimal fractions, which are no pairs of numbers.
        assert_eq!(read("c2 41 07"), Ok(7_u64));
        assert_eq!(read("c3 41 07"), Ok(-8_i64));
        assert!(read::<Value>("c4 82 21 19 6ab3").is_err());
        assert!(read::<(i32, i32)>("c4 82 21 19 6ab3").is_err());
        assert!(read::<Vec<Value>>("81 d9 dfff 82 01 02").is_err());
        assert!(read::<Option<Patch>>("d9 dfff 80").is_err());
        assert!(read::<Note>("d9 dfff 66|urgent|").is_err());
        let odd = "a4 64|data| a1 64|name| 63|Ada| 62|id| 61|a| 64|type| 65|Patch| 69|timestamp| c4 82 21 19 6ab3";
        let payload = bytes(odd);
        let (message, inbound) = Cbor::decode::<Patch>(&EXPECTED, &payload).unwrap();
        assert_eq!((message, inbound.timestamp, inbound.unreadable), (patch(), None, 1));
    }

    #[test]
    fn numbers_of_another_kind() {
        assert_eq!(read("09"), Ok(9.0_f64));
        assert_eq!(read("28"), Ok(-9.0_f32));
        assert_eq!(read("f9 4880"), Ok(9.0_f64));
        assert_eq!(read("f9 4880"), Ok(9_u8));
        assert_eq!(read("fb 4278bcfe56800000"), Ok(1_700_000_000_000_u64));
        assert_eq!(read("f9 c880"), Ok(-9_i64));
        for not_whole in ["f9 3800", "f9 7e00", "f9 7c00", "fb 7fefffffffffffff"] {
            assert!(read::<u64>(not_whole).is_err(), "{not_whole}");
        }
        assert!(read::<u8>("f9 5c04").is_err(), "257.0");
        assert!(read::<u8>("f9 c880").is_err(), "-9.0");
    }

    #[test]
    fn more_items_than_expected_are_an_error() {
        assert!(read::<(u8, u8)>("83 01 02 03").is_err());
        assert!(read::<(u8, u8)>("9f 01 02 03 ff").is_err());
        assert!(read::<Note>("a2 64|text| 61|a| 66|urgent| f6").is_err());
        assert!(read::<Note>("a0").is_err());
        assert_eq!(read("80"), Ok(()));
        assert_eq!(read("f7"), Ok(None::<u8>));
        assert_eq!(read("bf 64|text| 61|a| ff"), Ok(Note::Text("a".to_owned())));
    }

    #[test]
    fn keys_that_are_no_texts_are_nobodys() {
        let members = "a5 00 61|a| 01 65|Patch| 08 a0 44|data| a0 a1 64|data| 01 02";
        assert_eq!(
            Cbor::decode::<std::collections::HashMap<u8, Value>>(&EXPECTED, &bytes("a2 00 61|a| 01 65|Patch|"))
                .unwrap()
                .1
                .id,
            None
        );
        assert!(Cbor::metadata(&EXPECTED, &bytes(members)).is_none());
    }
}

#[cfg(feature = "messagepack")]
mod messagepack {
    use super::*;

    fn envelope(timestamp: &[u8]) -> Vec<u8> {
        let mut payload = b"\x84\xa2id\xa1a\xa9timestamp".to_vec();
        payload.extend_from_slice(timestamp);
        payload.extend_from_slice(b"\xa4type\xa5Patch\xa4data\x81\xa4name\xa3Ada");
        payload
    }

    #[test]
    fn times_of_the_format_in_its_three_forms() {
        let (seconds, nanos) = (1_764_079_200_u64, 123_456_789_u64);
        let in_34_bits = (nanos << 34 | seconds).to_be_bytes();
        let short = [&[0xd6, 0xff][..], &u32::try_from(seconds).unwrap().to_be_bytes()].concat();
        let middle = [&[0xd7, 0xff][..], &in_34_bits].concat();
        let long = [&[0xc7, 12, 0xff][..], &123_456_789_u32.to_be_bytes(), &seconds.to_be_bytes()].concat();
        for (time, expected) in
            [(short, seconds * 1_000), (middle, seconds * 1_000 + 123), (long, seconds * 1_000 + 123)]
        {
            let payload = envelope(&time);
            let (message, inbound) = MessagePack::decode::<Patch>(&EXPECTED, &payload).unwrap();
            assert_eq!((message, inbound.timestamp, inbound.unreadable), (patch(), Some(expected), 0));
            assert_eq!(MessagePack::metadata(&EXPECTED, &payload).unwrap().timestamp, Some(expected));
        }
    }

    #[test]
    fn other_extensions_are_absent_and_counted() {
        for time in [
            &[0xd6, 0x01, 0, 0, 0, 1][..],
            &[0xc7, 3, 0xff, 1, 2, 3],
            &[0xd4, 0xff, 1],
            &[0xd7, 0xff, 0xee, 0x6b, 0x28, 0, 0, 0, 0, 0],
            &[0xc4, 1, 0],
        ] {
            let payload = envelope(time);
            let (message, inbound) = MessagePack::decode::<Patch>(&EXPECTED, &payload).unwrap();
            assert_eq!((message, inbound.timestamp, inbound.unreadable), (patch(), None, 1), "{time:x?}");
        }
    }

    #[test]
    fn a_whole_number_where_a_fraction_is_declared() {
        assert_eq!(MessagePack::decode::<f64>(&EXPECTED, &[9]).unwrap().0, 9.0);
        let value = json!({"a": null, "b": [null]});
        assert_eq!(MessagePack::decode::<Value>(&EXPECTED, &rmp_serde::to_vec(&value).unwrap()).unwrap().0, value);
    }

    #[test]
    fn keys_that_are_no_texts_are_nobodys() {
        let members = [&[0x84, 0, 0xa1, b'a', 1, 0xa5][..], b"Patch", &[8, 0x80, 0xc4, 4], b"data", &[0x80]].concat();
        assert!(MessagePack::metadata(&EXPECTED, &members).is_none());
    }
}
