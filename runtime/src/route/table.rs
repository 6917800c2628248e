//! The table of a router: a trie over segments, built when a service starts and searched without allocation.

use crate::{
    channel::{
        encoding::EMPTY_REST,
        shape::Shape,
        template::{Segment, hash_segment},
    },
    message::facts::Kind,
    route::{entry::Route, routes::Routes},
};

const NONE: u16 = u16::MAX;

/// A position in a channel. Every node but the root hangs below exactly one other, so it also holds its place among its siblings.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The route that ends here.
    route: u16,
    /// Whether that is a fallback.
    is_fallback: bool,
    has_literals: bool,
    first_parameter: u16,
    first_rest: u16,
    next_sibling: u16,
    /// What a parameter's segment must look like to come here.
    shape: Shape,
}

impl Node {
    const EMPTY: Self = Self {
        route: NONE,
        is_fallback: false,
        has_literals: false,
        first_parameter: NONE,
        first_rest: NONE,
        next_sibling: NONE,
        shape: Shape::Text,
    };
}

/// A literal step from `parent` to `child`, in an open-addressed hash table.
#[derive(Clone, Copy, Debug)]
struct Literal {
    hash: u64,
    text: &'static str,
    parent: u16,
    child: u16,
}

impl Literal {
    const VACANT: Self = Self { hash: 0, text: "", parent: NONE, child: NONE };
}

/// The number of slots for the literals of so many nodes: at most half of them are used.
fn literal_slots(nodes: usize) -> usize {
    (2 * nodes).next_power_of_two()
}

/// Finds the route of a channel in a time that depends on the channel's segments, not on the number of routes.
#[doc(hidden)]
#[derive(Debug)]
pub struct RouteTable {
    nodes: Vec<Node>,
    literals: Vec<Literal>,
}

impl RouteTable {
    /// Builds the trie. The proof has counted its nodes.
    #[must_use]
    pub fn build(routes: Routes) -> Self {
        let nodes = routes.nodes();
        let mut table =
            Self { nodes: Vec::with_capacity(nodes), literals: vec![Literal::VACANT; literal_slots(nodes)] };
        table.nodes.push(Node::EMPTY);
        for (index, route) in routes.iter().enumerate() {
            // Tasks of a queue do not come by channels, and may have the name of one.
            if !matches!(route.facts().kind(), Kind::Queue) {
                table.insert(route, index as u16);
            }
        }
        table
    }

    /// The route that takes the channel.
    #[must_use]
    pub fn find(&self, channel: &[u8]) -> Option<usize> {
        let mut fallback = NONE;
        let found = self.walk(0, channel, &mut fallback);
        let route = if found == NONE { fallback } else { found };
        (route != NONE).then_some(usize::from(route))
    }

    /// Whether what the route takes is looked at by no other one, on no branch.
    pub(super) fn is_sole(&self, index: usize, route: &Route) -> bool {
        let mut place = 0;
        for segment in route.template().segments() {
            let node = &self.nodes[usize::from(place)];
            let (child, others) = match *segment {
                Segment::Literal { text, .. } => (self.literal(place, text.as_bytes()), node.first_parameter != NONE),
                Segment::Parameter { .. } => (node.first_parameter, node.has_literals),
                Segment::Rest { .. } => return false,
            };
            if others || node.first_rest != NONE || child == NONE {
                return false;
            }
            place = child;
            if self.nodes[usize::from(place)].next_sibling != NONE {
                return false;
            }
        }
        let end = &self.nodes[usize::from(place)];
        usize::from(end.route) == index && !end.is_fallback
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
            None => self.nodes[usize::from(child)].prefer(fallback),
        }
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
                let found = node.prefer(fallback);
                if found != NONE {
                    return found;
                }
            }
            child = node.next_sibling;
        }
        NONE
    }

    fn insert(&mut self, route: &Route, index: u16) {
        let mut node = 0;
        for segment in route.template().segments() {
            let child = match *segment {
                Segment::Literal { text, hash } => self.literal_step(node, text, hash),
                Segment::Parameter { shape, .. } => self.parameter_step(node, shape),
                Segment::Rest { shape, .. } => self.rest_step(node, shape),
            };
            node = usize::from(child);
        }
        // Of two routes that end here one is a fallback without a use, or the proofs have refused the router.
        if self.nodes[node].route == NONE {
            self.nodes[node].route = index;
            self.nodes[node].is_fallback = route.options().fallback;
        }
    }

    fn literal_step(&mut self, parent: usize, text: &'static str, hash: u64) -> u16 {
        self.nodes[parent].has_literals = true;
        let mut slot = first_slot(hash, parent as u16, self.literals.len());
        while self.literals[slot].child != NONE {
            let entry = &self.literals[slot];
            if entry.hash == hash && entry.parent == parent as u16 && entry.text == text {
                return entry.child;
            }
            slot = (slot + 1) & (self.literals.len() - 1);
        }
        let child = self.add(Node::EMPTY);
        self.literals[slot] = Literal { hash, text, parent: parent as u16, child };
        child
    }

    fn parameter_step(&mut self, parent: usize, shape: Shape) -> u16 {
        let mut sibling = self.nodes[parent].first_parameter;
        while sibling != NONE {
            let node = &self.nodes[usize::from(sibling)];
            if shape.covers(&node.shape) && node.shape.covers(&shape) {
                return sibling;
            }
            sibling = node.next_sibling;
        }
        let child = self.add(Node { shape, next_sibling: self.nodes[parent].first_parameter, ..Node::EMPTY });
        self.nodes[parent].first_parameter = child;
        child
    }

    fn rest_step(&mut self, parent: usize, shape: Shape) -> u16 {
        let child = self.add(Node { shape, next_sibling: self.nodes[parent].first_rest, ..Node::EMPTY });
        self.nodes[parent].first_rest = child;
        child
    }

    fn add(&mut self, node: Node) -> u16 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u16
    }
}

impl Node {
    /// The route that ends here. A fallback is only remembered.
    fn prefer(&self, fallback: &mut u16) -> u16 {
        if self.is_fallback {
            *fallback = self.route;
            return NONE;
        }
        self.route
    }
}

fn first_slot(hash: u64, parent: u16, slots: usize) -> usize {
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

    fn table(routes: &[Route]) -> RouteTable {
        RouteTable::build(Routes::of(routes.to_vec().leak()))
    }

    #[track_caller]
    fn finds(table: &RouteTable, channel: &str, route: impl Into<Option<usize>>) {
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
        finds(&table, "orders:7", 0);
        finds(&table, "orders:new", 1);
        finds(&table, "orders:low:x", 2);
        finds(&table, "orders", 3);
        for channel in
            ["orders:007", "orders:old", "orders:mid:x", "orders:low", "orders:7:x", "order", "orders:", "", ":"]
        {
            finds(&table, channel, None);
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
        finds(&table, "a:b:c", 0);
        finds(&table, "a:b:d", 1);
        finds(&table, "a:b:e", 2);
        finds(&table, "1:2:f", 3);
        finds(&table, "1:2:g", 4);
        finds(&table, "a:b:f", None);
    }

    #[test]
    fn a_rest_takes_one_segment_or_more_or_its_mark() {
        let table =
            table(&[route([literal("logs"), rest(Shape::Text)]), route([literal("numbers"), rest(Shape::Unsigned)])]);
        finds(&table, "logs:a", 0);
        finds(&table, "logs:a:b:c", 0);
        finds(&table, "logs:%.", 0);
        finds(&table, "logs", None);
        finds(&table, "logs:", None);
        finds(&table, "logs:a::b", None);
        finds(&table, "numbers:1:2", 1);
        finds(&table, "numbers:%.", 1);
        finds(&table, "numbers:1:two", None);
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
        finds(&table, "orders:7", 1);
        finds(&table, "orders:new", 2);
        finds(&table, "orders:old", 0);
        finds(&table, "logs:a:b", 3);
        finds(&table, "logs:a:7", 4);
        finds(&table, "logs:a", 3);
    }

    /// One text below many parents, in a table as full as it may be: steps must be told apart by more than their hash.
    #[test]
    fn literals_are_found_in_a_full_table() {
        const PARENTS: usize = 21;
        let names = |index: usize| -> &'static str { format!("parent-{index}").leak() };
        let routes = (0..PARENTS).flat_map(|index| {
            ["same", "other"].map(|child| route([literal(names(index)), literal(child), literal("end")]))
        });
        let mut table = table(&routes.collect::<Vec<_>>());
        // Each parent is one node, and each of its routes has two more: 105 literals, which are put into 128 slots.
        table.crowd(128);
        for index in 0..PARENTS {
            finds(&table, &format!("parent-{index}:same:end"), 2 * index);
            finds(&table, &format!("parent-{index}:other:end"), 2 * index + 1);
            for channel in ["same:same:end", "same", "end"] {
                finds(&table, channel, None);
            }
            finds(&table, &format!("parent-{index}:end"), None);
            finds(&table, &format!("parent-{index}:same:other"), None);
            finds(&table, &format!("parent-{}:same:end", PARENTS + index), None);
        }
    }

    #[test]
    fn one_text_below_many_parents_is_a_step_of_each() {
        let names = |index: usize| -> &'static str { format!("parent-{index}").leak() };
        let routes =
            (0..1_000).flat_map(|index| ["same", "other"].map(|child| route([literal(names(index)), literal(child)])));
        let table = table(&routes.collect::<Vec<_>>());
        for index in 0..1_000 {
            finds(&table, &format!("parent-{index}:same"), 2 * index);
            finds(&table, &format!("parent-{index}:other"), 2 * index + 1);
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

    impl RouteTable {
        /// Puts the literals into fewer slots.
        fn crowd(&mut self, slots: usize) {
            let literals = std::mem::replace(&mut self.literals, vec![Literal::VACANT; slots]);
            for literal in literals.into_iter().filter(|literal| literal.child != NONE) {
                let mut slot = first_slot(literal.hash, literal.parent, slots);
                while self.literals[slot].child != NONE {
                    slot = (slot + 1) & (slots - 1);
                }
                self.literals[slot] = literal;
            }
        }
    }

    #[test]
    fn memory_is_sized_by_the_number_of_segments() {
        let size = |routes: &[Route]| {
            let nodes = Routes::of(routes.to_vec().leak()).nodes();
            (nodes, literal_slots(nodes))
        };
        let two = route([literal("a"), parameter(Shape::Text)]);
        let three = route([literal("a"), literal("b"), rest(Shape::Text)]);
        assert_eq!(size(&[]), (1, 2));
        assert_eq!(size(&[two]), (3, 8));
        assert_eq!(size(&[two, three]), (6, 16));
        let built = table(&[two, three]);
        assert_eq!((built.nodes.len(), built.nodes.capacity(), built.literals.len()), (5, 6, 16));
    }

    #[test]
    fn members_of_a_router_share_one_table() {
        let first: &'static [Route] = vec![fallback([literal("orders"), parameter(Shape::Text)])].leak();
        let second: &'static [Route] =
            vec![route([literal("orders"), parameter(Shape::Unsigned)]), route([literal("logs")])].leak();
        let members: &'static [Routes] = vec![Routes::of(first), Routes::of(second)].leak();
        let table = RouteTable::build(Routes::of_members(members));
        finds(&table, "orders:7", 1);
        finds(&table, "orders:new", 0);
        finds(&table, "logs", 2);
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
        finds(&table, "a:7", 2);
        finds(&table, "a:x:x", 3);
        finds(&table, "a:y", 4);
        finds(&table, "a:z", 0);
        finds(&table, "b", 0);
        finds(&table, "a:", None);
    }

    #[test]
    fn hostile_channels_are_no_routes() {
        let table = table(&[route([literal("a"), parameter(Shape::Text)]), route([literal("b"), rest(Shape::Text)])]);
        let (colons, segments) = (":".repeat(100_000), "a:".repeat(100_000));
        for channel in [colons.as_bytes(), segments.as_bytes(), b"a:\xFF\xFE:", b"\0", b"::::", &[0xFF; 1000]] {
            assert_eq!(table.find(channel), None);
        }
        let long = format!("b:{}", "x:".repeat(100_000) + "x");
        finds(&table, &long, 1);
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
