//! What decides what a payload is, written in an unusual way: names in escapes, members twice, names as bytes, items of no type.

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Patch {
    name: Option<String>,
}

const PATCH: Expected = Expected::new("Patch", 1);

fn patch() -> Patch {
    Patch { name: Some("Ada".to_owned()) }
}

fn read<C: Codec>(payload: &[u8]) -> Result<Patch, DecodeError> {
    C::decode::<Patch>(&PATCH, payload).map(|(patch, _)| patch)
}

/// What would be read as an empty message.
fn is_refused<C: Codec>(payload: &str) {
    let read = read::<C>(payload.as_bytes());
    assert!(matches!(read, Err(DecodeError::Invalid(_))), "{payload}: {read:?}");
}

#[test]
fn an_event_is_one_however_its_version_is_written() {
    let event =
        r#"{"specv\u0065rsion":"1.0","id":"a","source":"s","type":"Patch","data":{"name":"Ada"},"correlationid":"c"}"#;
    let (message, inbound) = CloudEvents::decode::<Patch>(&PATCH, event.as_bytes()).unwrap();
    assert_eq!((message, inbound.correlation_id.as_deref()), (patch(), Some("c")));
    assert_eq!(CloudEvents::metadata(&PATCH, event.as_bytes()).unwrap().correlation_id.as_deref(), Some("c"));
    assert_eq!(Answers::metadata(&PATCH, event.as_bytes()).unwrap().correlation_id.as_deref(), Some("c"));
    for head in [r#""specv\u0065rsion":"1.0""#, r#""specversion":null,"specversion":"1.0""#] {
        is_refused::<CloudEvents>(&format!(r#"{{{head},"id":"a","source":"s","type":"Patch"}}"#));
        is_refused::<CloudEvents>(&format!(r#"{{{head},"id":"a","source":"s","type":"Patch","data_base64":"e30="}}"#));
    }
}

#[test]
fn a_wrapper_is_one_however_its_type_is_written() {
    for payload in [
        r#"{"__typ\u0065__":"dict","__data__":{"name":"Ada"}}"#,
        r#"{"\u005f_type__":"dict","__d\u0061ta__":{"id":"a","type":"Patch","data":{"name":"Ada"}}}"#,
    ] {
        assert_eq!(read::<RedisToolkit>(payload.as_bytes()), Ok(patch()), "{payload}");
    }
    is_refused::<RedisToolkit>(r#"{"__typ\u0065__":"dict"}"#);
    // An escape elsewhere makes nothing of a message.
    let escaped = r#"{"name":"\u0041da","note":"\u0065"}"#;
    assert_eq!(read::<RedisToolkit>(escaped.as_bytes()), Ok(patch()));
    assert_eq!(read::<CloudEvents>(escaped.as_bytes()), Ok(patch()));
}

#[test]
fn of_a_header_that_comes_twice_no_value_is_taken() {
    let expected = Headers::from_iter([("b", "2")]);
    for (headers, odd) in [
        (r#"{"a":"1","b":"2","a":"3"}"#, 1),
        (r#"{"a":"1","a":"1","b":"2","a":"1"}"#, 2),
        (r#"{"a":"1","b":"2","\u0061":""}"#, 1),
    ] {
        let payload = format!(r#"{{"id":"a","type":"Patch","data":{{}},"headers":{headers}}}"#);
        let (_, inbound) = Json::decode::<Patch>(&PATCH, payload.as_bytes()).unwrap();
        assert_eq!((inbound.headers, inbound.unreadable), (expected.clone(), odd), "{headers}");
    }
    // One value is one, whatever else stands there.
    let payload = r#"{"id":"a","type":"Patch","data":{},"headers":{"b":null,"b":"2","b":7}}"#;
    let (_, inbound) = Json::decode::<Patch>(&PATCH, payload.as_bytes()).unwrap();
    assert_eq!((inbound.headers, inbound.unreadable), (expected.clone(), 1));
    let event = r#"{"specversion":"1.0","id":"a","source":"s","type":"Patch","data":{},"a":"1","b":2,"a":true}"#;
    let (_, inbound) = CloudEvents::decode::<Patch>(&PATCH, event.as_bytes()).unwrap();
    assert_eq!((inbound.headers, inbound.unreadable), (expected, 1));
}

#[cfg(feature = "messagepack")]
#[test]
fn names_in_bytes_are_names_in_messagepack() {
    let envelope = |of_type: &[u8]| {
        let head = b"\x83\xc4\x02id\xa1a\xc4\x04type".as_slice();
        [head, of_type, b"\xc4\x04data\x81\xc4\x04name\xa3Ada"].concat()
    };
    assert_eq!(read::<MessagePack>(&envelope(b"\xa5Patch")), Ok(patch()));
    assert_eq!(read::<MessagePack>(&envelope(b"\xa5Other")), Err(DecodeError::WrongType("Other".to_owned())));
    // Bytes are no text, so this is no envelope.
    assert_eq!(read::<MessagePack>(&envelope(b"\xc4\x05Patch")), Ok(Patch::default()));
}

#[cfg(feature = "cbor")]
mod cbor {
    use super::*;

    fn envelope(members: u8, more: &[u8]) -> Vec<u8> {
        [&[0xa3 + members], more, b"\x62id\x61a\x64type\x65Patch\x64data\xa1\x64name\x63Ada"].concat()
    }

    #[test]
    fn names_in_bytes_are_names() {
        let payload = b"\xa3\x42id\x61a\x44type\x65Patch\x44data\xa1\x44name\x63Ada";
        assert_eq!(read::<Cbor>(payload), Ok(patch()));
    }

    #[test]
    fn simple_values_mean_nothing_and_lose_no_message() {
        for (more, odd) in [
            (b"\x69time_left\xf0".as_slice(), 1),
            (b"\x69timestamp\xf8\xff", 1),
            (b"\x67headers\xf0", 1),
            (b"\x67headers\xa1\x61a\xf0", 1),
            (b"\x61x\xf0", 0),
            (b"\xf0\x01", 0),
        ] {
            let payload = envelope(1, more);
            let (message, inbound) = Cbor::decode::<Patch>(&PATCH, &payload).unwrap();
            assert_eq!((message, inbound.unreadable), (patch(), odd), "{more:x?}");
            assert_eq!(Cbor::metadata(&PATCH, &payload).unwrap().unreadable, odd);
        }
        for simple in [[0xf0].as_slice(), &[0xf8, 0xff]] {
            assert!(Cbor::decode::<serde_json::Value>(&PATCH, simple).is_err());
            assert!(Cbor::decode::<Option<u8>>(&PATCH, simple).is_err());
            assert!(Cbor::decode::<Note>(&PATCH, simple).is_err());
        }
    }
}
