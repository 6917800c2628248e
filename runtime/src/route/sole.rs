//! Routes that share no channel with another one, whose channels are told without a search.
//!
//! Mostly each handler has a name of its own, as `orders:*`, and what comes by it is for that handler or for none. Then the channel is compared
//! with the handler's template, and only what does not fit is looked for in the table.

use memchr::memchr;

use crate::{
    channel::{shape::Shape, template::Segment},
    route::{entry::Route, routes::Routes, table::RouteTable},
};

/// For each token, the one route that has it, where that shares no channel with another one.
#[derive(Debug)]
pub(crate) struct SoleRoutes {
    by_token: Vec<Option<Sole>>,
}

/// A route whose channels no other one takes: a text, and behind it perhaps one parameter.
#[derive(Clone, Copy, Debug)]
struct Sole {
    route: usize,
    text: &'static str,
    parameter: Option<Shape>,
}

impl SoleRoutes {
    /// `tokens` has that of each route.
    pub(crate) fn new(routes: Routes, tokens: &[u32], table: &RouteTable) -> Self {
        let mut by_token = Vec::new();
        for (index, (route, &token)) in routes.iter().zip(tokens).enumerate() {
            if let Some(sole) = Sole::of(index, route).filter(|_| table.is_sole(index, route)) {
                let token = token as usize;
                by_token.resize(by_token.len().max(token + 1), None);
                by_token[token] = Some(sole);
            }
        }
        Self { by_token }
    }

    /// The route of a channel by whose token no other one comes. `None` says nothing.
    #[inline]
    pub(crate) fn find(&self, token: u32, channel: &[u8]) -> Option<usize> {
        let sole = self.by_token.get(token as usize)?.as_ref()?;
        sole.takes(channel).then_some(sole.route)
    }
}

impl Sole {
    fn of(index: usize, route: &Route) -> Option<Self> {
        let (text, parameter) = match route.template().segments() {
            [] => return None,
            [literals @ .., Segment::Parameter { shape, .. }] if literals.iter().all(is_literal) => {
                let text = route.template().text();
                (&text[..text.find('<')?], Some(*shape))
            }
            segments if segments.iter().all(is_literal) => (route.template().text(), None),
            _ => return None,
        };
        Some(Self { route: index, text, parameter })
    }

    #[inline]
    fn takes(&self, channel: &[u8]) -> bool {
        match (channel.strip_prefix(self.text.as_bytes()), self.parameter) {
            (Some(rest), None) => rest.is_empty(),
            // Digits are no separators.
            (Some(segment), Some(shape @ (Shape::Unsigned | Shape::Signed))) => shape.accepts(segment),
            (Some(segment), Some(shape)) => memchr(b':', segment).is_none() && shape.accepts(segment),
            (None, _) => false,
        }
    }
}

fn is_literal(segment: &Segment) -> bool {
    matches!(segment, Segment::Literal { .. })
}

#[cfg(test)]
mod tests {
    use crate::{channel::template::Template, message::facts::Facts, route::entry::HandlerOptions};

    use super::*;

    fn route(text: &'static str, segments: impl Into<Vec<Segment>>, options: HandlerOptions) -> Route {
        Route::new("handler", "Message", Facts::stub(Template::new(text, segments.into().leak())), options)
    }

    fn sole(routes: &[Route], tokens: &[u32]) -> (SoleRoutes, RouteTable) {
        let routes = Routes::of(routes.to_vec().leak());
        let table = RouteTable::build(routes);
        (SoleRoutes::new(routes, tokens, &table), table)
    }

    #[test]
    fn a_route_with_channels_of_its_own_is_found_by_its_token_as_in_the_table() {
        const NUMBER: Segment = Segment::parameter("id", Shape::Unsigned);
        const TEXT: Segment = Segment::parameter("name", Shape::Text);
        let plain = HandlerOptions::DEFAULT;
        let (sole, table) = sole(
            &[
                route("a:<id>", [Segment::literal("a"), NUMBER], plain),
                route("b:c:<name>", [Segment::literal("b"), Segment::literal("c"), TEXT], plain),
                route("d", [Segment::literal("d")], plain),
            ],
            &[0, 1, 2],
        );
        for (token, channel, found) in [
            (0, "a:7", Some(0)),
            (0, "a:07", None),
            (0, "a:7:x", None),
            (0, "a:", None),
            (1, "b:c:x", Some(1)),
            (1, "b:c:x:y", None),
            (1, "b:c:", None),
            (2, "d", Some(2)),
            (2, "d:e", None),
        ] {
            assert_eq!(sole.find(token, channel.as_bytes()), found, "{channel}");
            assert_eq!(table.find(channel.as_bytes()), found, "{channel}");
        }
        assert_eq!((sole.find(1, b"a:7"), sole.find(3, b"a:7"), sole.find(u32::MAX, b"a:7")), (None, None, None));
    }

    #[test]
    fn a_route_that_shares_channels_or_has_segments_behind_its_parameter_is_left_to_the_table() {
        const NUMBER: Segment = Segment::parameter("id", Shape::Unsigned);
        const TEXT: Segment = Segment::parameter("name", Shape::Text);
        let plain = HandlerOptions::DEFAULT;
        let (sole, table) = sole(
            &[
                route("a:<id>", [Segment::literal("a"), NUMBER], plain),
                route("a:<name>", [Segment::literal("a"), TEXT], HandlerOptions::DEFAULT.fallback()),
                route("b:<id>", [Segment::literal("b"), NUMBER], plain),
                route("b:new", [Segment::literal("b"), Segment::literal("new")], plain),
                route("c:<id>:x", [Segment::literal("c"), NUMBER, Segment::literal("x")], plain),
                route("d:<all..>", [Segment::literal("d"), Segment::rest("all", Shape::Text)], plain),
                route("e:<id>", [Segment::literal("e"), NUMBER], HandlerOptions::DEFAULT.fallback()),
                route("f:<name>:<id>", [Segment::literal("f"), TEXT, NUMBER], plain),
                route("", [], plain),
                route("g:<id>", [Segment::literal("g"), NUMBER], plain),
                route("g:<all..>", [Segment::literal("g"), Segment::rest("all", Shape::Text)], plain.fallback()),
            ],
            &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        );
        for (token, channel) in [(3, "c:<id>:x"), (6, "f:7"), (7, "")] {
            assert!(sole.find(token, channel.as_bytes()).is_none() && table.find(channel.as_bytes()).is_none());
        }
        for (token, channel) in
            [(0, "a:7"), (1, "b:7"), (2, "b:new"), (3, "c:7:x"), (4, "d:x"), (5, "e:7"), (6, "f:x:7"), (8, "g:7")]
        {
            assert!(sole.find(token, channel.as_bytes()).is_none() && table.find(channel.as_bytes()).is_some());
        }
    }
}
