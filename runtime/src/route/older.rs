//! The proof that `from` names the version before, run in constant evaluation.

use crate::{
    channel::{shape::bytes_equal, template::Segment},
    message::{
        facts::{Facts, Kind},
        older::Older,
    },
    route::proof::ErrorText,
};

/// Fails the build when `#[message(from = …)]` names another message than that of the version before, or one that would not come here, or whose
/// answer nobody could read. The derive emits it, spanned at the name.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_older<P>(older: &Older<P>, newer: Facts, name: &str, has_same_answer: bool) {
    // Of one whose derive has failed that error is enough.
    if !older.is_known() {
        return;
    }
    let is_awaited = older.is_awaited();
    let older = older.facts();
    let mut problem = None;
    if !bytes_equal(older.name().as_bytes(), newer.name().as_bytes()) {
        problem = Some(of_another_name(older, newer, name));
    } else if older.version() as u64 + 1 != newer.version() as u64 {
        problem = Some(of_another_version(older, newer, name));
    } else if older.kind() as u8 != newer.kind() as u8 {
        problem = Some(of_another_kind(older, newer, name));
    } else if !have_same_channels(older.template().segments(), newer.template().segments()) {
        problem = Some(on_another_channel(older, newer, name));
    } else if is_awaited && !has_same_answer {
        problem = Some(of_another_answer(newer, name));
    }
    if let Some(text) = problem {
        panic!("{}", text.as_str());
    }
}

/// Whether what is sent to one can arrive at the other: text stands where text stands, and values of one parameter can be values of the other.
const fn have_same_channels(older: &[Segment], newer: &[Segment]) -> bool {
    if older.len() != newer.len() {
        return false;
    }
    let mut index = 0;
    while index < older.len() {
        let is_same = match (&older[index], &newer[index]) {
            (Segment::Literal { text, .. }, Segment::Literal { text: other, .. }) => {
                bytes_equal(text.as_bytes(), other.as_bytes())
            }
            (Segment::Parameter { shape, .. }, Segment::Parameter { shape: other, .. })
            | (Segment::Rest { shape, .. }, Segment::Rest { shape: other, .. }) => shape.overlaps(other),
            _ => false,
        };
        if !is_same {
            return false;
        }
        index += 1;
    }
    true
}

const fn of_another_name(older: Facts, newer: Facts, name: &str) -> ErrorText {
    let text = ErrorText::new().push("`").push(name).push("` has the wire name `").push(older.name());
    let text = text.push("`, so it is no older version of `").push(newer.name());
    text.push("`: write `#[message(name = \"").push(newer.name()).push("\")]` on it")
}

const fn of_another_version(older: Facts, newer: Facts, name: &str) -> ErrorText {
    let before = newer.version() as u64 - 1;
    let text = ErrorText::new().push("`").push(name).push("` is version ").number(older.version() as u64);
    let text = text.push(", but `from` of version ").number(newer.version() as u64);
    let text = text.push(" names version ").number(before);
    text.push(": write the message of that version, which says `from` in turn, or correct one of the two versions")
}

const fn of_another_kind(older: Facts, newer: Facts, name: &str) -> ErrorText {
    let text = ErrorText::new().push("`").push(name).push("` is ").push(kind(older.kind()));
    let text = text.push(", but `").push(newer.name()).push("` is ").push(kind(newer.kind()));
    text.push(": write the `#[channel(…)]` or `#[queue(…)]` of the one on the other, and its `#[reply(…)]`")
}

const fn on_another_channel(older: Facts, newer: Facts, name: &str) -> ErrorText {
    let text = ErrorText::new().push("`").push(name).push("` travels on `").push(older.template().text());
    let text = text.push("`, but `").push(newer.name()).push("` on `").push(newer.template().text());
    let text = text.push("`, where nothing comes that older code sends: write the channel of the one on the other, or leave `from` out and give `");
    text.push(name).push("` a handler of its own")
}

const fn of_another_answer(newer: Facts, name: &str) -> ErrorText {
    let text = ErrorText::new().push("`").push(name).push("` has another `#[reply(…)]` than `").push(newer.name());
    let text = text
        .push("`, which older code that waits could not read: write the same on both, or leave `from` out and give `");
    text.push(name).push("` a handler of its own, on a channel of its own")
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Broadcast => "a broadcast",
        Kind::Request => "a request",
        Kind::Queue => "a task of a queue",
    }
}
