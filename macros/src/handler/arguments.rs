//! The rules of a handler's arguments: the message first, and extractors behind it.

use std::cell::Cell;

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::{Attribute, GenericArgument, Ident, Lifetime, Pat, PatType, PathArguments, PathSegment, Type};

use super::model::Options;
use crate::{
    attr::ungrouped_type,
    diag::Diagnostics,
    tokens::{find, written},
};

/// What else is generated calls the handler with all of its arguments.
pub(super) fn is_always_taken(argument: &PatType, diagnostics: &mut Diagnostics) {
    if let Some(condition) = argument.attrs.iter().find(is_condition) {
        diagnostics.over(
            condition,
            "an argument of a handler cannot be conditional: take it in every build, or write two handlers, each behind a `#[cfg(…)]` of its own",
        );
    }
}

pub(super) fn is_condition(attribute: &&Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

/// `impl …` is no type, and `dyn …` has no size, of which the compiler tells.
pub(super) fn has_one_type(argument: &PatType, diagnostics: &mut Diagnostics) {
    match ungrouped_type(&argument.ty) {
        Type::ImplTrait(ty) => {
            diagnostics.over(ty, "an argument of a handler has one type: write a concrete type instead of `impl …`");
        }
        Type::TraitObject(_) => diagnostics.left_to_the_compiler(),
        _ => {}
    }
}

/// A handler has no lifetimes of its own, so the compiler does not know one that it names.
pub(super) fn names_no_lifetime(argument: &PatType, diagnostics: &mut Diagnostics) {
    let ty = argument.ty.to_token_stream();
    let is_lifetime = |token: &TokenTree, next: Option<&TokenTree>| {
        matches!(token, TokenTree::Punct(punct) if punct.as_char() == '\'')
            && matches!(next, Some(TokenTree::Ident(name)) if name != "_" && name != "static")
    };
    // `for<'a> fn(&'a Order)` declares what it names.
    let declares = |token: &TokenTree, _: Option<&TokenTree>| matches!(token, TokenTree::Ident(word) if word == "for");
    if find(ty.clone(), &is_lifetime).is_some() && find(ty, &declares).is_none() {
        diagnostics.left_to_the_compiler();
    }
}

/// What is taken out of a delivery by reference is there while the handler runs.
pub(super) fn lives_for_a_call(argument: &PatType, diagnostics: &mut Diagnostics) {
    let ty = ungrouped_type(&argument.ty);
    let Type::Reference(reference) = ty else { return };
    if let Some(lifetime) = &reference.lifetime
        && lifetime.ident == "static"
        && is_extractor(ty)
    {
        let referred = written(reference.elem.to_token_stream());
        diagnostics.over(ty, format!("what a handler borrows it has until it returns: write `&{referred}`"));
    }
}

/// What can only be an extractor stands where the message belongs. A message may have the name of an extractor that is owned, but hardly a task
/// with another argument that is not one of ours.
pub(super) fn comes_first(
    first: &PatType,
    arguments: &[&PatType],
    options: &Options,
    diagnostics: &mut Diagnostics,
) -> bool {
    let is_ours = |argument: &PatType| is_extractor(ungrouped_type(&argument.ty)) || is_owned_extractor(&argument.ty);
    let message = arguments.iter().find(|argument| !is_ours(argument));
    let is_misplaced = is_owned_extractor(&first.ty) && options.redelivery.is_some() && message.is_some();
    if !is_extractor(ungrouped_type(&first.ty)) && !is_misplaced {
        return true;
    }
    let message = message.map_or_else(|| "order: OrderPlaced".to_owned(), |message| written(message.to_token_stream()));
    let extractor = written(ungrouped_type(&first.ty).to_token_stream());
    diagnostics.over(&first.ty, format!("the message comes first: write `{message}` before `{extractor}`"));
    false
}

fn is_extractor(ty: &Type) -> bool {
    match ty {
        // Messages are owned, so a reference to one of these is ours.
        Type::Reference(reference) => {
            is_named(ungrouped_type(&reference.elem), &["Delivery", "Headers", "Bus", "Lease", "Progress"])
        }
        // Messages have no parameters but lifetimes.
        _ => last_segment(ty).is_some_and(|segment| {
            let has_type = matches!(&segment.arguments, PathArguments::AngleBracketed(arguments)
                if arguments.args.iter().any(|argument| matches!(argument, GenericArgument::Type(_))));
            has_type && is_named(ty, &["State", "Address"])
        }),
    }
}

fn is_owned_extractor(ty: &Type) -> bool {
    is_named(ungrouped_type(ty), &["Progress", "Bus"])
}

fn is_named(ty: &Type, names: &[&str]) -> bool {
    last_segment(ty).is_some_and(|segment| names.iter().any(|name| segment.ident == name))
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

pub(super) fn owns_its_message(message: &PatType, diagnostics: &mut Diagnostics) {
    if let Type::Reference(reference) = ungrouped_type(&message.ty) {
        let owned = reference.elem.to_token_stream();
        diagnostics.over(&message.ty, format!("a handler owns its message: write `{owned}` instead of a reference"));
    } else if let Some(object @ Type::TraitObject(_)) = wrapped(&message.ty).map(ungrouped_type) {
        diagnostics.over(object, "a handler takes the messages of one type: write that type, and a handler for each");
    } else if let Some(only) = wrapped(&message.ty) {
        let (only, whole) = (written(only.to_token_stream()), written(message.ty.to_token_stream()));
        diagnostics.over(
            &message.ty,
            format!("a handler takes its messages one by one, as they are: write `{only}` instead of `{whole}`"),
        );
    } else if let Some(lifetime) = static_lifetime(&message.ty) {
        diagnostics.over(
            lifetime,
            "a message that borrows is there until its handler returns: write `'_`, or own the fields of the message",
        );
    }
}

/// The one of `OrderView<'static>`.
fn static_lifetime(ty: &Type) -> Option<&Lifetime> {
    let PathArguments::AngleBracketed(arguments) = &last_segment(ungrouped_type(ty))?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Lifetime(lifetime) if lifetime.ident == "static" => Some(lifetime),
        _ => None,
    })
}

/// What is in a `Vec`, an `Option` or a pointer: none of them is a message.
fn wrapped(ty: &Type) -> Option<&Type> {
    let ty = ungrouped_type(ty);
    let PathArguments::AngleBracketed(arguments) = &last_segment(ty)?.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(only)) if is_named(ty, &["Vec", "Option", "Arc", "Box"]) => Some(only),
        _ => None,
    }
}

/// A filter is asked before anything is taken out of the delivery. What could be another thing of that name is left to the compiler.
pub(super) fn filter_asks_only_the_message(
    options: &Options,
    known: &[Ident],
    arguments: &[&PatType],
    diagnostics: &mut Diagnostics,
) {
    let Some(filter) = &options.filter else { return };
    let mut names = Vec::new();
    arguments.iter().for_each(|argument| names_bound(&argument.pat, &mut names));
    names.retain(|name| !known.contains(name));
    let binds = |token: &TokenTree, _: Option<&TokenTree>| match token {
        TokenTree::Punct(bar) => bar.as_char() == '|',
        TokenTree::Ident(word) => word == "let" || word == "match" || word == "matches",
        _ => false,
    };
    // `name.is_empty()`, and neither `order.name.is_empty()` nor `name(order)`.
    let is_field = Cell::new(false);
    let asks = |token: &TokenTree, next: Option<&TokenTree>| {
        let is_dot = |token: &TokenTree| matches!(token, TokenTree::Punct(dot) if dot.as_char() == '.');
        let is_field = is_field.replace(is_dot(token));
        matches!(token, TokenTree::Ident(word) if !is_field && names.contains(word)) && next.is_some_and(is_dot)
    };
    if let Some(token) = find(filter.clone(), &asks)
        && find(filter.clone(), &binds).is_none()
    {
        diagnostics.at(
            token.span(),
            format!("a filter sees only the message: ask `{token}` in the handler, and return early"),
        );
    }
}

/// The names that a pattern binds. A word that begins with a capital letter is a constant or a variant.
pub(super) fn names_bound(pattern: &Pat, names: &mut Vec<Ident>) {
    match pattern {
        Pat::Ident(pattern) => {
            if !pattern.ident.to_string().starts_with(char::is_uppercase) {
                names.push(pattern.ident.clone());
            }
            pattern.subpat.iter().for_each(|(_, inner)| names_bound(inner, names));
        }
        Pat::Paren(pattern) => names_bound(&pattern.pat, names),
        Pat::Reference(pattern) => names_bound(&pattern.pat, names),
        Pat::Slice(pattern) => pattern.elems.iter().for_each(|inner| names_bound(inner, names)),
        Pat::Struct(pattern) => pattern.fields.iter().for_each(|field| names_bound(&field.pat, names)),
        Pat::Tuple(pattern) => pattern.elems.iter().for_each(|inner| names_bound(inner, names)),
        Pat::TupleStruct(pattern) => pattern.elems.iter().for_each(|inner| names_bound(inner, names)),
        // Each case binds the same names.
        Pat::Or(pattern) => pattern.cases.iter().take(1).for_each(|inner| names_bound(inner, names)),
        _ => {}
    }
}
