//! The standard envelope as JSON, where it is written as we write it: taken apart by its fixed pieces, and only its data is parsed.
//!
//! Whatever differs in a byte is nothing to this, and left to the reader of every envelope. So there is one opinion of what an envelope is, and
//! this one is only faster.

use std::borrow::Cow;

use crate::codec::{
    contract::{Expected, Inbound},
    envelope::Rule,
    loose::millis_of_integer,
    slot::TIME_LEFT_MAX,
};

/// An envelope in our own order, without headers.
pub(super) struct OwnOrder<'de> {
    name: &'de str,
    pub(super) inbound: Inbound<'de>,
    /// If this is one value, the whole is an envelope.
    pub(super) data: &'de str,
}

impl<'de> OwnOrder<'de> {
    pub(super) fn of(text: &'de str) -> Option<Self> {
        // Of messages alone this is all that is done.
        if !text.starts_with(BEGINS) {
            return None;
        }
        let (Head { id, name, timestamp, version }, rest) = head(text)?;
        let mut inbound = Inbound::new();
        inbound.id = Some(Cow::Borrowed(id));
        inbound.timestamp = Some(millis_of_integer(timestamp));
        inbound.version = Some(version);
        let rest = match rest.strip_prefix(CORRELATION_ID) {
            Some(rest) => exchange(rest, &mut inbound)?,
            None => rest,
        };
        let data = rest.strip_prefix(r#","data":"#)?.strip_suffix('}')?;
        Some(Self { name, inbound, data })
    }

    /// Whether it is an envelope by this rule, and of what is expected.
    pub(super) fn fits(&self, expected: &Expected, rule: Rule) -> bool {
        let is_newer = self.inbound.version.is_some_and(|version| version > u64::from(expected.version));
        self.name == expected.name && !is_newer && (rule == Rule::Standard || self.inbound.correlation_id.is_some())
    }
}

/// What stands first in every envelope.
struct Head<'de> {
    id: &'de str,
    name: &'de str,
    timestamp: u64,
    version: u64,
}

fn head(text: &str) -> Option<(Head<'_>, &str)> {
    let (id, rest) = simple_text(text.strip_prefix(BEGINS)?)?;
    let (name, rest) = simple_text(rest.strip_prefix(r#","type":""#)?)?;
    let (timestamp, rest) = digits(rest.strip_prefix(r#","timestamp":"#)?)?;
    let (version, rest) = digits(rest.strip_prefix(r#","version":"#)?)?;
    Some((Head { id, name, timestamp, version }, rest))
}

/// The correlation id of an exchange, of which only the beginning is looked at.
pub(super) fn correlation_id(payload: &[u8]) -> Option<&str> {
    let beginning = &payload[..payload.len().min(BEGINNING)];
    // A character may be cut off at its end.
    let valid = str::from_utf8(beginning).map_or_else(|error| error.valid_up_to(), str::len);
    let (_, rest) = head(str::from_utf8(&beginning[..valid]).ok()?)?;
    simple_text(rest.strip_prefix(CORRELATION_ID)?).map(|(id, _)| id)
}

const BEGINS: &str = r#"{"id":""#;
const CORRELATION_ID: &str = r#","correlation_id":""#;
/// What stands before the data of an answer of ours is within so many bytes, if its ids are.
const BEGINNING: usize = 256;

/// What a request says beside, behind the quotation mark of its `correlation_id`; returns what follows.
fn exchange<'de>(rest: &'de str, inbound: &mut Inbound<'de>) -> Option<&'de str> {
    let (correlation_id, mut rest) = simple_text(rest)?;
    inbound.correlation_id = Some(Cow::Borrowed(correlation_id));
    if let Some(behind) = rest.strip_prefix(r#","reply_to":""#) {
        let (reply_to, behind) = simple_text(behind)?;
        inbound.reply_to = Some(Cow::Borrowed(reply_to));
        rest = behind;
    }
    if let Some(behind) = rest.strip_prefix(r#","time_left":"#) {
        // Its place has a fixed width.
        let (millis, behind) = digits(behind.trim_start_matches(' '))?;
        inbound.time_left = Some(u32::try_from(millis).unwrap_or(TIME_LEFT_MAX).min(TIME_LEFT_MAX));
        rest = behind;
    }
    Some(rest)
}

/// A text up to its quotation mark, and what is behind that. One with escapes, or with what JSON forbids, is not simple.
fn simple_text(rest: &str) -> Option<(&str, &str)> {
    let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    let behind = rest[end..].strip_prefix('"')?;
    Some((&rest[..end], behind))
}

/// A whole number as JSON writes it, and what is behind it.
fn digits(rest: &str) -> Option<(u64, &str)> {
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (number, behind) = rest.split_at(end);
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    Some((number.parse().ok()?, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::codec::{
        contract::{Codec, Exchange, Format, Outbound},
        headers::Headers,
        json::Json,
        located::{Reads, decode, decode_with_care},
    };

    use super::*;

    const EXPECTED: Expected = Expected::new("Order", 2);

    fn written(exchange: Option<Exchange<'_>>) -> String {
        let outbound = Outbound {
            format: Format::Envelope,
            source: "test",
            name: "Order",
            version: 2,
            id: "x-1",
            timestamp: 1_700_000_000_123,
            headers: &Headers::default(),
            exchange,
        };
        let mut payload = Vec::new();
        Json::encode(&outbound, &[7_u64], &mut payload).unwrap();
        String::from_utf8(payload).unwrap()
    }

    /// Whether it is read here and the data alone is parsed.
    fn is_taken_apart(text: &str) -> bool {
        OwnOrder::of(text).is_some_and(|ours| ours.fits(&EXPECTED, Rule::Standard) && ours.data == "[7]")
    }

    fn asked() -> Exchange<'static> {
        Exchange { correlation_id: "c-1", reply_to: Some("answers"), time_left: Some(5_123) }
    }

    #[test]
    fn what_we_write_without_headers_is_taken_apart() {
        assert!(is_taken_apart(&written(None)));
        assert!(is_taken_apart(&written(Some(asked()))));
        assert!(is_taken_apart(&written(Some(Exchange { reply_to: None, ..asked() }))));
        assert!(is_taken_apart(&written(Some(Exchange { time_left: None, ..asked() }))));
        assert!(!is_taken_apart(&written(None).replace(":2,", ":3,")), "a newer version is refused by another reader");
    }

    #[test]
    fn a_number_that_is_none_in_json_is_left_to_the_other_reader() {
        assert!(!is_taken_apart(&written(None).replace(":2,", ":02,")));
        assert!(is_taken_apart(&written(None).replace(":2,", ":0,")), "an older version");
    }

    #[test]
    fn the_correlation_id_is_found_whatever_follows() {
        let whole = written(Some(Exchange { reply_to: None, time_left: None, ..asked() }));
        assert_eq!(correlation_id(whole.as_bytes()), Some("c-1"));
        let end = whole.find(r#","data""#).unwrap();
        let cut = [&whole.as_bytes()[..end], b"\xff"].concat();
        assert_eq!(correlation_id(&cut), Some("c-1"));
        assert_eq!(correlation_id(&whole.as_bytes()[..end - 1]), None);
        assert_eq!(correlation_id(written(None).as_bytes()), None);
        assert_eq!(correlation_id(b""), None);
    }

    #[test]
    fn a_message_that_is_declared_plain_is_taken_apart_only_where_it_is_an_exchange() {
        let fits = |text: &str| OwnOrder::of(text).is_some_and(|ours| ours.fits(&EXPECTED, Rule::OnlyExchanges));
        assert!(fits(&written(Some(asked()))) && !fits(&written(None)));
    }

    /// As both readers understand a text.
    fn both(reads: Reads, text: &str) -> (String, String) {
        let shown = |read: Result<(Vec<u64>, Inbound<'_>), _>| format!("{read:?}");
        (shown(decode(reads, &EXPECTED, text.as_bytes())), shown(decode_with_care(reads, &EXPECTED, text)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_agrees_with_the_reader_of_every_envelope(
            exchange in prop::sample::select(vec![None, Some(asked()), Some(Exchange { reply_to: None, ..asked() })]),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), 0..4_usize, "[\"\\\\{}\\[\\],: 0-9e.\u{1}\u{e9}-]{0,3}|,\"data\":7|,\"id\":\"y\"|,\"version\":1|,\"specversion\":\"1.0\"|\"__type__\":\"list\",|,\"__data__\":[8]"),
                0..3,
            ),
        ) {
            let mut text: Vec<char> = written(exchange).chars().collect();
            for (at, removed, put_in) in changes {
                let at = at.index(text.len() + 1);
                let end = (at + removed).min(text.len());
                text.splice(at..end, put_in.chars());
            }
            let text: String = text.into_iter().collect();
            let envelopes = [Rule::Standard, Rule::OnlyExchanges].map(Reads::Envelope);
            for reads in envelopes.into_iter().chain([Reads::CloudEvents, Reads::RedisToolkit, Reads::All]) {
                let (one, other) = both(reads, &text);
                prop_assert_eq!(one, other, "{:?} {}", reads, text);
            }
        }
    }
}
