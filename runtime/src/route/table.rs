//! The table of a router: a trie over segments, built in constant evaluation and searched without allocation.

use crate::{
    channel::{
        encoding::EMPTY_REST,
        shape::{Shape, bytes_equal},
        template::{Segment, hash_segment},
    },
    route::entry::Route,
};

const NONE: u16 = u16::MAX;

/// The trie's memory, sized by [`nodes`] and [`literal_slots`].
#[doc(hidden)]
#[derive(Debug)]
pub struct TableStorage<const NODES: usize, const SLOTS: usize> {
    nodes: [Node; NODES],
    literals: [Literal; SLOTS],
}

/// A position in a channel. Every node but the root hangs below exactly one other, so it also holds its place among its siblings.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The route that ends here.
    route: u16,
    has_literals: bool,
    first_parameter: u16,
    first_rest: u16,
    next_sibling: u16,
    /// What a parameter's segment must look like to come here.
    shape: Shape,
}

/// A literal step from `parent` to `child`, in an open-addressed hash table.
#[derive(Clone, Copy, Debug)]
struct Literal {
    hash: u64,
    text: &'static str,
    parent: u16,
    child: u16,
}

/// The number of nodes that the routes need at most.
#[doc(hidden)]
#[must_use]
pub const fn nodes(routes: &[Route]) -> usize {
    let mut count = 1;
    let mut route = 0;
    while route < routes.len() {
        count += routes[route].template().segments().len();
        route += 1;
    }
    assert!(count < NONE as usize, "a router cannot have more than 65,534 segments");
    count
}

/// The number of slots that the literals of the routes need: at most half of them are used.
#[doc(hidden)]
#[must_use]
pub const fn literal_slots(routes: &[Route]) -> usize {
    (2 * nodes(routes)).next_power_of_two()
}

impl<const NODES: usize, const SLOTS: usize> TableStorage<NODES, SLOTS> {
    /// Builds the trie.
    #[must_use]
    pub const fn build(routes: &[Route]) -> Self {
        let empty = Node {
            route: NONE,
            has_literals: false,
            first_parameter: NONE,
            first_rest: NONE,
            next_sibling: NONE,
            shape: Shape::Text,
        };
        let vacant = Literal { hash: 0, text: "", parent: NONE, child: NONE };
        let mut table = Self { nodes: [empty; NODES], literals: [vacant; SLOTS] };
        let mut used = 1;
        let mut route = 0;
        while route < routes.len() {
            used = table.insert(routes[route].template().segments(), route as u16, used);
            route += 1;
        }
        table
    }

    /// The table over this memory.
    #[must_use]
    pub const fn table(&'static self, routes: &'static [Route]) -> RouteTable {
        RouteTable { nodes: &self.nodes, literals: &self.literals, routes }
    }

    const fn insert(&mut self, segments: &[Segment], route: u16, mut used: u16) -> u16 {
        let mut node = 0;
        let mut index = 0;
        while index < segments.len() {
            let child = match segments[index] {
                Segment::Literal { text, hash } => self.literal(node, text, hash, used),
                Segment::Parameter { shape, .. } => self.parameter(node, shape, used),
                Segment::Rest { shape, .. } => self.rest(node, shape, used),
            };
            if child == used {
                used += 1;
            }
            node = child as usize;
            index += 1;
        }
        // Of two routes that end here one is a fallback without a use, or the proofs have refused the router.
        if self.nodes[node].route == NONE {
            self.nodes[node].route = route;
        }
        used
    }

    const fn literal(&mut self, parent: usize, text: &'static str, hash: u64, fresh: u16) -> u16 {
        self.nodes[parent].has_literals = true;
        let mut slot = first_slot(hash, parent as u16, SLOTS);
        while self.literals[slot].child != NONE {
            let entry = &self.literals[slot];
            let same = entry.hash == hash && entry.parent == parent as u16;
            if same && bytes_equal(entry.text.as_bytes(), text.as_bytes()) {
                return entry.child;
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
        self.literals[slot] = Literal { hash, text, parent: parent as u16, child: fresh };
        fresh
    }

    const fn parameter(&mut self, parent: usize, shape: Shape, fresh: u16) -> u16 {
        let found = self.sibling(self.nodes[parent].first_parameter, &shape);
        if found != NONE {
            return found;
        }
        self.nodes[fresh as usize].shape = shape;
        self.nodes[fresh as usize].next_sibling = self.nodes[parent].first_parameter;
        self.nodes[parent].first_parameter = fresh;
        fresh
    }

    const fn rest(&mut self, parent: usize, shape: Shape, fresh: u16) -> u16 {
        self.nodes[fresh as usize].shape = shape;
        self.nodes[fresh as usize].next_sibling = self.nodes[parent].first_rest;
        self.nodes[parent].first_rest = fresh;
        fresh
    }

    const fn sibling(&self, mut node: u16, shape: &Shape) -> u16 {
        while node != NONE {
            let other = &self.nodes[node as usize].shape;
            if shape.covers(other) && other.covers(shape) {
                return node;
            }
            node = self.nodes[node as usize].next_sibling;
        }
        NONE
    }
}

/// Finds the route of a channel in a time that depends on the channel's segments, not on the number of routes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct RouteTable {
    nodes: &'static [Node],
    literals: &'static [Literal],
    routes: &'static [Route],
}

impl RouteTable {
    /// The route that takes the channel.
    #[must_use]
    pub fn find(&self, channel: &[u8]) -> Option<usize> {
        let mut fallback = NONE;
        let found = self.walk(0, channel, &mut fallback);
        let route = if found == NONE { fallback } else { found };
        (route != NONE).then_some(usize::from(route))
    }

    /// The route below `node` that takes the remaining text. A fallback is only remembered: another branch may do better.
    fn walk(&self, parent: u16, rest: &[u8], fallback: &mut u16) -> u16 {
        let node = &self.nodes[usize::from(parent)];
        let end = rest.iter().position(|&byte| byte == b':').unwrap_or(rest.len());
        let segment = &rest[..end];
        let tail = rest.get(end + 1..);
        if node.has_literals {
            let found = self.enter(self.literal(parent, segment), tail, fallback);
            if found != NONE {
                return found;
            }
        }
        let mut child = node.first_parameter;
        while child != NONE {
            if self.nodes[usize::from(child)].shape.accepts(segment) {
                let found = self.enter(child, tail, fallback);
                if found != NONE {
                    return found;
                }
            }
            child = self.nodes[usize::from(child)].next_sibling;
        }
        self.take_rest(node.first_rest, rest, fallback)
    }

    fn enter(&self, child: u16, tail: Option<&[u8]>, fallback: &mut u16) -> u16 {
        match tail {
            _ if child == NONE => NONE,
            Some(tail) => self.walk(child, tail, fallback),
            None => self.prefer(self.nodes[usize::from(child)].route, fallback),
        }
    }

    fn prefer(&self, route: u16, fallback: &mut u16) -> u16 {
        if route != NONE && self.routes[usize::from(route)].options().fallback {
            *fallback = route;
            return NONE;
        }
        route
    }

    fn literal(&self, parent: u16, segment: &[u8]) -> u16 {
        let hash = hash_segment(segment);
        let mut slot = first_slot(hash, parent, self.literals.len());
        loop {
            let entry = &self.literals[slot];
            if entry.child == NONE {
                return NONE;
            }
            if entry.hash == hash && entry.parent == parent && entry.text.as_bytes() == segment {
                return entry.child;
            }
            slot = (slot + 1) & (self.literals.len() - 1);
        }
    }

    fn take_rest(&self, mut child: u16, rest: &[u8], fallback: &mut u16) -> u16 {
        while child != NONE {
            let node = &self.nodes[usize::from(child)];
            let fits = || rest.split(|&byte| byte == b':').all(|segment| node.shape.accepts(segment));
            if rest == EMPTY_REST.as_bytes() || fits() {
                let found = self.prefer(node.route, fallback);
                if found != NONE {
                    return found;
                }
            }
            child = node.next_sibling;
        }
        NONE
    }
}

const fn first_slot(hash: u64, parent: u16, slots: usize) -> usize {
    // The high half of the hash is the well-mixed one; an odd factor keeps the parents apart.
    ((hash >> 32) as usize ^ (parent as usize).wrapping_mul(0x9E37_79B1)) & (slots - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{channel::template::Template, message::facts::Facts, route::entry::HandlerOptions};

    use super::*;

    const fn literal(text: &'static str) -> Segment {
        Segment::literal(text)
    }

    const fn parameter(shape: Shape) -> Segment {
        Segment::parameter("parameter", shape)
    }

    const fn rest(shape: Shape) -> Segment {
        Segment::rest("rest", shape)
    }

    fn route(segments: impl Into<Vec<Segment>>) -> Route {
        let segments = segments.into().leak();
        Route::new("handler", "Message", Facts::stub(Template::new("template", segments)), HandlerOptions::DEFAULT)
    }

    fn fallback(segments: impl Into<Vec<Segment>>) -> Route {
        let segments = segments.into().leak();
        Route::new(
            "handler",
            "Message",
            Facts::stub(Template::new("template", segments)),
            HandlerOptions::DEFAULT.fallback(),
        )
    }

    /// A table in leaked memory, large enough for the tests' routes.
    fn table(routes: &[Route]) -> RouteTable {
        let routes: &'static [Route] = Box::leak(routes.to_vec().into());
        assert!(nodes(routes) <= 256);
        Box::leak(Box::new(TableStorage::<256, 512>::build(routes))).table(routes)
    }

    #[track_caller]
    fn finds(table: RouteTable, channel: &str, route: impl Into<Option<usize>>) {
        assert_eq!(table.find(channel.as_bytes()), route.into(), "{channel:?}");
    }

    #[test]
    fn a_literal_is_preferred_and_a_parameter_takes_what_fits() {
        let table = table(&[
            route([literal("orders"), parameter(Shape::Unsigned)]),
            route([literal("orders"), literal("new")]),
            route([literal("orders"), parameter(Shape::OneOf(&["high", "low"])), literal("x")]),
            route([literal("orders")]),
        ]);
        finds(table, "orders:7", 0);
        finds(table, "orders:new", 1);
        finds(table, "orders:low:x", 2);
        finds(table, "orders", 3);
        for channel in
            ["orders:007", "orders:old", "orders:mid:x", "orders:low", "orders:7:x", "order", "orders:", "", ":"]
        {
            finds(table, channel, None);
        }
    }

    #[test]
    fn another_branch_is_tried_where_one_ends() {
        let table = table(&[
            route([literal("a"), literal("b"), literal("c")]),
            route([parameter(Shape::Text), literal("b"), literal("d")]),
            route([literal("a"), parameter(Shape::Text), literal("e")]),
            route([parameter(Shape::Unsigned), parameter(Shape::Unsigned), literal("f")]),
            route([parameter(Shape::Text), parameter(Shape::Signed), literal("g")]),
        ]);
        finds(table, "a:b:c", 0);
        finds(table, "a:b:d", 1);
        finds(table, "a:b:e", 2);
        finds(table, "1:2:f", 3);
        finds(table, "1:2:g", 4);
        finds(table, "a:b:f", None);
    }

    #[test]
    fn a_rest_takes_one_segment_or_more_or_its_mark() {
        let table =
            table(&[route([literal("logs"), rest(Shape::Text)]), route([literal("numbers"), rest(Shape::Unsigned)])]);
        finds(table, "logs:a", 0);
        finds(table, "logs:a:b:c", 0);
        finds(table, "logs:%.", 0);
        finds(table, "logs", None);
        finds(table, "logs:", None);
        finds(table, "logs:a::b", None);
        finds(table, "numbers:1:2", 1);
        finds(table, "numbers:%.", 1);
        finds(table, "numbers:1:two", None);
    }

    #[test]
    fn a_fallback_takes_what_no_other_route_takes() {
        let table = table(&[
            fallback([literal("orders"), parameter(Shape::Text)]),
            route([literal("orders"), parameter(Shape::Unsigned)]),
            route([parameter(Shape::OneOf(&["orders", "refunds"])), literal("new")]),
            fallback([literal("logs"), rest(Shape::Text)]),
            route([literal("logs"), literal("a"), rest(Shape::Unsigned)]),
        ]);
        finds(table, "orders:7", 1);
        finds(table, "orders:new", 2);
        finds(table, "orders:old", 0);
        finds(table, "logs:a:b", 3);
        finds(table, "logs:a:7", 4);
        finds(table, "logs:a", 3);
    }

    /// One text below many parents, in a table as full as it may be: steps must be told apart by more than their hash.
    #[test]
    fn literals_are_found_in_a_full_table() {
        const PARENTS: usize = 21;
        let names = |index: usize| -> &'static str { format!("parent-{index}").leak() };
        let routes = (0..PARENTS).flat_map(|index| {
            ["same", "other"].map(|child| route([literal(names(index)), literal(child), literal("end")]))
        });
        let routes: &'static [Route] = routes.collect::<Vec<_>>().leak();
        // Each parent is one node, and each of its routes has two more: 105 literals in 128 slots.
        let table = Box::leak(Box::new(TableStorage::<106, 128>::build(routes))).table(routes);
        for index in 0..PARENTS {
            finds(table, &format!("parent-{index}:same:end"), 2 * index);
            finds(table, &format!("parent-{index}:other:end"), 2 * index + 1);
            for channel in ["same:same:end", "same", "end"] {
                finds(table, channel, None);
            }
            finds(table, &format!("parent-{index}:end"), None);
            finds(table, &format!("parent-{index}:same:other"), None);
            finds(table, &format!("parent-{}:same:end", PARENTS + index), None);
        }
    }

    #[test]
    fn slots_are_spread_over_the_table() {
        const SLOTS: usize = 512;
        let distinct = |slots: &mut dyn Iterator<Item = usize>| slots.collect::<std::collections::HashSet<_>>().len();
        let hashes: Vec<u64> = (0..256).map(|index: u32| hash_segment(index.to_string().as_bytes())).collect();
        // 256 balls in 512 bins hit about 200 of them.
        for parent in [0, 1, 2, 77, 65_000] {
            let slots = distinct(&mut hashes.iter().map(|&hash| first_slot(hash, parent, SLOTS)));
            assert!(slots > 170, "{slots} below {parent}");
        }
        for &hash in &hashes {
            let slots = distinct(&mut (0..256).map(|parent| first_slot(hash, parent, SLOTS)));
            assert_eq!(slots, 256, "parents next to each other never collide");
        }
    }

    #[test]
    fn memory_is_sized_by_the_number_of_segments() {
        assert_eq!((nodes(&[]), literal_slots(&[])), (1, 2));
        let two = route([literal("a"), parameter(Shape::Text)]);
        let three = route([literal("a"), literal("b"), rest(Shape::Text)]);
        assert_eq!((nodes(&[two]), literal_slots(&[two])), (3, 8));
        assert_eq!((nodes(&[two, three]), literal_slots(&[two, three])), (6, 16));
        assert_eq!(nodes(&[route(vec![literal("a"); 65_533])]), 65_534);
        assert!(std::panic::catch_unwind(|| nodes(&[route(vec![literal("a"); 65_534])])).is_err());
    }

    #[test]
    fn a_fallback_is_taken_only_where_every_branch_has_failed() {
        let table = table(&[
            fallback([rest(Shape::Text)]),
            fallback([literal("a"), parameter(Shape::Unsigned)]),
            route([parameter(Shape::Text), literal("7")]),
            route([literal("a"), rest(Shape::OneOf(&["x"]))]),
            route([literal("a"), rest(Shape::OneOf(&["y"]))]),
        ]);
        finds(table, "a:7", 2);
        finds(table, "a:x:x", 3);
        finds(table, "a:y", 4);
        finds(table, "a:z", 0);
        finds(table, "b", 0);
        finds(table, "a:", None);
    }

    #[test]
    fn hostile_channels_are_no_routes() {
        let table = table(&[route([literal("a"), parameter(Shape::Text)]), route([literal("b"), rest(Shape::Text)])]);
        let (colons, segments) = (":".repeat(100_000), "a:".repeat(100_000));
        for channel in [colons.as_bytes(), segments.as_bytes(), b"a:\xFF\xFE:", b"\0", b"::::", &[0xFF; 1000]] {
            assert_eq!(table.find(channel), None);
        }
        let long = format!("b:{}", "x:".repeat(100_000) + "x");
        finds(table, &long, 1);
    }

    #[test]
    fn the_subscription_of_a_template_has_a_star_for_each_parameter() {
        assert_eq!(route([literal("orders"), literal("new")]).subscription(), ("orders:new".to_owned(), false));
        let all = route([literal("a"), parameter(Shape::Text), literal("b"), rest(Shape::Text)]);
        assert_eq!(all.subscription(), ("a:*:b:*".to_owned(), true));
    }

    /// What the table must agree with: each route is asked, segment by segment.
    fn naive(routes: &[Route], channel: &str) -> Option<usize> {
        let segments: Vec<&[u8]> = channel.split(':').map(str::as_bytes).collect();
        let matches = |route: &Route| {
            let template = route.template().segments();
            for (index, segment) in template.iter().enumerate() {
                let fits = match (segment, segments.get(index)) {
                    (_, None) => false,
                    (Segment::Literal { text, .. }, Some(given)) => text.as_bytes() == *given,
                    (Segment::Parameter { shape, .. }, Some(given)) => shape.accepts(given),
                    (Segment::Rest { shape, .. }, Some(_)) => {
                        let rest = &segments[index..];
                        return rest == [EMPTY_REST.as_bytes()] || rest.iter().all(|given| shape.accepts(given));
                    }
                };
                if !fits {
                    return false;
                }
            }
            template.len() == segments.len()
        };
        let find = |wanted| routes.iter().position(|route| route.options().fallback == wanted && matches(route));
        find(false).or_else(|| find(true))
    }

    fn any_segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            3 => prop_oneof![Just("a"), Just("b"), Just("7"), Just("high")].prop_map(literal),
            2 => any_shape().prop_map(parameter),
        ]
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Text),
            Just(Shape::Unsigned),
            Just(Shape::Signed),
            Just(Shape::OneOf(&["high", "low"])),
            Just(Shape::OneOf(&["a", "b"])),
        ]
    }

    fn any_route() -> impl Strategy<Value = Route> {
        let rests = prop_oneof![3 => Just(None), 1 => any_shape().prop_map(Some)];
        (prop::collection::vec(any_segment(), 0..4), rests, any::<bool>()).prop_map(
            |(mut segments, last, is_fallback)| {
                segments.extend(last.map(rest));
                if segments.is_empty() {
                    segments.push(literal("a"));
                }
                if is_fallback { fallback(segments) } else { route(segments) }
            },
        )
    }

    /// The routes that the proofs let through: of each two that conflict the later one is left out, and fallbacks that never run.
    fn without_conflicts(routes: Vec<Route>) -> Vec<Route> {
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            let conflicts = |other: &Route| {
                other.options().fallback == route.options().fallback && crate::route::proof::overlap(other, &route)
            };
            if !kept.iter().any(conflicts) {
                kept.push(route);
            }
        }
        let specific: Vec<Route> = kept.iter().filter(|route| !route.options().fallback).copied().collect();
        let never_runs = |fallback: &Route| {
            let template = fallback.template().segments();
            specific.iter().any(|route| crate::route::proof::covers(route.template().segments(), template))
        };
        kept.retain(|route| !route.options().fallback || !never_runs(route));
        kept
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_table_agrees_with_asking_each_route(
            routes in prop::collection::vec(any_route(), 1..12),
            channels in prop::collection::vec("(a|b|7|-7|high|low|x|%\\.|)(:(a|b|7|high|low|x|%\\.|)){0,4}", 1..40),
        ) {
            let routes = without_conflicts(routes);
            let table = table(&routes);
            for channel in channels {
                prop_assert_eq!(table.find(channel.as_bytes()), naive(&routes, &channel), "{} {:?}", channel, routes);
            }
        }
    }
}
