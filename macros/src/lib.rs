//! The derives and attributes of tidings.

mod attr;
mod diag;
mod handler;
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
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::handler(options.into(), item.into()).into()
}

/// Stub.
#[proc_macro_attribute]
pub fn router(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::router(options.into(), item.into()).into()
}

/// Stub.
#[proc_macro]
pub fn routes(input: TokenStream) -> TokenStream {
    handler::routes(input.into()).into()
}
