//! The proof that `from` names the version before, run in constant evaluation.

use crate::{channel::shape::bytes_equal, message::facts::Facts, route::proof::ErrorText};

/// Fails the build when `#[message(from = …)]` names another message than that of the version before. The derive emits it, spanned at the name.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[track_caller]
pub const fn prove_older(older: Facts, newer: Facts, name: &str) {
    let text = ErrorText::new().push("`").push(name);
    if !bytes_equal(older.name().as_bytes(), newer.name().as_bytes()) {
        let text = text
            .push("` has the wire name `")
            .push(older.name())
            .push("`, so it is no older version of `")
            .push(newer.name())
            .push("`: write `#[message(name = \"")
            .push(newer.name())
            .push("\")]` on it");
        panic!("{}", text.as_str());
    }
    if older.version() as u64 + 1 != newer.version() as u64 {
        let before = newer.version() as u64 - 1;
        let text = text
            .push("` is version ")
            .number(older.version() as u64)
            .push(", but `from` of version ")
            .number(newer.version() as u64)
            .push(" names version ")
            .number(before)
            .push(": write the message of that version, which says `from` in turn, or correct one of the two versions");
        panic!("{}", text.as_str());
    }
}
