//! The derives and attributes of tidings.

mod attr;
mod diag;
mod message;
mod param;
mod template;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Stub.
#[proc_macro_derive(Message, attributes(channel, message, tidings))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    message::derive(parse_macro_input!(input as DeriveInput)).into()
}

/// Stub.
#[proc_macro_derive(ChannelParam, attributes(param, tidings))]
pub fn derive_channel_param(input: TokenStream) -> TokenStream {
    param::derive(parse_macro_input!(input as DeriveInput)).into()
}

/// Stub.
#[proc_macro_attribute]
pub fn handler(_options: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// Stub: the attribute of an `impl` block. `router![…]` is a `macro_rules` macro of the runtime or an entry of its own.
#[proc_macro_attribute]
pub fn router(_options: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// Stub.
#[proc_macro]
pub fn routes(_handlers: TokenStream) -> TokenStream {
    TokenStream::new()
}
