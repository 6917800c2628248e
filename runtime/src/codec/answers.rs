//! Answers on the wire: what they hold, and how they are written and read whoever sent them.

use serde::{Deserialize, Serialize};

use crate::codec::{
    cloud_events::CloudEvents,
    contract::{Codec, DecodeError, Expected, Format, Inbound, Outbound},
    json::Json,
    redis_toolkit::RedisToolkit,
};

/// The `data` of an answer on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<R, E> {
    /// The reply, or that the message was handled.
    Ok(R),
    /// The handler's typed error.
    Error(E),
    /// Anything else that went wrong.
    Failure(String),
}

/// The wire name of answers.
pub(crate) const ANSWER: Expected = Expected::new("reply", 1, Format::Envelope);

/// The codec of answers: written as the standard envelope, read from any JSON text.
pub(crate) enum Answers {}

impl Codec for Answers {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Json::encode(outbound, message, payload)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        match foreign(payload) {
            Some(Format::CloudEvents) => CloudEvents::decode(expected, payload),
            Some(_) => RedisToolkit::decode(expected, payload),
            None => Json::decode(expected, payload),
        }
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        match foreign(payload) {
            Some(Format::CloudEvents) => CloudEvents::metadata(expected, payload),
            Some(_) => RedisToolkit::metadata(expected, payload),
            None => Json::metadata(expected, payload),
        }
    }
}

/// The format of an answer that does not start as the standard envelope does.
fn foreign(payload: &[u8]) -> Option<Format> {
    if payload.starts_with(b"{\"id\":") {
        return None;
    }
    let contains = |member: &[u8]| payload.windows(member.len()).any(|window| window == member);
    if contains(b"\"__type__\"") {
        Some(Format::RedisToolkit)
    } else {
        contains(b"\"specversion\"").then_some(Format::CloudEvents)
    }
}

pub(crate) fn correlation_id(payload: &[u8]) -> Option<u64> {
    let inbound = Answers::metadata(&ANSWER, payload)?;
    let id = inbound.correlation_id?;
    (id.len() == 16).then(|| u64::from_str_radix(&id, 16).ok()).flatten()
}
