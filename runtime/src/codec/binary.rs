//! What the binary formats have in common: the standard envelope, written and read with a format's own serializer and deserializer.

use std::marker::PhantomData;

use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};

use crate::codec::{
    contract::{DecodeError, Expected, Inbound, Outbound},
    envelope::{Envelope, Seen},
    scan::{Cursor, Head, rest_after_item},
};

/// A format of its own bytes.
pub(super) trait Binary {
    /// What the next bytes begin.
    fn head(cursor: &mut Cursor<'_>) -> Result<Head, &'static str>;

    fn write<T: Serialize>(value: &T, payload: &mut Vec<u8>) -> Result<(), String>;

    /// Reads the first item of a payload, which is known to be whole.
    fn read<'de, S: DeserializeSeed<'de>>(seed: S, payload: &'de [u8]) -> Result<S::Value, String>;
}

pub(super) fn encode<F: Binary, T: Serialize>(
    outbound: &Outbound<'_>,
    message: &T,
    payload: &mut Vec<u8>,
) -> Result<(), String> {
    F::write(&Written::new(outbound, message), payload)
}

/// Reads an envelope, or else the message alone.
pub(super) fn decode<'de, F: Binary, T: Deserialize<'de>>(
    expected: &Expected,
    payload: &'de [u8],
) -> Result<(T, Inbound<'de>), DecodeError> {
    let rest = rest_after_item(payload, F::head).map_err(|reason| DecodeError::Invalid(reason.to_owned()))?;
    let mut seen = Seen::default();
    let read = F::read(Envelope { expected, seen: &mut seen, message: PhantomData }, payload);
    seen.resolve(read, rest, || F::read(PhantomData::<T>, payload))
}

pub(super) fn metadata<F: Binary>(payload: &[u8]) -> Option<Inbound<'_>> {
    rest_after_item(payload, F::head).ok()?;
    let mut seen = Seen::default();
    let envelope = Envelope { expected: &Expected::ANYTHING, seen: &mut seen, message: PhantomData::<IgnoredAny> };
    F::read(envelope, payload).ok()?;
    Some(seen.inbound)
}

/// An envelope that is being written.
#[derive(serde::Serialize)]
struct Written<'a, T> {
    id: &'a str,
    #[serde(rename = "type")]
    name: &'static str,
    timestamp: u64,
    version: u32,
    #[serde(skip_serializing_if = "crate::codec::headers::Headers::is_empty")]
    headers: &'a crate::codec::headers::Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    data: &'a T,
}

impl<'a, T> Written<'a, T> {
    fn new(outbound: &Outbound<'a>, data: &'a T) -> Self {
        Self {
            id: outbound.id,
            name: outbound.name,
            timestamp: outbound.timestamp,
            version: outbound.version,
            headers: outbound.headers,
            correlation_id: outbound.exchange.map(|exchange| exchange.correlation_id),
            reply_to: outbound.exchange.and_then(|exchange| exchange.reply_to),
            deadline: outbound.exchange.and_then(|exchange| exchange.deadline),
            data,
        }
    }
}

impl<'de> Seen<'de> {
    /// The message of an envelope, or what `plain` reads where the payload was none.
    fn resolve<T>(
        mut self,
        read: Result<Option<T>, String>,
        rest: usize,
        plain: impl FnOnce() -> Result<T, String>,
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        let is_envelope = self.is_envelope();
        if let Some(refusal) = self.refusal.take().filter(|_| is_envelope) {
            return Err(refusal);
        }
        let message = match read {
            Ok(Some(message)) if is_envelope => message,
            Err(error) if is_envelope => return Err(DecodeError::Invalid(error)),
            _ => {
                self.inbound = Inbound::default();
                plain().map_err(DecodeError::Invalid)?
            }
        };
        if rest > 0 {
            return Err(DecodeError::Invalid(format!("{rest} bytes after the message")));
        }
        Ok((message, self.inbound))
    }
}
