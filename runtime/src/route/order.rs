//! What messages of a handler must have in common to be handled one after the other.
//!
//! A handler's option says it, or else the kind of its message. The key is a piece of the channel, so nothing is decoded to find it.

use crate::{
    channel::{
        shape::bytes_equal,
        template::{Segment, Template},
    },
    message::facts::{Facts, Kind},
    route::proof::ErrorText,
};

/// What messages of a handler must have in common to be handled one after the other, as `#[handler(order = …)]` writes it.
///
/// Messages that share the key are handled one at a time and in the order in which one publisher sent them; others concurrently, up to the
/// handler's [`concurrency`](crate::HandlerOptions::concurrency). Without the option the kind decides: broadcasts are ordered by
/// [`Channel`](Self::Channel), requests by [`None`](Self::None).
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use tidings::{Message, Order, Router, router};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("accounts:<account>:<entry: u64>")]
/// struct Booked { account: u64 }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("quotes")]
/// #[reply(u64)]
/// struct QuoteRequest { sku: String }
///
/// struct Bank;
///
/// #[router]
/// impl Bank {
///     #[handler(order = account)] // whatever the entry is
///     async fn booked(&self, _booked: Booked) {}
///
///     #[handler]
///     async fn quote(&self, request: QuoteRequest) -> u64 {
///         request.sku.len() as u64
///     }
/// }
///
/// assert_eq!(Bank::ROUTES[0].order(), Order::Parameter("account"));
/// assert_eq!(Bank::ROUTES[1].order(), Order::None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// The whole channel.
    Channel,
    /// Nothing: every message may be handled while others are.
    None,
    /// The parameter of this name: its segment of the channel, or all of its segments where it takes the rest.
    Parameter(&'static str),
}

impl Order {
    /// Of messages of this kind, where the handler does not choose.
    pub(super) const fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::Broadcast => Self::Channel,
            Kind::Request | Kind::Queue => Self::None,
        }
    }

    /// Where the key is in a channel of this template.
    pub(super) const fn key(self, template: Template) -> OrderKey {
        match self {
            Self::None => OrderKey::Nothing,
            Self::Channel => OrderKey::Channel,
            Self::Parameter(name) => match position(template, name) {
                Some(position) => position,
                // The proof has refused it.
                None => OrderKey::Channel,
            },
        }
    }
}

/// Where the order key is in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderKey {
    /// There is none.
    Nothing,
    Channel,
    /// The segment at this place.
    Segment(usize),
    /// This segment and all behind it.
    From(usize),
}

impl OrderKey {
    /// The key of a channel that fits the template.
    #[inline]
    pub(crate) fn of(self, channel: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::Channel => Some(channel),
            Self::Segment(place) => Some(channel.split(|&byte| byte == b':').nth(place).unwrap_or_default()),
            Self::From(0) => Some(channel),
            Self::From(place) => {
                let mut separators = channel.iter().enumerate().filter(|&(_, &byte)| byte == b':');
                // A rest may be empty, and has no separator before it then.
                let start = separators.nth(place - 1).map_or(channel.len(), |(at, _)| at + 1);
                Some(&channel[start..])
            }
        }
    }
}

const fn position(template: Template, name: &str) -> Option<OrderKey> {
    let segments = template.segments();
    let mut place = 0;
    while place < segments.len() {
        match &segments[place] {
            Segment::Parameter { name: found, .. } if bytes_equal(found.as_bytes(), name.as_bytes()) => {
                return Some(OrderKey::Segment(place));
            }
            Segment::Rest { name: found, .. } if bytes_equal(found.as_bytes(), name.as_bytes()) => {
                return Some(OrderKey::From(place));
            }
            _ => place += 1,
        }
    }
    None
}

/// Fails the build when the template has no parameter of this name. The handler's macro emits it, spanned at the name.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_order(facts: Facts, name: &str) {
    // Of a message whose own macro has failed nothing is known: its template has a character that no other has.
    let is_known = !matches!(facts.template().text().as_bytes(), [.., b'?']);
    if is_known && position(facts.template(), name).is_none() {
        panic!("{}", unknown_parameter(facts.template(), name).as_str());
    }
}

const fn unknown_parameter(template: Template, name: &str) -> ErrorText {
    let mut text = ErrorText::new()
        .push("`")
        .push(name)
        .push("` is no parameter of `")
        .push(template.text())
        .push("`: write `order = channel`, `order = none`");
    let segments = template.segments();
    let mut place = 0;
    while place < segments.len() {
        if let Segment::Parameter { name, .. } | Segment::Rest { name, .. } = &segments[place] {
            text = text.push(", `order = ").push(name).push("`");
        }
        place += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::channel::shape::Shape;

    use super::*;

    const TEMPLATE: Template = Template::new(
        "rooms:<room>:in:<rest..>",
        &[
            Segment::literal("rooms"),
            Segment::parameter("room", Shape::Text),
            Segment::literal("in"),
            Segment::rest("rest", Shape::Text),
        ],
    );

    fn key(order: Order, channel: &str) -> Option<&str> {
        order.key(TEMPLATE).of(channel.as_bytes()).map(|key| str::from_utf8(key).unwrap())
    }

    #[test]
    fn the_key_is_a_piece_of_the_channel() {
        let channel = "rooms:a%3Ab:in:x:y";
        assert_eq!(key(Order::None, channel), None);
        assert_eq!(key(Order::Channel, channel), Some(channel));
        assert_eq!(key(Order::Parameter("room"), channel), Some("a%3Ab"));
        assert_eq!(key(Order::Parameter("rest"), channel), Some("x:y"));
    }

    #[test]
    fn an_empty_rest_is_a_key_too() {
        assert_eq!(key(Order::Parameter("rest"), "rooms:a:in"), Some(""));
        assert_eq!(key(Order::Parameter("rest"), "rooms:a:in:x"), Some("x"));
        assert_eq!(OrderKey::From(0).of(b"a:b"), Some(b"a:b".as_slice()));
    }

    #[test]
    fn the_kind_decides_where_the_handler_does_not() {
        assert_eq!(Order::of_kind(Kind::Broadcast), Order::Channel);
        assert_eq!(Order::of_kind(Kind::Request), Order::None);
    }

    #[test]
    fn a_name_that_is_no_parameter_lists_those_that_are() {
        let text = unknown_parameter(TEMPLATE, "rom");
        assert_eq!(
            text.as_str(),
            "`rom` is no parameter of `rooms:<room>:in:<rest..>`: write `order = channel`, `order = none`, `order = room`, `order = rest`"
        );
        for name in ["rooms", "in", "roo", "rooma", ""] {
            assert_eq!(position(TEMPLATE, name), None, "{name}");
        }
    }
}
