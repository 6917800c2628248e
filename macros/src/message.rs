//! `#[derive(Message)]`.

mod check;
mod ending;
mod expand;
mod kind;
mod model;
mod parameter;
mod queue;
mod verbs;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::{attr::Runtime, diag::Diagnostics};

pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let runtime = Runtime::of(&input.attrs, &mut diagnostics);
    let checked = check::message(&input, runtime.clone(), &mut diagnostics);
    match checked {
        Some(message) if diagnostics.is_empty() => expand::message(&message),
        _ => {
            let errors = diagnostics.into_tokens();
            let stub = expand::stub(&input, &runtime);
            quote::quote!(#errors #stub)
        }
    }
}
