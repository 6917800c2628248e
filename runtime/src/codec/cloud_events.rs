//! CloudEvents 1.0 in JSON's structured mode.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{Direct, Reading, Rule, keep, shorten},
    headers::LooseHeaders,
    json::{Apart, has_escaped_names, metadata_of_text, text, whole},
    located::{self, Reads},
    loose::{Loose, Name, Said},
    slot::Slot,
};

/// [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md) in JSON's structured mode.
///
/// | attribute | is |
/// |--|--|
/// | `id`, `time`, `type`, `data` | id, time, wire name and value of the message |
/// | `source` | what [`BusBuilder::source`](crate::BusBuilder::source) says |
/// | `datacontenttype` | `application/json` |
/// | `version`, `correlationid`, `replyto`, `timeleft` | the rest of the metadata, as extension attributes |
/// | any other | a header: `traceparent`, for example; of an integer or a boolean its text |
///
/// A header's name must be one of CloudEvents: lower-case letters and digits. `data_base64` and content that is not JSON are refused.
#[derive(Clone, Copy, Debug)]
pub struct CloudEvents;

impl Codec for CloudEvents {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Self::encode_with_slot(outbound, message, payload).map(drop)
    }

    fn encode_with_slot<T: Serialize>(
        outbound: &Outbound<'_>,
        message: &T,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Slot>, String> {
        outbound.headers.within_limit()?;
        if let Some((name, _)) = outbound.headers.iter().find(|(name, _)| !is_extension(name)) {
            return Err(format!(
                "the header {name:?} cannot be an attribute of a CloudEvent: write lower-case letters and digits"
            ));
        }
        write_attributes(outbound, payload).map_err(|error| error.to_string())?;
        // The attributes are an object: the rest takes the place of its last brace.
        payload.pop();
        let slot = outbound.exchange.and_then(|exchange| exchange.time_left).map(|millis| {
            payload.extend_from_slice(b",\"timeleft\":");
            Slot::append_decimal(payload, millis)
        });
        payload.extend_from_slice(b",\"data\":");
        serde_json::to_writer(&mut *payload, message).map_err(|error| error.to_string())?;
        payload.push(b'}');
        Ok(slot)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        located::decode(Reads::CloudEvents, expected, payload)
    }

    fn metadata<'de>(_expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        metadata_of_event(text(payload).ok()?)
    }
}

/// The data of an event and what the event says, where it is one.
pub(super) fn data_of_event<'de>(
    expected: &Expected,
    text: &'de str,
) -> Result<Option<(Option<&'de RawValue>, Inbound<'de>)>, DecodeError> {
    if !may_be_event(text) {
        return Ok(None);
    }
    let event = read_event(text)?;
    if !event.is_one() {
        return Ok(None);
    }
    event.check(expected)?;
    Ok(Some((event.data, event.inbound)))
}

/// The metadata of an event, or else of the standard envelope.
pub(super) fn metadata_of_event(text: &str) -> Option<Inbound<'_>> {
    match may_be_event(text).then(|| read_event(text).ok()).flatten() {
        Some(event) if event.is_one() => Some(event.inbound),
        _ => metadata_of_text(Rule::Standard, text),
    }
}

/// A cheap look that spares other messages the first pass.
fn may_be_event(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && (text.contains("\"specversion\"") || has_escaped_names(text.as_bytes()))
}

/// The attributes that are no header.
const OWN: [&str; 14] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "version",
    "correlationid",
    "replyto",
    "timeleft",
    "data_base64",
];

fn is_extension(name: &str) -> bool {
    let legal = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    legal && !name.is_empty() && !OWN.contains(&name)
}

fn write_attributes(outbound: &Outbound<'_>, payload: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut serializer = serde_json::Serializer::new(payload);
    let mut event = serde::Serializer::serialize_map(&mut serializer, None)?;
    event.serialize_entry("specversion", "1.0")?;
    event.serialize_entry("id", outbound.id)?;
    event.serialize_entry("source", outbound.source)?;
    event.serialize_entry("type", outbound.name)?;
    if let Some(time) = rfc3339(outbound.timestamp) {
        event.serialize_entry("time", &time)?;
    }
    event.serialize_entry("datacontenttype", "application/json")?;
    match i32::try_from(outbound.version) {
        Ok(version) => event.serialize_entry("version", &version)?,
        // An integer of CloudEvents has 32 bits and a sign.
        Err(_) => event.serialize_entry("version", &outbound.version.to_string())?,
    }
    if let Some(exchange) = outbound.exchange {
        event.serialize_entry("correlationid", exchange.correlation_id)?;
        if let Some(reply_to) = exchange.reply_to {
            event.serialize_entry("replyto", reply_to)?;
        }
    }
    for (name, value) in outbound.headers.iter() {
        event.serialize_entry(name, value)?;
    }
    event.end()
}

/// The end of the year 9999, in milliseconds: RFC 3339 knows no later time.
const TIME_MAX: u64 = 253_402_300_799_999;

fn rfc3339(millis: u64) -> Option<String> {
    let nanos = i128::from(millis.min(TIME_MAX)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?.format(&Rfc3339).ok()
}

/// What was read of an event. Its data is read later, once the rest is right.
#[derive(Default)]
struct CloudEvent<'de> {
    specversion: Attribute<'de>,
    id: Attribute<'de>,
    source: Attribute<'de>,
    name: Attribute<'de>,
    content_type: Attribute<'de>,
    data: Option<&'de RawValue>,
    /// The member that must not come twice, if it has.
    twice: Option<&'static str>,
    has_base64: bool,
    inbound: Inbound<'de>,
}

/// An attribute that says what the event is.
#[derive(Default)]
struct Attribute<'de> {
    /// Whether there is one that is not `null`.
    is_there: bool,
    text: Option<Cow<'de, str>>,
}

impl CloudEvent<'_> {
    /// Whether it means to be an event.
    fn is_one(&self) -> bool {
        self.specversion.is_there
    }

    fn check(&self, expected: &Expected) -> Result<(), DecodeError> {
        let invalid = |reason: &str| Err(DecodeError::Invalid(reason.to_owned()));
        if let Some(member) = self.twice {
            return Err(DecodeError::Invalid(format!("a CloudEvent with two members `{member}`")));
        }
        if !self.specversion.text.as_deref().is_some_and(|version| version == "1.0" || version.starts_with("1.0.")) {
            return invalid("a CloudEvent of another `specversion` than 1.0");
        }
        let Some(name) = &self.name.text else { return invalid("a CloudEvent without `type`") };
        if self.id.text.as_deref().is_none_or(str::is_empty) {
            return invalid("a CloudEvent without `id`");
        }
        if self.source.text.as_deref().is_none_or(str::is_empty) {
            return invalid("a CloudEvent without `source`");
        }
        if *name != expected.name {
            return Err(DecodeError::WrongType(shorten(name)));
        }
        if let Some(version) = self.inbound.version.filter(|version| *version > u64::from(expected.version)) {
            return Err(DecodeError::NewerVersion(version));
        }
        if self.has_base64 {
            return invalid("a CloudEvent with `data_base64`: send `data`");
        }
        if self.content_type.is_there && !self.content_type.text.as_deref().is_some_and(is_json) {
            return invalid("a CloudEvent whose `datacontenttype` is not JSON");
        }
        Ok(())
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

/// Reads an event's attributes, and where one is odd each apart from the others.
fn read_event(text: &str) -> Result<CloudEvent<'_>, DecodeError> {
    whole(text, EventSeed::<Direct>(PhantomData))
        .or_else(|_| whole(text, EventSeed::<Apart>(PhantomData)))
        .map_err(DecodeError::Invalid)
}

struct EventSeed<R>(PhantomData<R>);

impl<'de, R: Reading> DeserializeSeed<'de> for EventSeed<R> {
    type Value = CloudEvent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: Reading> Visitor<'de> for EventSeed<R> {
    type Value = CloudEvent<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<CloudEvent<'de>, A::Error> {
        let mut event = CloudEvent::default();
        let mut headers = LooseHeaders::default();
        let mut own = Own::default();
        while let Some(name) = members.next_key::<Name<'de>>()? {
            match name.as_str() {
                "data" if event.data.is_some() => {
                    event.twice = Some("data");
                    members.next_value::<IgnoredAny>()?;
                }
                "data" => event.data = Some(members.next_value()?),
                "data_base64" => {
                    event.has_base64 = true;
                    members.next_value::<IgnoredAny>()?;
                }
                attribute => {
                    let value = R::value(&mut members)?;
                    match OWN.iter().position(|own| *own == attribute) {
                        Some(at) => event.take(OWN[at], own.note(at), value),
                        None => headers.take(name.into_text(), value.attribute()),
                    }
                }
            }
        }
        let (headers, odd) = headers.into_headers();
        event.inbound.headers = headers;
        event.inbound.unreadable = event.inbound.unreadable.saturating_add(odd);
        Ok(event)
    }
}

/// Which of our own attributes have come, a bit for each.
#[derive(Default)]
struct Own(u16);

impl Own {
    /// Notes one, and says whether it had come before.
    fn note(&mut self, at: usize) -> bool {
        let again = self.0 & (1 << at) != 0;
        self.0 |= 1 << at;
        again
    }
}

impl<'de> CloudEvent<'de> {
    fn take(&mut self, attribute: &'static str, again: bool, value: Loose<'de>) {
        let Inbound { id, timestamp, version, correlation_id, reply_to, time_left, unreadable, .. } = &mut self.inbound;
        match attribute {
            "specversion" | "source" | "type" | "datacontenttype" => {
                let place = match attribute {
                    "specversion" => &mut self.specversion,
                    "source" => &mut self.source,
                    "type" => &mut self.name,
                    _ => &mut self.content_type,
                };
                if again {
                    self.twice = Some(attribute);
                    place.is_there |= value != Loose::Null;
                } else {
                    *place = Attribute::of(value);
                }
            }
            "id" => {
                keep(id, again, value.clone().text(), unreadable);
                if !again {
                    self.id = Attribute::of(value);
                }
            }
            "time" => keep(timestamp, again, value.timestamp(), unreadable),
            "version" => keep(version, again, value.version(), unreadable),
            "correlationid" => keep(correlation_id, again, value.attribute(), unreadable),
            "replyto" => keep(reply_to, again, value.text(), unreadable),
            "timeleft" => keep(time_left, again, value.time_left(), unreadable),
            // `subject` and `dataschema` say nothing to us.
            _ => {}
        }
    }
}

impl<'de> Attribute<'de> {
    fn of(value: Loose<'de>) -> Self {
        let is_there = value != Loose::Null;
        let text = match value.text() {
            Said::This(text) => Some(text),
            Said::Nothing | Said::Odd => None,
        };
        Self { is_there, text }
    }
}
