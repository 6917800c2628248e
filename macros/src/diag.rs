//! Errors: collected, so that every mistake in an item is reported at once, and worded alike.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The mistakes that were found so far.
#[derive(Default)]
pub(crate) struct Diagnostics {
    errors: Vec<syn::Error>,
    /// Whether the compiler finds a mistake in what the user has written.
    is_left_to_the_compiler: bool,
}

impl Diagnostics {
    /// A mistake at one token.
    pub(crate) fn at(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(syn::Error::new(span, message.into()));
    }

    /// A mistake that covers all tokens of a piece of syntax.
    pub(crate) fn over(&mut self, tokens: impl ToTokens, message: impl Into<String>) {
        self.errors.push(syn::Error::new_spanned(tokens, message.into()));
    }

    /// The parser's own words.
    pub(crate) fn syntax(&mut self, error: syn::Error) {
        self.errors.push(error);
    }

    /// A mistake of which the compiler tells where the user has made it, and would tell again of what is generated from it.
    pub(crate) fn left_to_the_compiler(&mut self) {
        self.is_left_to_the_compiler = true;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.errors.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty() && !self.is_left_to_the_compiler
    }

    /// `compile_error!` for each mistake.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.errors.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// The candidate that `written` was probably meant to be.
pub(crate) fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + written.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`, each in backticks.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// What to choose from: `a`, or one of `a` and `b`.
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let of = if names.clone().into_iter().count() > 1 { "one of " } else { "" };
    format!("{of}{}", list(names))
}

/// The number of insertions, deletions and replacements that lead from one text to the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_close_and_nothing_else() {
        let keys = ["concurrency", "timeout", "filter"];
        assert_eq!(closest("concurency", keys), Some("concurrency"));
        assert_eq!(closest("timout", keys), Some("timeout"));
        assert_eq!(closest("retries", keys), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!((one_of(["a"]).as_str(), one_of(["a", "b"]).as_str()), ("`a`", "one of `a` and `b`"));
    }
}
