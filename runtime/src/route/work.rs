//! What only the compiler can know of queues and of the handlers that work on them, run in constant evaluation.
//!
//! A handler's macro knows no message, and a message's knows no types: so the macros emit `const _: () = …` with these functions, spanned at the
//! token that is to be edited.

use crate::{
    channel::{
        shape::{Shape, bytes_equal},
        template::{Segment, Template},
    },
    message::facts::{Facts, Kind, QueueFacts},
    route::{
        entry::{Redelivery, Route},
        proof::ErrorText,
    },
};

/// Fails the build when a parameter of a queue has no word for each of its values. The derive emits it unless the queue says `bound`, spanned at the
/// template. The parameter by which the parts take turns is left to [`prove_turns`], so that it gives one error.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_parts(template: Template, by_turns: &str) {
    let segments = template.segments();
    let mut place = 0;
    while place < segments.len() {
        match &segments[place] {
            Segment::Literal { .. } | Segment::Parameter { shape: Shape::OneOf(_), .. } => {}
            Segment::Parameter { name, .. } if bytes_equal(name.as_bytes(), by_turns.as_bytes()) => {}
            Segment::Parameter { name, .. } => panic!("{}", open_parameter(name, "").as_str()),
            Segment::Rest { name, .. } => panic!("{}", open_parameter(name, "..").as_str()),
        }
        place += 1;
    }
}

const fn open_parameter(name: &str, dots: &str) -> ErrorText {
    ErrorText::new()
        .push("`<")
        .push(name)
        .push(dots)
        .push(
            ">` can have any value, but Redis cannot block on an open set of keys, and each value is a part of the queue with keys of its own: make it \
             an enum with `#[derive(ChannelParam)]`, or write `bound` behind the template, and name the values where the queue is served, with \
             `bus.serve(…).on(…)`",
        )
}

/// Fails the build when `strict` or `weighted` names a parameter that has no order. The derive emits it, spanned at the name.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_turns(template: Template, name: &str) {
    if words(template, name).is_none() {
        let text = ErrorText::new().push("`").push(name).push(
            "` is no enum, so its values have no order in which they could be served: name a parameter whose type is an enum with \
             `#[derive(ChannelParam)]`, whose variants stand in that order",
        );
        panic!("{}", text.as_str());
    }
}

/// Fails the build when there are more or fewer weights than values. The derive emits it, spanned at the weights.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_weights(template: Template, name: &str, count: usize) {
    // Of a parameter without words `prove_turns` tells.
    if let Some(words) = words(template, name)
        && words.len() != count
    {
        let mut text = ErrorText::new().push("`").push(name).push("` has the values ");
        let mut index = 0;
        while index < words.len() {
            text = text.push(if index > 0 { ", `" } else { "`" }).push(words[index]).push("`");
            index += 1;
        }
        let text = text.push(": write ").number(words.len() as u64).push(" weights, one for each, in that order");
        panic!("{}", text.as_str());
    }
}

const fn words(template: Template, name: &str) -> Option<&'static [&'static str]> {
    let segments = template.segments();
    let mut place = 0;
    while place < segments.len() {
        if let Segment::Parameter { name: found, shape: Shape::OneOf(words) } = &segments[place]
            && bytes_equal(found.as_bytes(), name.as_bytes())
        {
            return Some(words);
        }
        place += 1;
    }
    None
}

/// Fails the build when the handler of a queue does not say what it must. The handler's macro emits it, spanned at the handler's name.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_work(route: Route) {
    let Some(queue) = route.facts().queue() else { return };
    let options = route.options();
    let has_timeout = options.timeout.is_some() || options.unlimited;
    let has_stance = options.work.redelivery.is_some() || queue.at_most_once;
    let text = ErrorText::new().push("`").push(route.handler()).push("` works on a queue and does not say ");
    let text = match (has_stance, has_timeout) {
        (true, true) => return,
        (false, true) => stance(text, &route, ""),
        (true, false) => text.push("how long an attempt may take: write ").push(TIMEOUT),
        (false, false) => stance(text.push("how long an attempt may take, nor "), &route, "; and ").push(TIMEOUT),
    };
    panic!("{}", text.as_str());
}

const TIMEOUT: &str = "`timeout = \"2m\"`, after which it has failed, or `timeout = \"none\"`";

const fn stance(text: ErrorText, route: &Route, and: &str) -> ErrorText {
    text.push("what becomes of a second delivery, after a crash or a lost lease: write `idempotent` where running twice does what running once does, or \
         `once` where it must not run twice, so that a task that had begun becomes a dead letter; or, on `")
        .push(route.message())
        .push("`, `#[queue(…, at_most_once)]`, so that a crash loses the task")
        .push(and)
}

/// Fails the build when an option does not fit the message's kind. The handler's macro emits it, spanned at the option.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_option(facts: Facts, option: &str) {
    let text = match (facts.kind(), facts.queue()) {
        (Kind::Queue, Some(QueueFacts { at_most_once: true, .. })) if is_of_queues(option) => ErrorText::new()
            .push("`")
            .push(option)
            .push("` has no use here: tasks of `")
            .push(facts.template().text())
            .push("` are done when they are taken, as `at_most_once` says, so none is tried again; remove `")
            .push(option)
            .push("`"),
        (Kind::Queue, _) if !is_of_queues(option) => not_of_queues(facts, option),
        (Kind::Broadcast | Kind::Request, _) if is_of_queues(option) => ErrorText::new()
            .push("`")
            .push(option)
            .push("` is for handlers of queues, and `")
            .push(facts.name())
            .push("` is ")
            .push(match facts.kind() {
                Kind::Request => "a request",
                _ => "a broadcast",
            })
            .push(", which is delivered at most once: remove it, or write `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on the message"),
        _ => return,
    };
    panic!("{}", text.as_str());
}

const fn is_of_queues(option: &str) -> bool {
    const OPTIONS: [&str; 6] = ["idempotent", "once", "window", "retries", "backoff", "crashes"];
    let mut index = 0;
    while index < OPTIONS.len() {
        if bytes_equal(OPTIONS[index].as_bytes(), option.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn not_of_queues(facts: Facts, option: &str) -> ErrorText {
    let text = ErrorText::new().push("`").push(option).push("` is not for handlers of queues: ");
    match option.as_bytes() {
        b"filter" => text.push(
            "a task that a filter left out would be lost; remove it, and return early from the handler, or fail with an error whose rule is `discard`",
        ),
        b"fallback" => text.push("each queue has one handler; remove it"),
        b"order" => text
            .push("instances share the tasks of `")
            .push(facts.template().text())
            .push("`, so their order ends with the first that takes one; remove it, and write `concurrency = 1` where one instance is to work on one at a time"),
        _ => text.push("nobody waits for a task to be done, so none is cancelled for that; remove it"),
    }
}

/// Fails the build when it may be forgotten that a task was done before its last attempt. The handler's macro emits it where the handler runs once,
/// spanned at the window.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_window(route: Route) {
    let options = route.options();
    let Some(Redelivery::Once { window, .. }) = options.work.redelivery else { return };
    let timeout = match options.timeout {
        Some(timeout) => timeout.as_millis() as u64,
        None => 0,
    };
    let (retries, backoff) = (options.work.retries as u64, options.work.backoff.1.as_millis() as u64);
    let needed = retries.saturating_mul(timeout.saturating_add(backoff));
    if window.as_millis() as u64 >= needed {
        return;
    }
    let text = ErrorText::new()
        .push("the window of ")
        .duration(window.as_millis() as u64)
        .push(" ends before the last attempt may begin: ")
        .number(retries)
        .push(" retries")
        .push(if timeout > 0 { " of " } else { "" });
    let text = if timeout > 0 { text.duration(timeout) } else { text };
    let text = text
        .push(" with up to ")
        .duration(backoff)
        .push(" before each take ")
        .duration(needed)
        .push("; write `window = \"")
        .duration(needed)
        .push("\"` or longer");
    panic!("{}", text.as_str());
}
