//! What every codec promises, asked of each of them.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::codec::answers::Answers;

use super::*;

mod headers;
mod items;
mod oddities;
mod recognition;
mod spellings;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    notes: Vec<Note>,
    #[serde(default)]
    extra: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    Urgent,
    Text(String),
    Price { cents: i64, rate: f64 },
}

const EXPECTED: Expected = Expected::new("Order", 2);

fn order() -> Order {
    let notes = vec![Note::Urgent, Note::Text("a \"b\" \u{1f980}\n".to_owned()), Note::Price { cents: -5, rate: 0.25 }];
    Order { id: 7, customer: "Ada".to_owned(), notes, extra: serde_json::json!({"a": [1, "x", {"b": true}]}) }
}

fn outbound<'a>(headers: &'a Headers, exchange: Option<Exchange<'a>>) -> Outbound<'a> {
    Outbound {
        format: Format::Envelope,
        source: "/shop",
        name: "Order",
        version: 2,
        id: "x-1",
        timestamp: 1_700_000_000_123,
        headers,
        exchange,
    }
}

fn encoded<C: Codec, T: Serialize>(message: &T) -> Vec<u8> {
    let mut payload = Vec::new();
    C::encode(&outbound(&Headers::default(), None), message, &mut payload).unwrap();
    payload
}

fn decode<C: Codec>(payload: &[u8]) -> Result<(Order, Inbound<'_>), DecodeError> {
    C::decode(&EXPECTED, payload)
}

/// A message with everything that a request carries comes back whole, and so does its metadata alone.
fn comes_back_whole<C: Codec>() {
    let headers = Headers::from_iter([("traceparent", "00-\"1\""), ("empty", "")]);
    let exchange = Exchange { correlation_id: "c-1", reply_to: Some("answers"), time_left: Some(5_123) };
    let mut payload = Vec::new();
    C::encode(&outbound(&headers, Some(exchange)), &order(), &mut payload).unwrap();
    let (message, inbound) = decode::<C>(&payload).unwrap();
    assert_eq!(message, order());
    let metadata = C::metadata(&EXPECTED, &payload).unwrap();
    for inbound in [inbound, metadata] {
        assert_eq!(inbound.id.as_deref(), Some("x-1"));
        assert_eq!(inbound.timestamp, Some(1_700_000_000_123));
        assert_eq!(inbound.version, Some(2));
        assert_eq!(inbound.headers, headers);
        assert_eq!(inbound.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(inbound.reply_to.as_deref(), Some("answers"));
        assert_eq!(inbound.time_left, Some(5_123));
    }
}

/// The time left can be written again in an encoded payload, behind whatever else the payload holds, and is the only thing that changes.
fn time_left_is_brought_up_to_date<C: Codec>() {
    let headers = Headers::from_iter([("traceparent", "\"time_left\":1")]);
    let exchange = Exchange::new("c-1").reply_to("answers").time_left(5_123);
    let before = b"before";
    let mut payload = before.to_vec();
    let slot = C::encode_with_slot(&outbound(&headers, Some(exchange)), &order(), &mut payload).unwrap().unwrap();
    for millis in [0, 1, 4_999, 65_536, i32::MAX as u32, 7] {
        slot.write(&mut payload, millis);
        let (message, inbound) = decode::<C>(&payload[before.len()..]).unwrap();
        assert_eq!(message, order());
        assert_eq!((inbound.time_left, inbound.reply_to.as_deref()), (Some(millis), Some("answers")));
        assert_eq!(C::metadata(&EXPECTED, &payload[before.len()..]).unwrap().time_left, Some(millis));
    }
    let (mut again, exchange) = (before.to_vec(), exchange.time_left(7));
    C::encode(&outbound(&headers, Some(exchange)), &order(), &mut again).unwrap();
    assert_eq!(payload, again);
    let without = Exchange { time_left: None, ..exchange };
    let slot = C::encode_with_slot(&outbound(&headers, Some(without)), &order(), &mut again).unwrap();
    assert_eq!(slot, None);
}

/// No cut of a payload is a message, and no changed byte is a panic.
fn refuses_what_is_mutilated<C: Codec>() {
    let payload = encoded::<C, _>(&order());
    assert_eq!(decode::<C>(&payload).unwrap().0, order());
    for at in 0..payload.len() {
        assert!(decode::<C>(&payload[..at]).is_err(), "cut at {at}");
        let mut changed = payload.clone();
        for byte in [0, b'"', b'{', 0x5f, 0x7f, 0x80, 0x9f, 0xbf, 0xc1, 0xdd, 0xff] {
            changed[at] = byte;
            let _ = decode::<C>(&changed);
            let _ = C::metadata(&EXPECTED, &changed);
        }
    }
    let mut longer = payload;
    longer.push(b'1');
    assert!(decode::<C>(&longer).is_err());
}

/// Neither a stack nor a buffer grows with what a payload claims: run on a small stack, with lengths that no machine has.
fn survives_hostile_payloads<C: Codec>() {
    let hostile = || {
        let shapes: [&[u8]; 17] = [
            b"[",
            b"{\"extra\":",
            b"{\"data\":",
            b"{\"__type__\":\"dict\",\"__data__\":",
            b"{\"specversion\":\"1.0\",\"data\":",
            &[0x81],
            &[0x91],
            &[0x9f],
            &[0xbf],
            &[0xc6],
            &[0xd8, 0x20],
            &[0x5f],
            &[0x81, 0xa5, b'e', b'x', b't', b'r', b'a'],
            &[0xa1, 0x65, b'e', b'x', b't', b'r', b'a'],
            &[0xbf, 0x65, b'e', b'x', b't', b'r', b'a'],
            &[0x81, 0xa4, b'd', b'a', b't', b'a'],
            &[0xa1, 0x64, b'd', b'a', b't', b'a'],
        ];
        for shape in shapes {
            let payload = shape.repeat(200_000 / shape.len());
            assert!(decode::<C>(&payload).is_err(), "{shape:?}");
            assert!(C::decode::<serde_json::Value>(&EXPECTED, &payload).is_err(), "{shape:?}");
            let _ = C::metadata(&EXPECTED, &payload);
        }
        for head in [0x5b, 0x7b, 0x9b, 0xbb, 0xc6, 0xdb, 0xdd, 0xdf] {
            let mut payload = vec![head];
            payload.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            assert!(decode::<C>(&payload).is_err(), "{head:x}");
            assert!(C::decode::<Vec<String>>(&EXPECTED, &payload).is_err(), "{head:x}");
        }
    };
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(hostile).unwrap().join().unwrap();
}

macro_rules! for_each_codec {
    ($($module:ident: $codec:ty;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn a_message_comes_back_whole() {
                comes_back_whole::<$codec>();
            }

            #[test]
            fn the_time_left_is_brought_up_to_date() {
                time_left_is_brought_up_to_date::<$codec>();
            }

            #[test]
            fn what_is_mutilated_is_refused() {
                refuses_what_is_mutilated::<$codec>();
            }

            #[test]
            fn hostile_payloads_are_refused() {
                survives_hostile_payloads::<$codec>();
            }

            proptest! {
                #[test]
                fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..96)) {
                    let _ = decode::<$codec>(&payload);
                    let _ = <$codec>::decode::<serde_json::Value>(&EXPECTED, &payload);
                    let _ = <$codec>::metadata(&EXPECTED, &payload);
                }

                #[test]
                fn every_text_comes_back(text in any::<String>(), id in any::<u64>()) {
                    let order = Order { id, customer: text.clone(), extra: text.into(), ..order() };
                    let payload = encoded::<$codec, _>(&order);
                    prop_assert_eq!(decode::<$codec>(&payload).unwrap().0, order);
                }
            }
        }
    )*};
}

for_each_codec! {
    json: Json;
    plain: Plain;
    cloud_events: CloudEvents;
    redis_toolkit: RedisToolkit;
}

#[cfg(feature = "messagepack")]
for_each_codec!(messagepack: MessagePack;);

#[cfg(feature = "cbor")]
for_each_codec!(cbor: Cbor;);

#[cfg(any(feature = "messagepack", feature = "cbor"))]
mod binary {
    use super::*;

    /// A map as another program would write it, in any order and with members of its own, without the message's type.
    fn reads_what_others_write<C: Codec>(write: impl Fn(&serde_json::Value) -> Vec<u8>) {
        let data = serde_json::to_value(order()).unwrap();
        let envelope = |name: &str, version: u64| {
            serde_json::json!({"version": version, "own": [1, {"a": 2}], "data": data, "type": name, "timestamp": null,
                "headers": {"a": "b", "n": 1}, "id": "y"})
        };
        let payload = write(&envelope("Order", 1));
        let (message, inbound) = decode::<C>(&payload).unwrap();
        assert_eq!((message, inbound.id.as_deref(), inbound.timestamp), (order(), Some("y"), None));
        assert_eq!(inbound.headers, Headers::from_iter([("a", "b")]));
        let payload = write(&data);
        let (message, inbound) = decode::<C>(&payload).unwrap();
        assert_eq!((message, inbound.id), (order(), None));
        let error = decode::<C>(&write(&envelope("Invoice", 1))).unwrap_err();
        assert_eq!(error, DecodeError::WrongType("Invoice".to_owned()));
        assert_eq!(decode::<C>(&write(&envelope("Order", 9))).unwrap_err(), DecodeError::NewerVersion(9));
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn messagepack_of_other_programs_is_understood() {
        reads_what_others_write::<MessagePack>(|value| rmp_serde::to_vec_named(value).unwrap());
        let envelope = encoded::<MessagePack, _>(&order());
        let members: serde_json::Value = rmp_serde::from_slice(&envelope).unwrap();
        assert_eq!((&members["id"], &members["type"]), (&"x-1".into(), &"Order".into()));
        assert_eq!(members["data"]["notes"][2]["price"]["cents"], -5);
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_of_other_programs_is_understood() {
        reads_what_others_write::<Cbor>(|value| {
            let mut payload = Vec::new();
            let mut serializer = minicbor_serde::Serializer::new(&mut payload);
            value.serialize(serializer.serialize_unit_as_null(true)).unwrap();
            payload
        });
        let envelope = encoded::<Cbor, _>(&order());
        let members: serde_json::Value = minicbor_serde::from_slice(&envelope).unwrap();
        assert_eq!((&members["id"], &members["type"]), (&"x-1".into(), &"Order".into()));
        assert_eq!(members["data"]["notes"][2]["price"]["cents"], -5);
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_of_open_length_is_understood() {
        let mut payload = b"\xbf\x62id\x07\x68customer\x63Ada\x65notes\x9f\xff\xff".to_vec();
        let (message, _) = decode::<Cbor>(&payload).unwrap();
        assert_eq!(message, Order { notes: Vec::new(), extra: serde_json::Value::Null, ..order() });
        payload.push(0);
        assert!(decode::<Cbor>(&payload).is_err());
    }

    #[test]
    fn bytes_are_bytes() {
        let bytes = ToolkitBytes(vec![0, 255, 7]);
        #[cfg(feature = "messagepack")]
        assert_eq!(rmp_serde::to_vec(&bytes).unwrap(), [0xc4, 3, 0, 255, 7]);
        #[cfg(feature = "cbor")]
        assert_eq!(minicbor_serde::to_vec(&bytes).unwrap(), [0x43, 0, 255, 7]);
        #[cfg(feature = "messagepack")]
        assert_eq!(rmp_serde::from_slice::<ToolkitBytes>(&[0xc4, 3, 0, 255, 7]).unwrap(), bytes);
        #[cfg(feature = "cbor")]
        assert_eq!(minicbor_serde::from_slice::<ToolkitBytes>(&[0x43, 0, 255, 7]).unwrap(), bytes);
    }
}

mod redis_toolkit_format {
    use super::*;

    fn text<T: Serialize>(message: &T) -> String {
        String::from_utf8(encoded::<RedisToolkit, _>(message)).unwrap()
    }

    fn read<T: serde::de::DeserializeOwned>(payload: &str) -> Result<T, DecodeError> {
        RedisToolkit::decode(&EXPECTED, payload.as_bytes()).map(|(message, _)| message)
    }

    /// Each line is what the library itself writes for the value.
    #[test]
    fn values_are_written_as_the_library_writes_them() {
        assert_eq!(text(&vec![1, 2]), r#"{"__type__": "list", "__data__": [1,2]}"#);
        assert_eq!(text(&"a"), r#"{"__type__": "str", "__data__": "a"}"#);
        assert_eq!(text(&-7), r#"{"__type__": "int", "__data__": -7}"#);
        assert_eq!(text(&0.5), r#"{"__type__": "float", "__data__": 0.5}"#);
        assert_eq!(text(&true), r#"{"__type__": "bool", "__data__": true}"#);
        assert_eq!(text(&()), "__NONE__");
        assert_eq!(text(&ToolkitBytes(b"ab".to_vec())), r#"{"__type__":"bytes","__data__":"YWI="}"#);
        let nested = [("raw", ToolkitBytes(b"ab".to_vec()))].into_iter().collect::<std::collections::BTreeMap<_, _>>();
        assert_eq!(
            text(&nested),
            r#"{"__type__": "dict", "__data__": {"raw":{"__type__":"bytes","__data__":"YWI="}}}"#
        );
        assert_eq!(read(&text(&nested)), Ok(serde_json::json!({"raw": {"__type__": "bytes", "__data__": "YWI="}})));
    }

    #[test]
    fn values_are_read_as_the_library_reads_them() {
        assert_eq!(read(r#"{"__type__": "tuple", "__data__": [1, 2]}"#), Ok(vec![1, 2]));
        assert_eq!(read(r#"{"__data__": "a", "__type__": "str"}"#), Ok("a".to_owned()));
        assert_eq!(read(r#"{"__type__": "int", "__data__": 12}"#), Ok(12));
        assert_eq!(read(r#"{"__type__": "unheard of", "__data__": 12}"#), Ok(12));
        assert_eq!(read("__NONE__"), Ok(None::<Order>));
        assert_eq!(read("[1]"), Ok(vec![1]));
        for name in ["bytes", "bytearray"] {
            let payload = format!(r#"{{"__type__": "{name}", "__data__": "YWI="}}"#);
            assert_eq!(read(&payload), Ok(ToolkitBytes(b"ab".to_vec())));
        }
        let order = serde_json::to_string(&order()).unwrap();
        assert_eq!(read(&format!(r#"{{"__type__": "dict", "__data__": {order}}}"#)), Ok(self::order()));
        assert_eq!(read(&order), Ok(self::order()));
    }

    #[test]
    fn what_is_no_wrapper_is_refused() {
        for payload in [
            r#"{"__type__": "dict"}"#,
            r#"{"__type__": 7, "__data__": 7}"#,
            r#"{"__type__": "int", "__type__": "int", "__data__": 7}"#,
            r#"{"__type__": "int", "__data__": 7, "__data__": 8}"#,
            r#"{"__type__": "float", "__data__": NaN}"#,
            r#"{"__type__": "int", "__data__": 7} 8"#,
            "__NONE",
        ] {
            assert!(matches!(read::<u64>(payload), Err(DecodeError::Invalid(_))), "{payload}");
        }
        assert!(read::<ToolkitBytes>(r#"{"__type__": "bytes", "__data__": "!"}"#).is_err());
        assert!(read::<ToolkitBytes>(r#"{"__type__": "str", "__data__": "YWI="}"#).is_err());
    }
}

mod cloud_events_format {
    use super::*;

    #[test]
    fn an_event_has_the_attributes_of_the_standard() {
        let headers = Headers::from_iter([("traceparent", "00-1")]);
        let exchange = Exchange { correlation_id: "c", reply_to: Some("r"), time_left: Some(u32::MAX) };
        let mut payload = Vec::new();
        CloudEvents::encode(&outbound(&headers, Some(exchange)), &true, &mut payload).unwrap();
        let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let expected = serde_json::json!({
            "specversion": "1.0", "id": "x-1", "source": "/shop", "type": "Order", "time": "2023-11-14T22:13:20.123Z",
            "datacontenttype": "application/json", "version": 2, "correlationid": "c", "replyto": "r",
            "timeleft": 2_147_483_647, "traceparent": "00-1", "data": true,
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn a_header_that_is_no_attribute_is_refused() {
        for name in ["X-Trace", "a_b", "", "data", "id", "\u{e9}", "specversion"] {
            let headers = Headers::from_iter([(name, "x")]);
            let error = CloudEvents::encode(&outbound(&headers, None), &true, &mut Vec::new()).unwrap_err();
            assert!(error.contains("attribute"), "{error}");
        }
    }

    fn read(attributes: &str) -> Result<bool, DecodeError> {
        let payload = format!(r#"{{"specversion":"1.0",{attributes}}}"#);
        CloudEvents::decode(&EXPECTED, payload.as_bytes()).map(|(message, _)| message)
    }

    #[test]
    fn events_of_other_programs_are_understood() {
        for attributes in [
            r#""id":"a","source":"s","type":"Order","data":true"#,
            r#""data":true,"subject":null,"dataschema":"x","own":1,"other":true,"type":"Order","source":"s","id":"a""#,
            r#""id":"a","source":"s","type":"Order","datacontenttype":"application/vnd.x+json; charset=utf-8","data":true"#,
            r#""id":"a","source":"s","type":"Order","time":"2023-11-14T23:13:20+01:00","version":"1","data":true"#,
        ] {
            assert_eq!(read(attributes), Ok(true), "{attributes}");
        }
        let nothing = br#"{"specversion":"1.0","id":"a","source":"s","type":"Order"}"#;
        assert!(CloudEvents::decode::<()>(&EXPECTED, nothing).is_ok());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for attributes in [
            r#""source":"s","type":"Order","data":true"#,
            r#""id":"","source":"s","type":"Order","data":true"#,
            r#""id":"a","type":"Order","data":true"#,
            r#""id":"a","source":"s","data":true"#,
            r#""id":7,"source":"s","type":"Order","data":true"#,
            r#""id":"a","source":"s","type":"Order","data":true,"data":true"#,
            r#""id":"a","source":"s","type":"Order","type":"Order","data":true"#,
            r#""id":"a","source":"s","type":"Order","datacontenttype":7,"data":true"#,
            r#""id":"a","source":"s","type":"Order","data_base64":"dHJ1ZQ==""#,
            r#""id":"a","source":"s","type":"Order","datacontenttype":"text/plain","data":"true""#,
            r#""specversion":"1.0","id":"a","source":"s","type":"Order","data":true"#,
            r#""id":"a","source":"s","type":"Order","data":7"#,
        ] {
            assert!(matches!(read(attributes), Err(DecodeError::Invalid(_))), "{attributes}");
        }
        let wrong = r#""id":"a","source":"s","type":"Invoice","data":7"#;
        assert_eq!(read(wrong), Err(DecodeError::WrongType("Invoice".to_owned())));
        let newer = r#""id":"a","source":"s","type":"Order","version":3,"data":7"#;
        assert_eq!(read(newer), Err(DecodeError::NewerVersion(3)));
        let payload = br#"{"specversion":"2.0","id":"a","source":"s","type":"Order","data":true}"#;
        assert!(CloudEvents::decode::<bool>(&EXPECTED, payload).is_err());
    }
}

#[test]
fn answers_in_any_json_text_are_understood() {
    let exchange = Exchange { correlation_id: "c", reply_to: None, time_left: None };
    let headers = Headers::default();
    let encode = [Json::encode::<bool>, CloudEvents::encode::<bool>, RedisToolkit::encode::<bool>];
    for encode in encode {
        let mut payload = Vec::new();
        encode(&outbound(&headers, Some(exchange)), &true, &mut payload).unwrap();
        assert_eq!(Answers::metadata(&EXPECTED, &payload).unwrap().correlation_id.as_deref(), Some("c"));
        assert!(Answers::decode::<bool>(&EXPECTED, &payload).unwrap().0);
    }
}
