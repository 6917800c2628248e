//! Answers on the wire: what they hold, and how they are written and read whoever sent them.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use crate::codec::{
    cloud_events::metadata_of_event,
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{BorrowedText, without_data},
    json::{Json, text},
    located::{self, Reads},
    own_order::correlation_id,
    redis_toolkit::unwrap,
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
    /// Nothing of it was begun, and others may still handle it.
    Declined(PassedOn),
}

/// Why whoever has answered did not handle the message: nothing of it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PassedOn {
    /// Too many messages wait for the handler.
    Busy,
    /// The handler's filter did not want it.
    Filtered,
    /// Whoever has it knows no such message, or no version as new as that.
    Unknown,
    /// Whoever has it stops.
    Stopping,
    /// Its time was over. Nobody waits for it any more.
    Expired,
}

impl PassedOn {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Busy => "too many messages waited for the handler, and this one was dropped",
            Self::Filtered => "the handler's filter did not want it",
            Self::Unknown => "no instance knows the message in this version",
            Self::Stopping => "the service stops",
            Self::Expired => "its time was over",
        }
    }
}

/// The header of an answer that says how many services share the subscription by which the message came, where that is more than one: all
/// of them answer, and the server has counted one receiver.
pub(crate) const SHARED_BY: &str = "tidingsshared";

/// Counts answers until all whom the server has counted have given one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    receivers: f64,
}

impl Answered {
    /// Notes an answer of one of those who have the message; `true` once nobody is left, where the number of receivers is known.
    pub(crate) fn by(&mut self, inbound: &Inbound<'_>, receivers: Option<u64>) -> bool {
        let shared = inbound.headers.get(SHARED_BY).and_then(|shared| shared.parse::<u32>().ok()).unwrap_or(1);
        self.one_of(shared);
        receivers.is_some_and(|receivers| self.is_all(receivers))
    }

    /// Notes one of so many who share what the server has counted once.
    pub(crate) fn one_of(&mut self, shared: u32) {
        self.receivers += 1.0 / f64::from(shared.max(1));
    }

    pub(crate) fn is_all(self, receivers: u64) -> bool {
        // Thirds do not add up to exactly one.
        self.receivers + 1e-6 >= receivers as f64
    }
}

/// The wire name of answers.
pub(crate) const ANSWER: Expected = Expected::new("reply", 1);

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
        located::decode(Reads::All, expected, payload)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        metadata_of_event(unwrap(text(payload).ok()?).ok()?)
    }
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFor {
    /// The waiter of this number.
    Waiter(u64),
    /// Nobody: it has no correlation id, or one that is not ours.
    Nobody,
}

impl AnswerFor {
    /// What the head of an answer says that is written in our own order, where the correlation id stands before the data: in a time that does
    /// not depend on the answer's size. `None` where the whole of it has to be read.
    pub(crate) fn of_head(payload: &[u8]) -> Option<Self> {
        if let Some(id) = correlation_id(payload) {
            return Some(Self::of_id(id));
        }
        let mut found = None;
        // Whatever follows is left unread, so the parser never comes to the end that it expects.
        let _ = AnswerHead { found: &mut found }.deserialize(&mut serde_json::Deserializer::from_slice(payload));
        found
    }

    /// What the head of an answer says that was passed over, if its data is its last member.
    pub(crate) fn of_cut(head: &[u8]) -> Self {
        let of_whole =
            || without_data(head).map(|payload| Self::of_whole(&payload)).find(|found| *found != Self::Nobody);
        Self::of_head(head).or_else(of_whole).unwrap_or(Self::Nobody)
    }

    /// What the whole answer says, in whatever order and format of JSON text it is written.
    pub(crate) fn of_whole(payload: &[u8]) -> Self {
        let id = Answers::metadata(&ANSWER, payload).and_then(|inbound| inbound.correlation_id);
        id.map_or(Self::Nobody, |id| Self::of_id(&id))
    }

    fn of_id(id: &str) -> Self {
        let number = if id.len() == 16 { u64::from_str_radix(id, 16).ok() } else { None };
        number.map_or(Self::Nobody, Self::Waiter)
    }
}

/// Reads members up to the correlation id, and nothing behind it.
struct AnswerHead<'a> {
    found: &'a mut Option<AnswerFor>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Before {
    Id,
    Type,
    Timestamp,
    Version,
    Headers,
    CorrelationId,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for AnswerHead<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerHead<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key()? {
            match member {
                Before::Id | Before::Type | Before::Timestamp | Before::Version | Before::Headers => {
                    members.next_value::<IgnoredAny>()?;
                }
                Before::CorrelationId => {
                    *self.found = Some(AnswerFor::of_id(&members.next_value::<BorrowedText<'de>>()?.0));
                    return Ok(());
                }
                Before::Other => return Ok(()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use crate::codec::{
        contract::{Exchange, Format},
        headers::Headers,
    };

    use super::*;

    fn answer(headers: &Headers, id: &str) -> Vec<u8> {
        let exchange = Exchange { correlation_id: id, reply_to: None, time_left: None };
        let outbound = Outbound {
            format: Format::Envelope,
            source: "test",
            name: ANSWER.name,
            version: ANSWER.version,
            id: "x-1",
            timestamp: 1,
            headers,
            exchange: Some(exchange),
        };
        let mut payload = Vec::new();
        Answers::encode(&outbound, &Answer::<_, ()>::Ok("reply"), &mut payload).unwrap();
        payload
    }

    #[test]
    fn the_head_of_our_own_answers_says_whom_they_are_for() {
        for headers in [Headers::default(), Headers::from_iter([("traceparent", "00-1"), ("note", "{\"data\":1}")])] {
            let mut payload = answer(&headers, "00000000000000ff");
            assert_eq!(AnswerFor::of_head(&payload), Some(AnswerFor::Waiter(255)));
            assert_eq!(AnswerFor::of_whole(&payload), AnswerFor::Waiter(255));
            // Nothing behind it is looked at.
            let end = payload.windows(8).position(|window| window == b",\"data\":").unwrap();
            payload.truncate(end);
            payload.extend_from_slice(b"\xff");
            assert_eq!(AnswerFor::of_head(&payload), Some(AnswerFor::Waiter(255)));
        }
        assert_eq!(AnswerFor::of_head(&answer(&Headers::default(), "somebody else's")), Some(AnswerFor::Nobody));
    }

    #[test]
    fn all_have_answered_when_each_whom_the_server_counted_has() {
        let shared = |by: &str| Inbound::new().headers(Headers::from_iter([(SHARED_BY, by)]));
        let mut answered = Answered::default();
        assert!(answered.is_all(0) && !answered.is_all(1));
        let thirds = [false, false, true].map(|last| answered.by(&shared("3"), Some(1)) == last);
        assert_eq!(thirds, [true; 3]);
        // Whatever stands there is one at least.
        let more = ["0", "x", "1"].map(|by| answered.by(&shared(by), Some(4)));
        assert_eq!(more, [false, false, true]);
        assert!(!answered.by(&Inbound::new(), None));
        assert!(answered.is_all(5) && !answered.is_all(6));
    }

    #[test]
    fn each_reason_has_its_words() {
        let all = [PassedOn::Busy, PassedOn::Filtered, PassedOn::Unknown, PassedOn::Stopping, PassedOn::Expired];
        let words = all.map(PassedOn::reason);
        assert!(words.iter().all(|reason| reason.contains(' ')), "{words:?}");
        assert_eq!(words.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn of_an_answer_that_was_passed_over_the_head_is_enough() {
        for payload in [
            String::from_utf8(answer(&Headers::from_iter([("a", "b"), ("data", "x")]), "00000000000000ff")).unwrap(),
            r#"{"specversion":"1.0","id":"a","type":"reply","source":"/x","correlationid":"00000000000000ff","data":{"ok":1}}"#.to_owned(),
            r#"{"type": "reply", "own": {"data": 1}, "id": "a", "correlation_id": "00000000000000ff", "data": {"ok": 1}}"#.to_owned(),
            r#"{"__type__": "dict", "__data__": {"own": 1, "id": "a", "type": "reply", "correlation_id": "00000000000000ff", "data": {"ok": 1}}}"#.to_owned(),
        ] {
            let cut = payload.rfind(r#""ok""#).unwrap();
            assert_eq!(AnswerFor::of_cut(&payload.as_bytes()[..cut]), AnswerFor::Waiter(255), "{payload}");
        }
        for head in ["", "{", r#"{"data":{"ok":"#, r#"{"data":{"correlation_id":"00000000000000ff","data":"#] {
            assert_eq!(AnswerFor::of_cut(head.as_bytes()), AnswerFor::Nobody, "{head}");
        }
    }

    #[test]
    fn answers_in_another_order_are_read_whole() {
        for payload in [
            r#"{"data":{"ok":1},"id":"a","type":"reply","correlation_id":"00000000000000ff"}"#,
            r#"{"specversion":"1.0","id":"a","type":"reply","source":"/x","correlationid":"00000000000000ff","data":{"ok":1}}"#,
            r#"{"__type__":"dict","__data__":{"id":"a","type":"reply","correlation_id":"00000000000000ff","data":{"ok":1}}}"#,
        ] {
            assert_eq!(AnswerFor::of_head(payload.as_bytes()), None, "{payload}");
            assert_eq!(AnswerFor::of_whole(payload.as_bytes()), AnswerFor::Waiter(255), "{payload}");
        }
        for payload in ["", "[]", "{", "{}", "null", r#"{"correlation_id":7}"#] {
            assert_eq!(AnswerFor::of_head(payload.as_bytes()), None, "{payload}");
            assert_eq!(AnswerFor::of_whole(payload.as_bytes()), AnswerFor::Nobody, "{payload}");
        }
    }
}
