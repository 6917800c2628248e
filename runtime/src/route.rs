//! The routes of a router: a trie over segments, built in constant evaluation and searched without allocation.

use crate::{
    channel::{Segment, Shape, Template, encoding::EMPTY_REST, shape::bytes_equal, template::hash_segment},
    handler::HandlerOptions,
};

/// One handler, as its router knows it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    handler: &'static str,
    message: &'static str,
    template: Template,
    options: HandlerOptions,
}

impl Route {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        handler: &'static str,
        message: &'static str,
        template: Template,
        options: HandlerOptions,
    ) -> Self {
        Self { handler, message, template, options }
    }

    /// The handler's name.
    #[must_use]
    pub const fn handler(&self) -> &'static str {
        self.handler
    }

    /// The name of the message's type.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }

    /// The channel.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &HandlerOptions {
        &self.options
    }

    /// The name to subscribe to, and whether it is a pattern.
    pub(crate) fn subscription(&self) -> (String, bool) {
        let mut name = String::new();
        let mut pattern = false;
        for segment in self.template.segments() {
            if !name.is_empty() {
                name.push(':');
            }
            if let Segment::Literal { text, .. } = segment {
                name.push_str(text);
            } else {
                name.push('*');
                pattern = true;
            }
        }
        (name, pattern)
    }
}

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
        count += routes[route].template.segments().len();
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
            used = table.insert(routes[route].template.segments(), route as u16, used);
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
    pub(crate) fn find(&self, channel: &[u8]) -> Option<usize> {
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
            None => self.settle(self.nodes[usize::from(child)].route, fallback),
        }
    }

    fn settle(&self, route: u16, fallback: &mut u16) -> u16 {
        if route != NONE && self.routes[usize::from(route)].options.fallback {
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
                let found = self.settle(node.route, fallback);
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
