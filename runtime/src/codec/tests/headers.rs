//! Headers as they are set, and as other programs write them.

use super::*;

/// The headers that an envelope holds, and how much of it could not be read.
fn read(headers: &str) -> (Headers, u32) {
    let payload = format!(r#"{{"id":"a","type":"Order","headers":{headers},"data":true}}"#);
    let (message, inbound) = Json::decode::<bool>(&EXPECTED, payload.as_bytes()).unwrap();
    assert!(message);
    (inbound.headers, inbound.unreadable)
}

#[test]
fn the_last_value_of_a_name_counts() {
    let mut headers = Headers::new();
    headers.set("a", "1");
    headers.set("b", "2");
    headers.set("a", "3");
    assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    assert_eq!([headers.get("a"), headers.get("b"), headers.get("A")], [Some("3"), Some("2"), None]);
}

#[test]
fn of_two_sets_of_headers_the_values_of_the_second_count() {
    let (first, second) = (Headers::from_iter([("a", "1"), ("b", "2")]), Headers::from_iter([("b", "3"), ("c", "4")]));
    assert_eq!(first.with(second.clone()), Headers::from_iter([("a", "1"), ("b", "3"), ("c", "4")]));
    assert_eq!(Headers::new().with(second.clone()), second);
    assert_eq!(second.with(Headers::new()), second);
}

#[test]
fn names_are_shown_of_which_there_are_few_and_no_value() {
    let headers = |count: usize| (0..count).map(|n| (format!("h{n}"), "secret")).collect::<Headers>();
    assert_eq!(format!("{:?}", headers(2)), r#"{"h0", "h1"}"#);
    assert_eq!(format!("{:?}", headers(6)), r#"{"h0", "h1", "h2", "h3", "h4", "h5"}"#);
    assert_eq!(format!("{:?}", headers(7)), r#"{"h0", "h1", "h2", "h3", "h4", "h5", "…"}"#);
    let long = Headers::from_iter([("n".repeat(25), "secret")]);
    assert_eq!(format!("{long:?}"), format!("{{{:?}}}", "n".repeat(24)));
}

#[test]
fn what_is_null_is_absent_and_what_is_no_text_is_unreadable() {
    assert_eq!(read("null"), (Headers::new(), 0));
    assert_eq!(read(r#"{"a":"b","n":null,"c":""}"#), (Headers::from_iter([("a", "b"), ("c", "")]), 0));
    assert_eq!(read(r#"{"a":"b","n":[1],"m":{}}"#), (Headers::from_iter([("a", "b")]), 2));
    assert_eq!(read("7"), (Headers::new(), 1));
}

#[test]
fn of_too_many_headers_none_is_taken_and_that_counts_once() {
    let headers = |count: usize| {
        let entries: Vec<_> = (0..count).map(|n| format!(r#""h{n}":"""#)).collect();
        read(&format!("{{{}}}", entries.join(",")))
    };
    let (most, unreadable) = headers(256);
    assert_eq!((most.iter().count(), unreadable), (256, 0));
    assert_eq!(headers(257), (Headers::new(), 1));
    assert_eq!(headers(300), (Headers::new(), 1));
}

#[test]
fn a_plain_message_carries_a_context_only_in_the_envelope() {
    let headers = Headers::default();
    assert!(!Plain::carries_context(&outbound(&headers, None)));
    assert!(Plain::carries_context(&outbound(&headers, Some(Exchange::new("c")))));
}
