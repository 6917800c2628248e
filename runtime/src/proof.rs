//! The proof that no two handlers of a router take the same channel, run in constant evaluation.
//!
//! The router's macro emits `const _: () = prove(&ROUTES, i);` for each handler, spanned at the handler's name: the error of a
//! conflict lands on the second of the two handlers, and all conflicts show at once.

use crate::{
    channel::{Segment, Shape, shape::bytes_equal},
    route::Route,
};

/// Fails the build when the handler at `index` conflicts with one before it, or is a fallback without a use.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove(routes: &[Route], index: usize) {
    let route = &routes[index];
    let mut earlier = 0;
    while earlier < index {
        let other = &routes[earlier];
        if route.options().fallback == other.options().fallback && overlap(route, other) {
            panic!("{}", conflict(other, route).as_str());
        }
        earlier += 1;
    }
    if route.options().fallback {
        prove_fallback(routes, index);
    }
}

#[track_caller]
const fn prove_fallback(routes: &[Route], index: usize) {
    let route = &routes[index];
    let mut useful = false;
    let mut other = 0;
    while other < routes.len() {
        if !routes[other].options().fallback && overlap(route, &routes[other]) {
            if covers(routes[other].template().segments(), route.template().segments()) {
                panic!("{}", never_runs(&routes[other], route).as_str());
            }
            useful = true;
        }
        other += 1;
    }
    if !useful {
        panic!("{}", needless_fallback(route).as_str());
    }
}

const fn overlap(left: &Route, right: &Route) -> bool {
    overlaps(left.template().segments(), right.template().segments())
}

/// Whether some channel fits both.
const fn overlaps(left: &[Segment], right: &[Segment]) -> bool {
    let mut index = 0;
    while index < left.len() && index < right.len() {
        match (&left[index], &right[index]) {
            (Segment::Rest { shape, .. }, _) => return rest_overlaps(shape, right, index),
            (_, Segment::Rest { shape, .. }) => return rest_overlaps(shape, left, index),
            (one, two) => {
                if !segments_overlap(one, two) {
                    return false;
                }
            }
        }
        index += 1;
    }
    left.len() == right.len()
}

const fn rest_overlaps(shape: &Shape, segments: &[Segment], from: usize) -> bool {
    let mut index = from;
    while index < segments.len() {
        let fits = match &segments[index] {
            Segment::Literal { text, .. } => shape.accepts(text.as_bytes()),
            Segment::Parameter { shape: other, .. } => shape.overlaps(other),
            // Both may be empty.
            Segment::Rest { .. } => true,
        };
        if !fits {
            return false;
        }
        index += 1;
    }
    true
}

const fn segments_overlap(left: &Segment, right: &Segment) -> bool {
    match (left, right) {
        (Segment::Literal { text, hash }, Segment::Literal { text: other, hash: other_hash }) => {
            *hash == *other_hash && bytes_equal(text.as_bytes(), other.as_bytes())
        }
        (Segment::Literal { text, .. }, Segment::Parameter { shape, .. })
        | (Segment::Parameter { shape, .. }, Segment::Literal { text, .. }) => shape.accepts(text.as_bytes()),
        (Segment::Parameter { shape, .. }, Segment::Parameter { shape: other, .. }) => shape.overlaps(other),
        (Segment::Rest { .. }, _) | (_, Segment::Rest { .. }) => true,
    }
}

/// Whether every channel that fits `right` fits `left` too.
const fn covers(left: &[Segment], right: &[Segment]) -> bool {
    let mut index = 0;
    while index < left.len() && index < right.len() {
        match (&left[index], &right[index]) {
            (Segment::Rest { shape, .. }, _) => return rest_covers(shape, right, index),
            (_, Segment::Rest { .. }) => return false,
            (Segment::Literal { .. }, Segment::Literal { .. }) => {
                if !segments_overlap(&left[index], &right[index]) {
                    return false;
                }
            }
            (Segment::Literal { .. }, Segment::Parameter { .. }) => return false,
            (Segment::Parameter { shape, .. }, Segment::Literal { text, .. }) => {
                if !shape.accepts(text.as_bytes()) {
                    return false;
                }
            }
            (Segment::Parameter { shape, .. }, Segment::Parameter { shape: other, .. }) => {
                if !shape.covers(other) {
                    return false;
                }
            }
        }
        index += 1;
    }
    left.len() == right.len()
}

const fn rest_covers(shape: &Shape, segments: &[Segment], from: usize) -> bool {
    let mut index = from;
    while index < segments.len() {
        let fits = match &segments[index] {
            Segment::Literal { text, .. } => shape.accepts(text.as_bytes()),
            Segment::Parameter { shape: other, .. } | Segment::Rest { shape: other, .. } => shape.covers(other),
        };
        if !fits {
            return false;
        }
        index += 1;
    }
    true
}

const fn conflict(first: &Route, second: &Route) -> Text {
    let text = Text::new();
    if bytes_equal(first.message().as_bytes(), second.message().as_bytes())
        && bytes_equal(first.template().text().as_bytes(), second.template().text().as_bytes())
    {
        return text
            .push("handlers `")
            .push(first.handler())
            .push("` and `")
            .push(second.handler())
            .push("` take the same message `")
            .push(second.message())
            .push("` on `")
            .push(second.template().text())
            .push("`, but each message goes to exactly one handler: remove one of them, or serve it in a router of its own");
    }
    text.push("handlers `")
        .push(first.handler())
        .push("` and `")
        .push(second.handler())
        .push("` can take the same channel: `")
        .push(first.template().text())
        .push("` of `")
        .push(first.message())
        .push("` and `")
        .push(second.template().text())
        .push("` of `")
        .push(second.message())
        .push("`; change a literal segment, narrow the type of a parameter, or write `#[handler(fallback)]` on the less specific one")
}

const fn never_runs(other: &Route, fallback: &Route) -> Text {
    Text::new()
        .push("the fallback `")
        .push(fallback.handler())
        .push("` on `")
        .push(fallback.template().text())
        .push("` never runs: `")
        .push(other.handler())
        .push("` on `")
        .push(other.template().text())
        .push("` takes every channel of it; move `fallback` to the less specific handler, or remove one of the two")
}

const fn needless_fallback(route: &Route) -> Text {
    Text::new()
        .push("the fallback `")
        .push(route.handler())
        .push("` has nothing to fall back from: no other handler can take a channel of `")
        .push(route.template().text())
        .push("`; remove `fallback`")
}

/// A text that constant evaluation can build. What does not fit is cut.
struct Text {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Text {
    /// Room for four templates and four names of ordinary length; a template has at most 512 bytes.
    const CAPACITY: usize = 4096;

    const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: 0 }
    }

    const fn push(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() && self.length < Self::CAPACITY {
            self.bytes[self.length] = text[index];
            self.length += 1;
            index += 1;
        }
        self
    }

    const fn as_str(&self) -> &str {
        match str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => "two handlers can take the same channel",
        }
    }
}
