//! Items of the formats, one by one: where they end, and what is read where another one is expected.

use super::*;

#[test]
fn what_is_in_a_message_makes_no_event_and_no_wrapper_of_it() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Note {
        text: serde_json::Value,
    }

    fn text<C: Codec>(payload: &str) -> Result<serde_json::Value, DecodeError> {
        C::decode::<Note>(&EXPECTED, payload.as_bytes()).map(|(note, _)| note.text)
    }

    let nested = r#"{"text":{"specversion":"1.0","id":"a"}}"#;
    assert_eq!(text::<CloudEvents>(nested).unwrap()["id"], "a");
    let envelope = r#"{"correlation_id":"c","data":{"text":{"specversion":"1.0"}},"id":"a","type":"Order"}"#;
    assert_eq!(text::<CloudEvents>(envelope).unwrap()["specversion"], "1.0");
    let metadata = CloudEvents::metadata(&EXPECTED, envelope.as_bytes()).unwrap();
    assert_eq!(metadata.correlation_id.as_deref(), Some("c"));
    assert!(CloudEvents::metadata(&EXPECTED, nested.as_bytes()).is_none());
    for content in ["text/plain", "application/jsonp", "json", ""] {
        let event = format!(
            r#"{{"specversion":"1.0","id":"a","source":"s","type":"Order","datacontenttype":"{content}","data":{{"text":1}}}}"#
        );
        assert!(text::<CloudEvents>(&event).is_err(), "{content}");
    }
    let (list, _) = RedisToolkit::decode::<Vec<String>>(&EXPECTED, br#"["__type__","__data__"]"#).unwrap();
    assert_eq!(list, ["__type__", "__data__"]);
    assert_eq!(format!("{:?}", ToolkitBytes(vec![1, 2])), "ToolkitBytes(2 bytes)");
}

/// `Some` of nothing is nothing, and so says the documentation.
#[test]
fn some_of_what_is_written_as_nothing_comes_back_as_none() {
    fn comes_back<C: Codec, T: Serialize + serde::de::DeserializeOwned>(value: &T) -> Result<T, DecodeError> {
        C::decode(&EXPECTED, &encoded::<C, _>(value)).map(|(value, _)| value)
    }

    fn all<C: Codec>() {
        assert_eq!(comes_back::<C, _>(&Some(())), Ok(None));
        assert_eq!(comes_back::<C, _>(&vec![Some(None::<u8>)]), Ok(vec![None]));
        assert_eq!(comes_back::<C, _>(&vec![Some(Some(7_u8))]), Ok(vec![Some(Some(7))]));
    }

    fn text<C: Codec>() {
        all::<C>();
        assert_eq!(comes_back::<C, _>(&Some(f64::NAN)), Ok(None));
        assert!(comes_back::<C, _>(&f64::INFINITY).is_err());
    }

    text::<Json>();
    text::<Plain>();
    text::<CloudEvents>();
    text::<RedisToolkit>();
    #[cfg(feature = "messagepack")]
    all::<MessagePack>();
    #[cfg(feature = "cbor")]
    all::<Cbor>();
    #[cfg(feature = "messagepack")]
    assert_eq!(comes_back::<MessagePack, _>(&Some(f64::INFINITY)), Ok(Some(f64::INFINITY)));
    #[cfg(feature = "cbor")]
    assert_eq!(comes_back::<Cbor, _>(&Some(f64::INFINITY)), Ok(Some(f64::INFINITY)));
}

#[cfg(feature = "messagepack")]
mod messagepack {
    use crate::codec::{binary::Binary, scan::rest_after_item};

    use super::*;

    /// Each mark with what says how long its item is, and how many bytes follow.
    #[test]
    fn each_item_ends_where_it_says() {
        let items: [(&[u8], usize); 37] = [
            (&[0x7f], 0),
            (&[0xc0], 0),
            (&[0xc2], 0),
            (&[0xe0], 0),
            (&[0x82, 1, 2, 3], 1),
            (&[0x92, 1], 1),
            (&[0xa3], 3),
            (&[0xc4, 2], 2),
            (&[0xc5, 1, 2], 258),
            (&[0xc6, 0, 1, 0, 2], 65_538),
            (&[0xc7, 2, 5], 2),
            (&[0xc8, 1, 2, 5], 258),
            (&[0xc9, 0, 1, 0, 2, 5], 65_538),
            (&[0xca], 4),
            (&[0xcb], 8),
            (&[0xcc], 1),
            (&[0xcd], 2),
            (&[0xce], 4),
            (&[0xcf], 8),
            (&[0xd0], 1),
            (&[0xd1], 2),
            (&[0xd2], 4),
            (&[0xd3], 8),
            (&[0xd4, 5], 1),
            (&[0xd5, 5], 2),
            (&[0xd6, 5], 4),
            (&[0xd7, 5], 8),
            (&[0xd8, 5], 16),
            (&[0xd9, 2], 2),
            (&[0xda, 1, 2], 258),
            (&[0xdb, 0, 1, 0, 2], 65_538),
            (&[0xdc, 1, 2], 258),
            (&[0xdd, 0, 1, 0, 2], 65_538),
            (&[0xde, 1, 2], 516),
            (&[0xdf, 0, 1, 0, 2], 131_076),
            (&[0x80], 0),
            (&[0xa0], 0),
        ];
        for (head, more) in items {
            let whole = [head, &vec![0; more]].concat();
            assert_eq!(rest_after_item(&[&whole[..], &[9; 3]].concat(), MessagePack::head), Ok(3), "{head:x?}");
            assert!(rest_after_item(&whole[..whole.len() - 1], MessagePack::head).is_err(), "{head:x?}");
        }
        assert!(rest_after_item(&[0xc1, 0], MessagePack::head).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let said = |payload: &[u8]| match MessagePack::decode::<String>(&EXPECTED, payload) {
            Err(DecodeError::Invalid(words)) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(&[0xc2]), "invalid type: boolean, expected a string");
        assert_eq!(said(&[0xa1, 0xff]), "a text that is not UTF-8");
    }
}

#[cfg(feature = "cbor")]
mod cbor {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Shape {
        Dot,
        Line(u8, u8),
    }

    fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
        Cbor::decode(&EXPECTED, payload).map(|(value, _)| value)
    }

    #[test]
    fn a_variant_holds_what_it_holds() {
        assert_eq!(read(b"\x63Dot"), Ok(Shape::Dot));
        assert_eq!(read(b"\xa1\x63Dot\xf6"), Ok(Shape::Dot));
        assert!(read::<Shape>(b"\xa1\x63Dot\x05").is_err());
        assert_eq!(read(b"\xa1\x64Line\x82\x01\x02"), Ok(Shape::Line(1, 2)));
        assert!(read::<Shape>(b"\x64Line").is_err());
        assert!(read::<Shape>(b"\xa1\x64Line\x81\x01").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let expected = DecodeError::Invalid("invalid type: boolean, expected u8 at byte 2".to_owned());
        assert_eq!(read::<Vec<u8>>(&[0x81, 0xf5]), Err(expected));
        let said = |payload: &[u8]| read::<ToolkitBytes>(payload).unwrap_err().to_string();
        assert_eq!(said(&[0x07]), "invalid type: integer, expected bytes at byte 1");
        assert_eq!(said(&[0xd9, 3, 0xe9, 0xa0]), "invalid type: enum, expected an envelope at byte 3");
    }
}
