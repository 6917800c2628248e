//! What is written on a function or a block, and holds for what is generated from it too.

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::{Attribute, Block, Meta, Token, parse::Parser, parse_quote, punctuated::Punctuated};

use crate::tokens::find;

/// A handler is `async` whether it waits for something or not, and where it does not, clippy's advice would be a mistake.
pub(super) fn may_wait_for_nothing(attributes: &mut Vec<Attribute>, body: &Block) {
    let is_await =
        |token: &TokenTree, _: Option<&TokenTree>| matches!(token, TokenTree::Ident(word) if word == "await");
    if find(body.to_token_stream(), &is_await).is_none() {
        attributes.push(parse_quote!(#[allow(clippy::unused_async)]));
    }
}

/// For code that uses the function: `#[cfg(…)]`, so that it exists where the function does, and the levels of lints, so that it may name what the
/// function may name.
pub(super) fn by_uses(attributes: &[Attribute]) -> Vec<Attribute> {
    inherited(attributes, |_| parse_quote!(allow(deprecated)))
}

/// For the item that stands for the function: the same, but what is deprecated stays so.
pub(super) fn by_item(attributes: &[Attribute]) -> Vec<Attribute> {
    inherited(attributes, Clone::clone)
}

fn inherited(attributes: &[Attribute], deprecated: fn(&Meta) -> Meta) -> Vec<Attribute> {
    let metas = attributes.iter().filter_map(|attribute| of_meta(&attribute.meta, deprecated));
    metas.map(|meta| parse_quote!(#[#meta])).collect()
}

fn of_meta(meta: &Meta, deprecated: fn(&Meta) -> Meta) -> Option<Meta> {
    let name = meta.path().get_ident()?.to_string();
    match (name.as_str(), meta) {
        ("cfg" | "allow" | "warn" | "deny" | "forbid", meta) => Some(meta.clone()),
        ("deprecated", meta) => Some(deprecated(meta)),
        // What is expected of the function need not happen again.
        ("expect", Meta::List(list)) => {
            let lints = &list.tokens;
            Some(parse_quote!(allow(#lints)))
        }
        ("cfg_attr", Meta::List(list)) => {
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let mut parts = parser.parse2(list.tokens.clone()).ok()?.into_iter();
            let condition = parts.next()?;
            let parts: Vec<Meta> = parts.filter_map(|meta| of_meta(&meta, deprecated)).collect();
            (!parts.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#parts),*)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};

    use super::*;

    #[test]
    fn conditions_and_lints_are_inherited_and_nothing_else() {
        let attributes: Vec<Attribute> = vec![
            parse_quote!(#[doc = "An order."]),
            parse_quote!(#[allow(deprecated)]),
            parse_quote!(#[expect(deprecated, reason = "old")]),
            parse_quote!(#[must_use]),
            parse_quote!(#[cfg_attr(unix, allow(unused), inline, cfg(windows))]),
            parse_quote!(#[cfg_attr(unix, inline)]),
            parse_quote!(#[clippy::something]),
            parse_quote!(#[deprecated = "use another"]),
        ];
        let written = |attributes: Vec<Attribute>| -> Vec<String> {
            attributes.iter().map(|attribute| attribute.to_token_stream().to_string()).collect()
        };
        let mut expected = [
            quote!(#[allow(deprecated)]),
            quote!(#[allow(deprecated, reason = "old")]),
            quote!(#[cfg_attr(unix, allow(unused), cfg(windows))]),
            quote!(#[deprecated = "use another"]),
        ]
        .map(|tokens| tokens.to_string());
        assert_eq!(written(by_item(&attributes)), expected);
        expected[3] = expected[0].clone();
        assert_eq!(written(by_uses(&attributes)), expected);
    }
}
