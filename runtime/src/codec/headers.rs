//! Names and values that travel beside a message.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::loose::{Loose, Said};

/// Names and values that travel beside a message. Names are compared exactly; the last value set for a name counts. `Debug` shows the names.
///
/// A publish sets them with [`header`](crate::Publishing::header), and a received message has them in
/// [`Delivery::headers`](crate::Delivery::headers). A message carries at most 256: one with more is refused
/// when it is published.
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
#[derive(Clone, Default, PartialEq, Eq)]
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
    #[inline]
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
    /// These and others; where both set one, that of the others counts.
    pub(crate) fn with(&self, others: Self) -> Self {
        if self.is_empty() { others } else { self.iter().chain(others.iter()).collect() }
    }

    /// Whether a message may carry so many.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub(super) fn within_limit(&self) -> Result<(), String> {
        let count = self.entries.len();
        if count <= HEADERS_MAX {
            return Ok(());
        }
        Err(format!("{count} headers: a receiver takes {HEADERS_MAX} at most, so write the others into the message"))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value may be a secret, such as a token.
        let names = self
            .entries
            .iter()
            .take(SHOWN)
            .map(|(name, _)| name.char_indices().nth(NAME).map_or(name.as_str(), |(end, _)| &name[..end]));
        let more = (self.entries.len() > SHOWN).then_some("…");
        formatter.debug_set().entries(names.chain(more)).finish()
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

/// Names that are shown of many, and characters of each.
const SHOWN: usize = 6;
const NAME: usize = 24;

/// More headers than any use has, and few enough to search one by one.
const HEADERS_MAX: usize = 256;

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Headers as another program writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LooseHeaders {
    headers: Headers,
    /// Names of headers with two values.
    twice: Vec<String>,
    /// Values that are no text or not the first, and headers beyond what a message carries.
    odd: u32,
    too_many: bool,
}

impl LooseHeaders {
    /// What is no map.
    pub(super) fn unreadable() -> Self {
        Self { odd: 1, ..Self::default() }
    }

    pub(super) fn take(&mut self, name: Option<String>, value: Said<Cow<'_, str>>) {
        match (name, value) {
            (_, Said::Nothing) => {}
            (Some(_), Said::This(_)) if self.too_many => {}
            (Some(name), Said::This(_)) if self.headers.get(&name).is_some() => {
                self.odd = self.odd.saturating_add(1);
                if !self.twice.contains(&name) {
                    self.twice.push(name);
                }
            }
            (Some(name), Said::This(value)) => {
                self.headers.entries.push((name, value.into_owned()));
                self.too_many = self.headers.entries.len() > HEADERS_MAX;
            }
            _ => self.odd = self.odd.saturating_add(1),
        }
    }

    /// The headers, and how many things could not be read. Of too many none is taken, and none that has two values: which ones counted would
    /// depend on the reader.
    pub(super) fn into_headers(mut self) -> (Headers, u32) {
        if self.too_many {
            return (Headers::new(), self.odd.saturating_add(1));
        }
        self.headers.entries.retain(|(name, _)| !self.twice.contains(name));
        (self.headers, self.odd)
    }
}

impl<'de> Deserialize<'de> for LooseHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Loose::with_headers(deserializer)? {
            Loose::Headers(headers) => *headers,
            Loose::Null => Self::default(),
            _ => Self::unreadable(),
        })
    }
}
