//! CloudEvents 1.0 in JSON's structured mode.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use crate::codec::{
    contract::{Codec, DecodeError, Expected, Inbound, Outbound},
    envelope::{BorrowedText, TimeLeft, Timestamp, Version, shorten},
    headers::{Headers, TextOrOther},
    json::{Json, decode_text, text, value},
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
/// | any other | a header: `traceparent`, for example |
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
        let text = text(payload)?;
        if !may_be_event(text) {
            return decode_text(expected, text);
        }
        let event: CloudEvent<'_> = value(text)?;
        match event.specversion {
            None => return decode_text(expected, text),
            Some(_) => event.check(expected)?,
        }
        let message = value(event.data.map_or("null", RawValue::get))?;
        Ok((message, event.inbound))
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        let text = text(payload).ok()?;
        match may_be_event(text).then(|| value::<CloudEvent<'_>>(text).ok()).flatten() {
            Some(event) if event.specversion.is_some() => Some(event.inbound),
            _ => Json::metadata(expected, payload),
        }
    }
}

/// A cheap look that spares other messages the first pass.
fn may_be_event(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && text.contains("\"specversion\"")
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
    event.serialize_entry("time", &rfc3339(outbound.timestamp))?;
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

fn rfc3339(millis: u64) -> String {
    let since = Duration::from_millis(millis.min(TIME_MAX));
    let time = UNIX_EPOCH.checked_add(since).unwrap_or_else(SystemTime::now);
    humantime::format_rfc3339_millis(time).to_string()
}

/// What was read of an event. Its data is read later, once the rest is right.
#[derive(Default)]
struct CloudEvent<'de> {
    specversion: Option<Cow<'de, str>>,
    source: Option<Cow<'de, str>>,
    name: Option<Cow<'de, str>>,
    content_type: Option<Cow<'de, str>>,
    data: Option<&'de RawValue>,
    has_base64: bool,
    inbound: Inbound<'de>,
}

impl CloudEvent<'_> {
    fn check(&self, expected: &Expected) -> Result<(), DecodeError> {
        let invalid = |reason: &str| Err(DecodeError::Invalid(reason.to_owned()));
        if !self.specversion.as_deref().is_some_and(|version| version == "1.0" || version.starts_with("1.0.")) {
            return invalid("a CloudEvent of another `specversion` than 1.0");
        }
        let Some(name) = &self.name else { return invalid("a CloudEvent without `type`") };
        if self.inbound.id.as_deref().is_none_or(str::is_empty) {
            return invalid("a CloudEvent without `id`");
        }
        if self.source.as_deref().is_none_or(str::is_empty) {
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
        if !self.content_type.as_deref().is_none_or(is_json) {
            return invalid("a CloudEvent whose `datacontenttype` is not JSON");
        }
        Ok(())
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

impl<'de> Deserialize<'de> for CloudEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CloudEventVisitor(PhantomData))
    }
}

struct CloudEventVisitor<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for CloudEventVisitor<'de> {
    type Value = CloudEvent<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<CloudEvent<'de>, A::Error> {
        let mut event = CloudEvent::default();
        let mut headers = Headers::default();
        while let Some(BorrowedText(name)) = members.next_key::<BorrowedText<'de>>()? {
            match &*name {
                "specversion" => once(&mut event.specversion, "specversion", &mut members)?,
                "id" => once(&mut event.inbound.id, "id", &mut members)?,
                "source" => once(&mut event.source, "source", &mut members)?,
                "type" => once(&mut event.name, "type", &mut members)?,
                "datacontenttype" => once(&mut event.content_type, "datacontenttype", &mut members)?,
                "correlationid" => once(&mut event.inbound.correlation_id, "correlationid", &mut members)?,
                "replyto" => once(&mut event.inbound.reply_to, "replyto", &mut members)?,
                "time" => event.inbound.timestamp = members.next_value::<Timestamp>()?.0,
                "timeleft" => event.inbound.time_left = members.next_value::<TimeLeft>()?.0,
                "version" => event.inbound.version = members.next_value::<Version>()?.0,
                "data" if event.data.is_some() => return Err(de::Error::duplicate_field("data")),
                "data" => event.data = Some(members.next_value()?),
                "data_base64" => {
                    event.has_base64 = true;
                    members.next_value::<IgnoredAny>()?;
                }
                name if OWN.contains(&name) => drop(members.next_value::<IgnoredAny>()?),
                name => {
                    if let TextOrOther::Text(value) = members.next_value()? {
                        headers.add(name.to_owned(), value)?;
                    }
                }
            }
        }
        event.inbound.headers = headers;
        Ok(event)
    }
}

/// Takes a text that must not come twice; `null` is as good as absent.
fn once<'de, A: MapAccess<'de>>(
    attribute: &mut Option<Cow<'de, str>>,
    name: &'static str,
    members: &mut A,
) -> Result<(), A::Error> {
    if attribute.is_some() {
        return Err(de::Error::duplicate_field(name));
    }
    *attribute = members.next_value::<Option<BorrowedText<'de>>>()?.map(|text| text.0);
    Ok(())
}
