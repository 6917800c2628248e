//! Where in a payload the message stands, in the formats of JSON text: found without asking for its type.
//!
//! Each type of message has its own code of what decodes it, in the program that has the type, so that is one short function: it reads the JSON
//! that was found. Everything else is compiled once.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::{
    cloud_events::data_of_event,
    contract::{DecodeError, Expected, Inbound},
    envelope::Rule,
    json::{SHORTEST, data_of_envelope, may_be_envelope, text},
    own_order::OwnOrder,
    redis_toolkit::unwrap,
    words,
};

/// What a payload of JSON text may be, beside the message alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// The standard envelope.
    Envelope(Rule),
    /// A CloudEvent, or the standard envelope.
    CloudEvents,
    /// What the Python library writes, around the standard envelope or the message.
    RedisToolkit,
    /// Any of them.
    All,
}

impl Reads {
    fn rule(self) -> Rule {
        match self {
            Self::Envelope(rule) => rule,
            Self::CloudEvents | Self::RedisToolkit | Self::All => Rule::Standard,
        }
    }
}

/// The JSON of a message.
struct Located<'de> {
    json: &'de str,
    /// Whether it is the message's. Else it is, if it is one value: the envelope was taken apart by its fixed pieces.
    is_sure: bool,
}

/// The message and its metadata, of which there may be none.
pub(super) fn decode<'de, T: Deserialize<'de>>(
    reads: Reads,
    expected: &Expected,
    payload: &'de [u8],
) -> Result<(T, Inbound<'de>), DecodeError> {
    let mut inbound = None;
    match decode_beside(reads, expected, payload, &mut inbound) {
        Ok(message) => Ok((message, inbound.unwrap_or_default())),
        Err(error) => Err(error),
    }
}

/// The same with a place for the metadata.
///
/// In place of its call always: with a hundred types each function that a message passes through is read anew from memory, and so is what it
/// returns. Without `and_then` and the like, which are functions of their own for each type in a program that is not optimized.
#[inline(always)]
pub(super) fn decode_beside<'de, T: Deserialize<'de>>(
    reads: Reads,
    expected: &Expected,
    payload: &'de [u8],
    inbound: &mut Option<Inbound<'de>>,
) -> Result<T, DecodeError> {
    let mut located = glance(reads, expected, payload, inbound)?;
    loop {
        let mut reader = serde_json::Deserializer::from_str(located.json);
        let error = match T::deserialize(&mut reader) {
            Err(error) => error,
            Ok(message) => match reader.end() {
                Ok(()) => return Ok(message),
                Err(error) => error,
            },
        };
        located = again(&located, &error, reads, expected, payload, inbound)?;
    }
}

/// Where the message is at a first look. The metadata of an envelope is put into its place.
fn glance<'de>(
    reads: Reads,
    expected: &Expected,
    payload: &'de [u8],
    inbound: &mut Option<Inbound<'de>>,
) -> Result<Located<'de>, DecodeError> {
    // One check of the whole payload lets the parser borrow and skip the check of each string.
    let text = text(payload)?;
    let rule = reads.rule();
    if matches!(reads, Reads::Envelope(_)) && text.len() <= SHORTEST {
        return Ok(Located { json: text, is_sure: true });
    }
    // Its members are known to be no event's, and no wrapper's.
    match OwnOrder::of(text) {
        Some(ours) if ours.fits(expected, rule) => {
            *inbound = Some(ours.inbound);
            Ok(Located { json: ours.data, is_sure: false })
        }
        _ => find(reads, expected, text, inbound),
    }
}

/// After what was found is no value of the type: where else the message is, or what is wrong with it.
#[cold]
fn again<'de>(
    located: &Located<'de>,
    error: &serde_json::Error,
    reads: Reads,
    expected: &Expected,
    payload: &'de [u8],
    inbound: &mut Option<Inbound<'de>>,
) -> Result<Located<'de>, DecodeError> {
    let text = text(payload)?;
    if located.is_sure {
        return Err(DecodeError::Invalid(words::of_json_behind(before(text, located.json), error)));
    }
    *inbound = None;
    find(reads, expected, text, inbound)
}

/// What stands before a part of a text. Nothing, where it is none of it.
fn before<'t>(text: &'t str, part: &str) -> &'t str {
    let at = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    text.get(..at).unwrap_or_default()
}

/// Where the message is, in whatever order the members of an envelope are.
fn find<'de>(
    reads: Reads,
    expected: &Expected,
    text: &'de str,
    inbound: &mut Option<Inbound<'de>>,
) -> Result<Located<'de>, DecodeError> {
    let sure = |json| Located { json, is_sure: true };
    let (rule, text) = match reads {
        Reads::Envelope(_) | Reads::CloudEvents => (reads.rule(), text),
        Reads::RedisToolkit | Reads::All => (reads.rule(), unwrap(text)?),
    };
    if matches!(reads, Reads::CloudEvents | Reads::All)
        && let Some((data, said)) = data_of_event(expected, text)?
    {
        *inbound = Some(said);
        return Ok(sure(data.map_or("null", RawValue::get)));
    }
    if may_be_envelope(rule, text.as_bytes())
        && let Some(found) = data_of_envelope(expected, rule, text)
    {
        let (data, said) = found?;
        *inbound = Some(said);
        return Ok(sure(data.get()));
    }
    Ok(sure(text))
}

/// [`decode`] without the first look, which must find the same.
#[cfg(test)]
pub(super) fn decode_with_care<'de, T: Deserialize<'de>>(
    reads: Reads,
    expected: &Expected,
    text: &'de str,
) -> Result<(T, Inbound<'de>), DecodeError> {
    let mut inbound = None;
    let located = find(reads, expected, text, &mut inbound)?;
    let message = serde_json::from_str(located.json)
        .map_err(|error| DecodeError::Invalid(words::of_json_behind(before(text, located.json), &error)))?;
    Ok((message, inbound.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected::new("Order", 2);

    fn words_of(reads: Reads, payload: &str) -> String {
        match decode::<Vec<u64>>(reads, &EXPECTED, payload.as_bytes()) {
            Err(DecodeError::Invalid(words)) => words,
            other => panic!("{payload}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_in_the_payload_wherever_the_message_stands() {
        let envelope = Reads::Envelope(Rule::Standard);
        let message = "[1,\ntrue]";
        let alone = words_of(envelope, message);
        assert_eq!(alone, "invalid type: boolean, expected u64 at line 2 column 4");
        for (reads, payload) in [
            (envelope, format!(r#"{{"id":"a","type":"Order","timestamp":1,"version":1,"data":{message}}}"#)),
            (envelope, format!(r#"{{"data":{message},"type":"Order","id":"a"}}"#)),
            (Reads::RedisToolkit, format!(r#"{{"__type__": "list", "__data__": {message}}}"#)),
            (
                Reads::CloudEvents,
                format!(r#"{{"specversion":"1.0","id":"a","source":"/","type":"Order","data":{message}}}"#),
            ),
        ] {
            assert_eq!(words_of(reads, &payload), alone, "{payload}");
        }
        let on_one_line = |before: &str| words_of(envelope, &format!("{before}[true]}}"));
        assert_eq!(
            on_one_line(r#"{"id":"a","type":"Order","data":"#),
            "invalid type: boolean, expected u64 at line 1 column 37"
        );
        assert_eq!(
            on_one_line("{\"id\":\"a\",\n\"type\":\"Order\",\n\"data\":"),
            "invalid type: boolean, expected u64 at line 3 column 12"
        );
        assert_eq!(
            words_of(Reads::RedisToolkit, "__NONE__"),
            "invalid type: null, expected a sequence at line 1 column 4"
        );
    }

    #[test]
    fn what_comes_behind_a_value_is_refused() {
        for payload in ["[7] 8", r#"{"id":"a","type":"Order","timestamp":1,"version":1,"data":[7] 8}"#] {
            let words = words_of(Reads::Envelope(Rule::Standard), payload);
            assert!(words.contains("at line 1 column"), "{payload}: {words}");
        }
    }
}
