//! The proof that no two handlers of a router take the same channel, run in constant evaluation.
//!
//! The router's macro emits `const _: () = prove(&ROUTES, i);` for each handler, spanned at the handler's name: the error of a
//! conflict lands on the second of the two handlers, and all conflicts show at once. Of several routers that are served as one the values are
//! known to `routers![…]`, and the types only to the compiler: there each constant is the pattern of a `match`, which the compiler must
//! evaluate for the type that it has inferred, also where it only checks.

use crate::{
    channel::{
        shape::{Shape, bytes_equal},
        template::Segment,
    },
    message::facts::Kind,
    route::{entry::Route, routes::Routes},
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
        prove_pair(&routes[earlier], route, Scope::Router);
        earlier += 1;
    }
    // Of a fallback on a queue `prove_option` tells.
    if route.options().fallback && !matches!(route.facts().kind(), Kind::Queue) {
        prove_fallback(routes, index);
    }
}

/// Fails the build when a handler of the last member conflicts with one of a member before it, or when one of the two is a fallback that never
/// runs. Each member has its own proof; so a fallback has something to fall back from in its own router.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[track_caller]
pub(crate) const fn prove_joined(routes: Routes) {
    if let [earlier @ .., last] = routes.members() {
        let mut member = 0;
        while member < earlier.len() {
            prove_all(earlier[member], *last);
            member += 1;
        }
    }
}

#[track_caller]
const fn prove_all(first: Routes, second: Routes) {
    let mut one = 0;
    while let Some(route) = first.get(one) {
        let mut other = 0;
        while let Some(against) = second.get(other) {
            prove_pair(route, against, Scope::Routers);
            other += 1;
        }
        one += 1;
    }
}

#[track_caller]
const fn prove_pair(first: &Route, second: &Route, scope: Scope) {
    if let (Kind::Queue, Kind::Queue) = (first.facts().kind(), second.facts().kind()) {
        return prove_queues(first, second, scope);
    }
    if !overlap(first, second) {
        return;
    }
    match (first.options().fallback, second.options().fallback) {
        (false, false) | (true, true) => panic!("{}", conflict(first, second, scope).as_str()),
        // Of one router `prove_fallback` has looked at it.
        _ if matches!(scope, Scope::Router) => {}
        (true, false) => prove_of_use(second, first),
        (false, true) => prove_of_use(first, second),
    }
}

/// The template is the name of a queue, whatever the types of its parameters are.
#[track_caller]
const fn prove_queues(first: &Route, second: &Route, scope: Scope) {
    if bytes_equal(first.template().text().as_bytes(), second.template().text().as_bytes()) || overlap(first, second) {
        panic!("{}", queue_conflict(first, second, scope).as_str());
    }
}

#[track_caller]
const fn prove_of_use(other: &Route, fallback: &Route) {
    if covers(other.template().segments(), fallback.template().segments()) {
        panic!("{}", never_runs(other, fallback, Scope::Routers).as_str());
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
                panic!("{}", never_runs(&routes[other], route, Scope::Router).as_str());
            }
            useful = true;
        }
        other += 1;
    }
    if !useful {
        panic!("{}", needless_fallback(route).as_str());
    }
}

pub(crate) const fn overlap(left: &Route, right: &Route) -> bool {
    share_channels(left.facts().kind(), right.facts().kind())
        && overlaps(left.template().segments(), right.template().segments())
}

/// Whether messages of both kinds travel on channels of one sort: publish/subscribe, where one name is one channel, or queues.
const fn share_channels(left: Kind, right: Kind) -> bool {
    match (left, right) {
        (Kind::Broadcast | Kind::Request, Kind::Broadcast | Kind::Request) | (Kind::Queue, Kind::Queue) => true,
        (Kind::Broadcast | Kind::Request, Kind::Queue) | (Kind::Queue, Kind::Broadcast | Kind::Request) => false,
    }
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
pub(crate) const fn covers(left: &[Segment], right: &[Segment]) -> bool {
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

/// Where two handlers meet.
#[derive(Clone, Copy)]
enum Scope {
    Router,
    /// Several that are served as one: the names of handlers go with their routers.
    Routers,
}

const fn conflict(first: &Route, second: &Route, scope: Scope) -> ErrorText {
    let text = ErrorText::new().push("handlers `").handler(first, scope).push("` and `").handler(second, scope);
    if bytes_equal(first.message().as_bytes(), second.message().as_bytes())
        && bytes_equal(first.template().text().as_bytes(), second.template().text().as_bytes())
    {
        return text
            .push("` take the same message `")
            .push(second.message())
            .push("` on `")
            .push(second.template().text())
            .push("`, but each message goes to exactly one handler: remove one of them, or serve ")
            .push(match scope {
                Scope::Router => "it in a router of its own",
                Scope::Routers => "one of the two routers as a service of its own",
            });
    }
    text.push("` can take the same channel: `")
        .push(first.template().text())
        .push("` of `")
        .push(first.message())
        .push("` and `")
        .push(second.template().text())
        .push("` of `")
        .push(second.message())
        .push("`; change a literal segment, narrow the type of a parameter, or ")
        .push(match scope {
            Scope::Router => "write `#[handler(fallback)]` on the less specific one",
            Scope::Routers => "put both into one router, with `#[handler(fallback)]` on the less specific one",
        })
}

const fn queue_conflict(first: &Route, second: &Route, scope: Scope) -> ErrorText {
    let text = ErrorText::new().push("handlers `").handler(first, scope).push("` and `").handler(second, scope);
    if bytes_equal(first.message().as_bytes(), second.message().as_bytes())
        && bytes_equal(first.template().text().as_bytes(), second.template().text().as_bytes())
    {
        return text
            .push("` work on the same queue `")
            .push(second.template().text())
            .push("` of `")
            .push(second.message())
            .push("`, but each task goes to exactly one handler: remove one of them");
    }
    text.push("` work on queues that are not told apart: `")
        .push(first.template().text())
        .push("` of `")
        .push(first.message())
        .push("` and `")
        .push(second.template().text())
        .push("` of `")
        .push(second.message())
        .push("`; change a literal segment of one of the two")
}

const fn never_runs(other: &Route, fallback: &Route, scope: Scope) -> ErrorText {
    ErrorText::new()
        .push("the fallback `")
        .handler(fallback, scope)
        .push("` on `")
        .push(fallback.template().text())
        .push("` never runs: `")
        .handler(other, scope)
        .push("` on `")
        .push(other.template().text())
        .push("` takes every channel of it; ")
        .push(match scope {
            Scope::Router => "move `fallback` to the less specific handler, or remove one of the two",
            Scope::Routers => "remove one of the two",
        })
}

const fn needless_fallback(route: &Route) -> ErrorText {
    ErrorText::new()
        .push("the fallback `")
        .push(route.handler())
        .push("` has nothing to fall back from: no other handler can take a channel of `")
        .push(route.template().text())
        .push("`; remove `fallback`")
}

/// A text that constant evaluation can build. What does not fit is cut.
pub(super) struct ErrorText {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl ErrorText {
    /// Room for four templates and four names of ordinary length; a template has at most 512 bytes.
    const CAPACITY: usize = 4096;

    pub(super) const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: 0 }
    }

    pub(super) const fn push(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() && self.length < Self::CAPACITY {
            self.bytes[self.length] = text[index];
            self.length += 1;
            index += 1;
        }
        self
    }

    pub(super) const fn number(self, number: u64) -> Self {
        let this = if number >= 10 { self.number(number / 10) } else { self };
        const DIGITS: &str = "0123456789";
        let (_, from) = DIGITS.split_at((number % 10) as usize);
        this.push(from.split_at(1).0)
    }

    /// As an option writes it, in the largest unit in which it is whole.
    pub(super) const fn duration(self, millis: u64) -> Self {
        const UNITS: [(u64, &str); 4] = [(24 * 3_600_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let mut index = 0;
        while index < UNITS.len() {
            let (length, unit) = UNITS[index];
            if millis >= length && millis.is_multiple_of(length) {
                return self.number(millis / length).push(unit);
            }
            index += 1;
        }
        self.number(millis).push("ms")
    }

    const fn handler(self, route: &Route, scope: Scope) -> Self {
        match (route.router(), scope) {
            (Some(router), Scope::Routers) => self.push(router).push("::").push(route.handler()),
            _ => self.push(route.handler()),
        }
    }

    pub(super) const fn as_str(&self) -> &str {
        match str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => "two handlers can take the same channel",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{channel::template::Template, message::facts::Facts, route::entry::HandlerOptions};

    use super::*;

    const NEW: Route = route("new", "New", &[Segment::literal("orders"), Segment::literal("new")]);
    const OLD: Route = route("old", "Old", &[Segment::literal("orders"), Segment::literal("old")]);
    const BY_ID: Route =
        route("by_id", "ById", &[Segment::literal("orders"), Segment::parameter("id", Shape::Unsigned)]);
    const BY_NAME: Route =
        route("by_name", "ByName", &[Segment::literal("orders"), Segment::parameter("name", Shape::Text)]);
    const BY_PRIORITY: Route = route(
        "by_priority",
        "ByPriority",
        &[Segment::literal("orders"), Segment::parameter("priority", Shape::OneOf(&["high", "low"]))],
    );
    const LINES: Route = route(
        "lines",
        "Lines",
        &[Segment::literal("orders"), Segment::parameter("name", Shape::Text), Segment::literal("lines")],
    );
    const OTHER: Route = route("other", "Other", &[Segment::literal("other")]);
    const ALL: Route = route("all", "All", &[Segment::rest("all", Shape::Text)]);
    const NUMBERS: Route =
        route("numbers", "Numbers", &[Segment::literal("orders"), Segment::rest("all", Shape::Unsigned)]);

    const NAMES: Route = route("names", "Names", &[Segment::literal("orders"), Segment::rest("all", Shape::Text)]);

    const fn route(handler: &'static str, message: &'static str, segments: &'static [Segment]) -> Route {
        // One text for all: only messages of one name with one text count as the same message.
        Route::new(handler, message, Facts::stub(Template::new("template", segments)), HandlerOptions::DEFAULT)
    }

    fn fallback(route: Route) -> Route {
        Route::new(route.handler(), route.message(), *route.facts(), HandlerOptions::DEFAULT.fallback())
    }

    fn queue(text: &'static str, route: Route) -> Route {
        let facts = Facts::stub(Template::new(text, route.template().segments())).of_kind(Kind::Queue);
        Route::new(route.handler(), route.message(), facts, *route.options())
    }

    fn text_of(prove: impl FnOnce() + std::panic::UnwindSafe) -> Option<String> {
        let error = std::panic::catch_unwind(prove).err()?;
        Some(*error.downcast::<String>().expect("a text that was put together"))
    }

    /// The text of the compile error, if there is one.
    fn error(routes: &[Route], index: usize) -> Option<String> {
        text_of(|| prove(routes, index))
    }

    /// The same for several routers that are served as one.
    fn joined(routers: &[&[Route]]) -> Option<String> {
        let members: Vec<Routes> = routers.iter().map(|routes| Routes::of(routes.to_vec().leak())).collect();
        let routes = Routes::of_members(members.leak());
        text_of(|| prove_joined(routes))
    }

    #[test]
    fn overlap_says_whether_some_channel_fits_both() {
        for (left, right, overlaps) in [
            (NEW, BY_ID, false),
            (NEW, BY_PRIORITY, false),
            (NEW, BY_NAME, true),
            (NEW, NEW, true),
            (BY_ID, BY_PRIORITY, false),
            (BY_ID, BY_NAME, true),
            (BY_NAME, LINES, false),
            (ALL, NEW, true),
            (ALL, LINES, true),
            (NUMBERS, LINES, false),
            (NUMBERS, BY_ID, true),
            (NUMBERS, NEW, false),
            (NUMBERS, ALL, true),
        ] {
            assert_eq!(overlap(&left, &right), overlaps, "{} {}", left.handler(), right.handler());
            assert_eq!(overlap(&right, &left), overlaps, "{} {}", right.handler(), left.handler());
        }
    }

    /// The hash only narrows a search.
    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let segments = [Segment::literal("\u{1}\0\0\0\0\0\0\0"), Segment::literal("\0\0\0\0\0\0\0\0\0")];
        let [Segment::Literal { hash, .. }, Segment::Literal { hash: other, .. }] = segments else { unreachable!() };
        assert_eq!(hash, other);
        assert!(!overlaps(&segments[..1], &segments[1..]) && !covers(&segments[..1], &segments[1..]));
        assert!(overlaps(&segments[..1], &segments[..1]) && covers(&segments[..1], &segments[..1]));
    }

    #[test]
    fn a_template_covers_what_it_leaves_nothing_of() {
        for (left, right, covered) in [
            (NEW, NEW, true),
            (NEW, OLD, false),
            (BY_NAME, NEW, true),
            (BY_ID, NEW, false),
            (NEW, BY_NAME, false),
            (BY_NAME, BY_ID, true),
            (BY_ID, BY_NAME, false),
            (BY_NAME, LINES, false),
            (LINES, BY_NAME, false),
            (ALL, LINES, true),
            (NUMBERS, BY_ID, true),
            (NUMBERS, BY_NAME, false),
            (NUMBERS, NEW, false),
            (NUMBERS, LINES, false),
            (BY_ID, NUMBERS, false),
            (ALL, NUMBERS, true),
            (NUMBERS, ALL, false),
            (NAMES, NUMBERS, true),
            (NUMBERS, NAMES, false),
        ] {
            let covers = covers(left.template().segments(), right.template().segments());
            assert_eq!(covers, covered, "{} {}", left.handler(), right.handler());
        }
    }

    #[test]
    fn conflicts_are_found_at_the_second_handler_and_name_both() {
        let routes = [NEW, BY_ID, BY_NAME];
        assert_eq!(error(&routes, 0), None);
        assert_eq!(error(&routes, 1), None);
        let text = "handlers `new` and `by_name` can take the same channel: `template` of `New` and `template` of `ByName`; change a literal \
             segment, narrow the type of a parameter, or write `#[handler(fallback)]` on the less specific one";
        assert_eq!(error(&routes, 2).as_deref(), Some(text));
    }

    #[test]
    fn the_same_message_twice_is_said_to_be_that() {
        let text = "handlers `new` and `new` take the same message `New` on `template`, but each message goes to exactly one handler: \
             remove one of them, or serve it in a router of its own";
        assert_eq!(error(&[NEW, NEW], 1).as_deref(), Some(text));
        let elsewhere = Facts::stub(Template::new("elsewhere", NEW.template().segments()));
        let elsewhere = Route::new("elsewhere", "New", elsewhere, HandlerOptions::DEFAULT);
        assert!(
            error(&[NEW, elsewhere], 1).unwrap().contains("can take the same channel"),
            "only by its name it is the same"
        );
    }

    #[test]
    fn a_text_that_does_not_fit_is_cut() {
        let long = "x".repeat(ErrorText::CAPACITY - 1);
        let text = ErrorText::new().push(&long).push("yz");
        assert_eq!(text.as_str(), format!("{long}y"));
        let cut_within_a_character = ErrorText::new().push(&long).push("\u{e9}");
        assert_eq!(cut_within_a_character.as_str(), "two handlers can take the same channel");
    }

    #[test]
    fn a_fallback_settles_a_conflict_and_has_a_use() {
        for routes in [[NEW, fallback(BY_NAME)], [fallback(BY_NAME), NEW], [BY_ID, fallback(ALL)]] {
            assert_eq!((error(&routes, 0), error(&routes, 1)), (None, None));
        }
        let never_runs = "the fallback `new` on `template` never runs: `by_name` on `template` takes every channel of it; move `fallback` to \
             the less specific handler, or remove one of the two";
        assert_eq!(error(&[fallback(NEW), BY_NAME], 0).as_deref(), Some(never_runs));
        assert_eq!(error(&[fallback(NEW), BY_NAME], 1), None, "it is told once");
        let needless = "the fallback `by_id` has nothing to fall back from: no other handler can take a channel of `template`; remove `fallback`";
        assert_eq!(error(&[NEW, fallback(BY_ID)], 1).as_deref(), Some(needless));
        assert!(error(&[NEW, fallback(BY_NAME), fallback(ALL)], 2).unwrap().contains("can take the same channel"));
    }

    #[test]
    fn each_handler_of_the_last_router_is_held_against_each_of_the_routers_before_it() {
        let (new, by_name) = (NEW.of_router("First"), BY_NAME.of_router("Last"));
        assert_eq!(joined(&[&[NEW, OLD], &[LINES], &[BY_ID, BY_PRIORITY]]), None);
        let text = "handlers `First::new` and `Last::by_name` can take the same channel: `template` of `New` and `template` of `ByName`; change a \
             literal segment, narrow the type of a parameter, or put both into one router, with `#[handler(fallback)]` on the less specific one";
        assert_eq!(joined(&[&[new, LINES], &[], &[by_name, NUMBERS]]).as_deref(), Some(text));
        assert_eq!(joined(&[&[], &[LINES, new], &[OTHER, by_name]]).as_deref(), Some(text));
        assert_eq!(joined(&[&[NEW], &[BY_NAME], &[LINES]]), None, "that is for the proof of those two");
        assert_eq!(text_of(|| prove_joined(Routes::of(&[NEW, NEW]))), None, "so is one router");
        let text = "handlers `new` and `new` take the same message `New` on `template`, but each message goes to exactly one handler: \
             remove one of them, or serve one of the two routers as a service of its own";
        assert_eq!(joined(&[&[NEW], &[NEW]]).as_deref(), Some(text));
    }

    #[test]
    fn a_fallback_may_be_in_another_router_where_it_runs_at_all() {
        let (special, general) = (fallback(NEW), fallback(BY_NAME));
        assert_eq!((joined(&[&[NEW], &[general]]), joined(&[&[general], &[NEW]])), (None, None));
        let never = "the fallback `new` on `template` never runs: `by_name` on `template` takes every channel of it; remove one of the two";
        assert_eq!(joined(&[&[special], &[BY_NAME]]).as_deref(), Some(never));
        assert_eq!(joined(&[&[BY_NAME], &[special]]).as_deref(), Some(never));
        assert!(joined(&[&[special], &[general]]).unwrap().contains("can take the same channel"));
    }

    #[test]
    fn queues_are_told_apart_by_their_templates_and_share_nothing_with_channels() {
        let (new, by_name) = (queue("new", NEW), queue("names", BY_NAME));
        assert_eq!(error(&[new, queue("old", OLD)], 1), None);
        assert_eq!((error(&[new, BY_NAME], 1), error(&[BY_NAME, new], 1)), (None, None));
        assert_eq!(error(&[fallback(new), OLD], 0), None, "whether it may be one is asked elsewhere");
        let text = "handlers `new` and `by_name` work on queues that are not told apart: `new` of `New` and `names` of `ByName`; change a \
             literal segment of one of the two";
        assert_eq!(error(&[new, by_name], 1).as_deref(), Some(text));
        // Of one text they are one queue, whatever the types of its parameters.
        let other = queue("new", OLD);
        assert!(error(&[new, other], 1).unwrap().contains("`new` and `old` work on queues that are not told apart"));
        let text = "handlers `One::new` and `Two::new` work on the same queue `new` of `New`, but each task goes to exactly one handler: \
             remove one of them";
        assert_eq!(joined(&[&[new.of_router("One")], &[new.of_router("Two")]]).as_deref(), Some(text));
    }

    #[test]
    fn numbers_are_written_out_and_durations_in_the_largest_unit_that_is_whole() {
        let number = |number| ErrorText::new().number(number).as_str().to_owned();
        assert_eq!([0, 7, 10, 1_029].map(number), ["0", "7", "10", "1029"]);
        let duration = |millis| ErrorText::new().duration(millis).as_str().to_owned();
        let (second, hour) = (1_000, 3_600_000);
        assert_eq!([0, 999, second, 1_500, 90 * second].map(duration), ["0ms", "999ms", "1s", "1500ms", "90s"]);
        assert_eq!([60 * second, hour, 36 * hour, 48 * hour].map(duration), ["1m", "1h", "36h", "2d"]);
    }
}
