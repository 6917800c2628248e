//! The derives and attributes of tidings.

use proc_macro::TokenStream;

/// Stub.
#[proc_macro_derive(Message, attributes(channel, message, tidings))]
pub fn derive_message(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Stub.
#[proc_macro_derive(ChannelParam, attributes(param, tidings))]
pub fn derive_channel_param(_input: TokenStream) -> TokenStream {
    TokenStream::new()
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
