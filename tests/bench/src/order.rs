//! The message that every program sends and takes: 189 bytes of JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidings::Message;

/// As many channels as there are customers' orders in flight in a small shop.
pub const CHANNELS: u64 = 100;
/// Ids have three digits, so that all payloads are of one length.
const FIRST: u64 = 100;

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[cfg_attr(feature = "peers", derive(ruststream::Outgoing))]
#[channel("orders:<id>")]
pub struct Order {
    pub id: u64,
    pub customer: String,
    pub email: String,
    pub total_cents: u64,
    pub currency: String,
    pub items: Vec<u32>,
    pub note: String,
}

impl Order {
    pub fn new(number: u64) -> Self {
        Self {
            id: FIRST + number % CHANNELS,
            customer: "Ada Lovelace".to_owned(),
            email: "ada@example.org".to_owned(),
            total_cents: 123_456,
            currency: "EUR".to_owned(),
            items: vec![17, 42, 99],
            note: "Please leave it with the neighbour; ring twice.xx".to_owned(),
        }
    }

    /// What is added up to see that nothing was lost or mixed up.
    pub fn checksum(&self) -> u64 {
        self.id + self.items.len() as u64 + self.note.len() as u64
    }

    pub fn checksum_of(messages: u64) -> u64 {
        (0..messages).map(|number| Self::new(number).checksum()).sum()
    }
}

/// Plain JSON, or the standard envelope around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    Plain,
    Envelope,
}

impl Form {
    pub fn encode(self, order: &Order, number: u64) -> String {
        let data = match self {
            Self::Plain => serde_json::to_string(order),
            Self::Envelope => serde_json::to_string(&Envelope {
                id: format!("0123456789abcdef-{number}").into(),
                name: "Order".into(),
                timestamp: timestamp(),
                version: 1,
                data: order,
            }),
        };
        data.expect("an order can be written")
    }

    /// As a program written by hand does it.
    pub fn decode(self, payload: &[u8]) -> Order {
        match self {
            Self::Plain => serde_json::from_slice(payload).expect("an order"),
            Self::Envelope => {
                let envelope: Envelope<Order> = serde_json::from_slice(payload).expect("an envelope");
                assert!(envelope.name == "Order" && envelope.version <= 1 && !envelope.id.is_empty());
                envelope.data
            }
        }
    }
}

/// The standard envelope as a program written by hand declares it.
#[derive(Serialize, Deserialize)]
struct Envelope<'a, T> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
    timestamp: u64,
    version: u32,
    data: T,
}

fn timestamp() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_189_bytes() {
        assert_eq!(Form::Plain.encode(&Order::new(7), 7).len(), 189);
    }
}
