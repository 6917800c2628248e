//! `#[handler]`, `#[router]`, `routes![…]` and `routers![…]`: handlers and sets of them.
//!
//! Each handler becomes a type that implements `Handler` and `Call`; each set of handlers becomes a list of routes, a proof for each
//! handler, and one `match`; several sets become one value, and a proof for each.

mod arguments;
mod check;
mod expand;
mod inherited;
mod listed;
mod model;
mod sets;
mod work;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, ItemFn, ItemImpl};

use crate::{attr::Runtime, diag::Diagnostics};

/// `#[handler]` on a free function.
pub(crate) fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let Ok(mut function) = syn::parse2::<ItemFn>(item.clone()) else {
        return not_a_function(item);
    };
    let (runtime, checked) = check::free_handler(options, &mut function, &mut diagnostics);
    let items = match checked {
        Some(handler) if diagnostics.is_empty() => expand::free_handler(&handler, &runtime),
        _ if function.sig.receiver().is_some() => TokenStream::new(),
        _ => expand::stub_handler(&function, &runtime),
    };
    inherited::may_wait_for_nothing(&mut function.attrs, &function.block);
    let (errors, items) = (diagnostics.into_tokens(), expand::outside_of_impls(items, &function, &runtime));
    quote!(#function #errors #items)
}

/// What the items of a free handler are put through.
pub(crate) fn free_items(input: TokenStream) -> TokenStream {
    expand::free_items(input)
}

fn not_a_function(item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(block)) => {
            diagnostics
                .at(block.impl_token.span, "a set of handlers is a router: write `#[router]` on the `impl` block");
        }
        Ok(_) => diagnostics.over(&item, "a handler is a function: write `#[handler]` on an `async fn`"),
        // Not Rust, or a declaration without a body: the compiler's own words are better.
        Err(error) => diagnostics.syntax(error),
    }
    let errors = diagnostics.into_tokens();
    quote!(#item #errors)
}

/// `#[router]` on an `impl` block.
pub(crate) fn router(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let mut block = match syn::parse2::<ItemImpl>(item.clone()) {
        Ok(block) => block,
        Err(_) => return not_an_impl(item),
    };
    let (runtime, checked) = check::router(options, &mut block, &mut diagnostics);
    let generated = match checked {
        Some(router) if diagnostics.is_empty() => sets::router(&router, &runtime),
        _ => sets::stub_router(&block, &runtime),
    };
    let errors = diagnostics.into_tokens();
    quote!(#block #errors #generated)
}

fn not_an_impl(item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Fn(function)) => {
            diagnostics
                .at(function.sig.ident.span(), "a free function is a handler of its own: write `#[handler]` on it");
        }
        Ok(_) => diagnostics.over(&item, "a router is a set of methods: write `#[router]` on an `impl` block"),
        Err(error) => diagnostics.syntax(error),
    }
    let errors = diagnostics.into_tokens();
    quote!(#item #errors)
}

/// `routes![…]`.
pub(crate) fn routes(input: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    match listed::routes(input, &mut diagnostics) {
        Some((routes, runtime)) if diagnostics.is_empty() => sets::routes(&routes, &runtime),
        _ => stub_value(diagnostics),
    }
}

/// What `routes![…]` puts its paths through.
pub(crate) fn named_handlers(paths: TokenStream) -> TokenStream {
    sets::named_handlers(paths)
}

/// `routers![…]`.
pub(crate) fn routers(input: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    match listed::routers(input, &mut diagnostics) {
        Some((routers, runtime)) if diagnostics.is_empty() => sets::routers(&routers, &runtime),
        _ => stub_value(diagnostics),
    }
}

fn stub_value(diagnostics: Diagnostics) -> TokenStream {
    let errors = diagnostics.into_tokens();
    let import = Runtime::default().import();
    quote!({ #import #errors __tidings::StubRouter })
}
