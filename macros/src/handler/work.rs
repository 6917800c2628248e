//! What a handler of a queue says of its attempts. Which handler is one only the compiler knows.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

use super::model::{Handler, Once, Options, Redelivery};
use crate::{attr::Entry, diag::Diagnostics};

/// For so long it is known by default that a task was done.
const WINDOW_NANOS: u64 = 24 * 3_600 * 1_000_000_000;

/// What `idempotent`, `once` and `window` say together.
pub(super) fn redelivery(entries: Vec<Entry>, diagnostics: &mut Diagnostics) -> Option<Redelivery> {
    let (mut idempotent, mut once, mut window) = (None, None, None);
    for entry in entries {
        match entry.key.to_string().as_str() {
            "idempotent" => idempotent = entry.flag(diagnostics).then_some(entry),
            "once" => once = Some(entry),
            _ => window = Some(entry),
        }
    }
    match (idempotent, once, window) {
        (Some(_), Some(once), _) => {
            diagnostics.at(
                once.key.span(),
                "`idempotent` runs a task again after a crash, and `once` does not: remove one of the two",
            );
            None
        }
        (idempotent, None, Some(window)) => {
            let once = if idempotent.is_some() { "`once` instead of `idempotent`" } else { "`once` before it" };
            diagnostics.at(
                window.key.span(),
                format!(
                    "`window` says for how long it is known that a task was done, for handlers that run once: write {once}, or remove `window`"
                ),
            );
            idempotent.map(|_| Redelivery::Idempotent)
        }
        (Some(_), None, None) => Some(Redelivery::Idempotent),
        (None, None, None) => None,
        (None, Some(once), window) => {
            let span = window.as_ref().map_or_else(|| once.key.span(), Entry::span);
            let window_nanos = window.map_or(Some(WINDOW_NANOS), |window| window.duration(diagnostics));
            Some(Redelivery::Once(Once { field: field(&once, diagnostics), window_nanos: window_nanos?, span }))
        }
    }
}

/// The field that `once = field` names.
fn field(once: &Entry, diagnostics: &mut Diagnostics) -> Option<Ident> {
    if !once.has_value() {
        return None;
    }
    let (name, _) = once.name("once = path", diagnostics)?;
    let text = name.value();
    let Ok(mut field) = syn::parse_str::<Ident>(&text).or_else(|_| syn::parse_str(&format!("r#{text}"))) else {
        diagnostics.at(
            name.span(),
            "`once` takes the name of a field: write `once = path`, or `once` alone for the task's id",
        );
        return None;
    };
    field.set_span(name.span());
    Some(field)
}

/// The options that only queues have.
pub(super) fn options(options: &Options) -> TokenStream {
    let retries = options.retries.map(|retries| {
        let retries = proc_macro2::Literal::u64_unsuffixed(retries);
        quote!(.retries(#retries))
    });
    let backoff = options.backoff_nanos.map(|(first, longest)| quote!(.backoff_nanos(#first, #longest)));
    let crashes = options.crashes.map(|crashes| {
        let crashes = proc_macro2::Literal::u64_unsuffixed(crashes);
        quote!(.crashes(#crashes))
    });
    let redelivery = options.redelivery.as_ref().map(|redelivery| match redelivery {
        Redelivery::Idempotent => quote!(.idempotent()),
        Redelivery::Once(Once { field, window_nanos, .. }) => {
            let by_field = field.is_some();
            quote!(.once(#window_nanos, #by_field))
        }
    });
    quote!(#retries #backoff #crashes #redelivery)
}

// Output, each at the place that it is about:
//
//     const _: () = __tidings::prove_work(<marker as __tidings::Handler>::ROUTE);
//     const _: () = __tidings::prove_option(__MESSAGE.facts(), "retries");
//     const _: () = __tidings::prove_window(<marker as __tidings::Handler>::ROUTE);
/// Whether the handler says what its message's kind asks for, and nothing else.
pub(super) fn proofs(handler: &Handler, marker: &Ident) -> TokenStream {
    let Handler { ident, options, .. } = handler;
    // Such a path is nothing that lints look at only where a macro has written it.
    let route =
        |span: Span| quote_spanned!(Span::mixed_site().located_at(span)=> <#marker as __tidings::Handler>::ROUTE);
    let said = route(ident.span());
    let said = quote_spanned!(ident.span()=> const _: () = __tidings::prove_work(#said););
    let fitting = options.of_some_kinds.iter().map(|option| {
        let name = option.to_string();
        quote_spanned!(option.span()=> const _: () = __tidings::prove_option(__MESSAGE.facts(), #name);)
    });
    let window = match &options.redelivery {
        Some(Redelivery::Once(Once { span, .. })) => {
            let route = route(*span);
            Some(quote_spanned!(*span=> const _: () = __tidings::prove_window(#route);))
        }
        _ => None,
    };
    quote!(#said #(#fitting)* #window)
}

// Output of `once = path`:
//
//     let key = {
//         use __tidings::ToldByItself as _;
//         __tidings::once_for(__MESSAGE.facts(), __tidings::Field(&message.path).told())
//     };
//     if let Some(outcome) = __tidings::begin(key, delivery, bus, 86400000000000u64).await {
//         return outcome;
//     }
/// What is asked before a handler that runs once.
pub(super) fn begin(handler: &Handler) -> Option<TokenStream> {
    let Some(Redelivery::Once(Once { field, window_nanos, .. })) = &handler.options.redelivery else { return None };
    let site = Span::mixed_site();
    let key = match field {
        None => quote_spanned!(site=> __tidings::once_for_id(__MESSAGE.facts(), delivery)),
        Some(field) => {
            // What is asked of the field's type is asked at its name.
            let at = site.located_at(field.span());
            let message = Ident::new("message", at);
            let value = quote_spanned!(field.span()=> &#message.#field);
            let told = quote_spanned!(at=> __tidings::Field(#value).told());
            quote_spanned! {site=> {
                use __tidings::ToldByItself as _;
                __tidings::once_for(__MESSAGE.facts(), #told)
            }}
        }
    };
    Some(quote_spanned! {site=>
        let key = #key;
        if let ::core::option::Option::Some(outcome) = __tidings::begin(key, delivery, bus, #window_nanos).await {
            return outcome;
        }
    })
}
