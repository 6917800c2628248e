//! The rules of `routes![…]` and `routers![…]`, one function each.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{
    Attribute, Expr, Path, Token,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

use super::{
    arguments::is_condition,
    model::{Routers, Routes},
};
use crate::{
    attr::{self, Runtime},
    diag::Diagnostics,
};

/// `a, b::c`, perhaps behind `crate = path;`.
pub(super) fn routes(input: TokenStream, diagnostics: &mut Diagnostics) -> Option<(Routes, Runtime)> {
    const TAKES: &str = "`routes![…]` takes the names of handlers: write `routes![placed, module::other]`";
    let (handlers, runtime) = listed("routes", input, TAKES, diagnostics)?;
    if handlers.is_empty() {
        diagnostics.at(
            Span::call_site(),
            "a router without handlers receives nothing: write the names of handlers, such as `routes![placed]`",
        );
    }
    let mut paths = Vec::new();
    for handler in &handlers {
        match attr::path(handler) {
            Some(path) => paths.push(path.clone()),
            None => diagnostics.over(handler, TAKES),
        }
    }
    names_no_type(&paths, diagnostics);
    Some((Routes { handlers: paths }, runtime))
}

/// Values of routers, perhaps behind `crate = path;`.
pub(super) fn routers(input: TokenStream, diagnostics: &mut Diagnostics) -> Option<(Routers, Runtime)> {
    const TAKES: &str = "`routers![…]` takes values of routers: write `routers![shop, pay]`";
    let (members, runtime) = listed("routers", input, TAKES, diagnostics)?;
    if members.is_empty() {
        diagnostics.at(
            Span::call_site(),
            "no routers receive nothing: write the routers that are served as one, such as `routers![shop, pay]`",
        );
    }
    Some((Routers { members }, runtime))
}

/// A type's name is told from a function's by how it is written: the macro sees nothing else of it.
fn names_no_type(paths: &[Path], diagnostics: &mut Diagnostics) {
    let is_type = |name: &Ident| {
        let name = name.to_string();
        name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase)
    };
    let of_type = |path: &&Path| path.segments.iter().rev().take(2).any(|segment| is_type(&segment.ident));
    if let Some(path) = paths.iter().find(of_type) {
        diagnostics.over(
            path,
            "`routes![…]` takes free handlers, and a router is served whole: write `bus.serve(…)` with its value, or `bus.serve(routers![…])` with several",
        );
    }
}

/// Expressions, perhaps behind `crate = path;`.
fn listed(name: &str, input: TokenStream, takes: &str, diagnostics: &mut Diagnostics) -> Option<(Vec<Expr>, Runtime)> {
    let parser = |input: ParseStream<'_>| {
        let mut root = None;
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            root = Some(input.parse::<attr::Entry>()?);
            input.parse::<Token![;]>()?;
        }
        Ok((root, Punctuated::<Member, Token![,]>::parse_terminated(input)?))
    };
    let (root, members) = match parser.parse2(input) {
        Ok(parsed) => parsed,
        Err(error) => {
            diagnostics.syntax(syn::Error::new(error.span(), takes));
            return None;
        }
    };
    let mut runtime = Runtime::default();
    if let Some(root) = root {
        runtime.set(&root, diagnostics);
    }
    for condition in members.iter().flat_map(|member| &member.attributes).filter(is_condition) {
        diagnostics.over(
            condition,
            format!(
                "all of `{name}![…]` is proven together, so no part of it is conditional: write it twice, with this part and without it, each behind a `#[cfg(…)]` of its own"
            ),
        );
    }
    Some((members.into_iter().map(|member| member.value).collect(), runtime))
}

/// What `routes![…]` and `routers![…]` list.
struct Member {
    attributes: Vec<Attribute>,
    value: Expr,
}

impl Parse for Member {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self { attributes: input.call(Attribute::parse_outer)?, value: input.parse()? })
    }
}
