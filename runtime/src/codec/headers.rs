//! Names and values that travel beside a message.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};

/// Names and values that travel beside a message. Names are compared exactly; the last value set for a name counts.
///
/// A publish sets them with [`header`](crate::Publishing::header), and a received message has them in
/// [`Delivery::headers`](crate::Delivery::headers). A message carries at most 256: a receiver does not understand an envelope with more.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Bus, Event, Headers, Message};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// let mut orders = bus.subscribe(OrderPlaced::any()).await?;
/// OrderPlaced { id: 7 }.publish(&bus).header("tenant", "acme").await?;
/// let order = orders.next().await.and_then(Event::into_message).ok_or("no order")?;
/// assert_eq!(order.delivery.headers().get("tenant"), Some("acme"));
///
/// let mut headers = Headers::new();
/// headers.set("tenant", "acme");
/// headers.set("tenant", "globex"); // replaces
/// assert_eq!(headers.iter().collect::<Vec<_>>(), [("tenant", "globex")]);
/// assert_eq!(headers.get("Tenant"), None);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(String, String)>,
}

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All headers, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a header.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }
}

impl Headers {
    /// Takes a received header, if there are not too many already.
    pub(crate) fn add<E: de::Error>(&mut self, name: String, value: String) -> Result<(), E> {
        if self.entries.len() == HEADERS_MAX {
            return Err(E::custom(format_args!("more than {HEADERS_MAX} headers")));
        }
        self.set(name, value);
        Ok(())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in entries {
            headers.set(name, value);
        }
        headers
    }
}

/// More headers than any use has, and few enough to search one by one.
const HEADERS_MAX: usize = 256;

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;

        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of texts")
            }

            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_none<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some(name) = entries.next_key::<String>()? {
                    // A foreign value that is no text is nobody's header, and no reason to lose the message.
                    if let TextOrOther::Text(value) = entries.next_value()? {
                        headers.add(name, value)?;
                    }
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_any(HeadersVisitor)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum TextOrOther {
    Text(String),
    Other(#[allow(dead_code)] IgnoredAny),
}
