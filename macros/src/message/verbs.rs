//! The inherent functions that `#[derive(Message)]` generates: a user needs no trait in scope, and a verb exists only where the
//! message's kind can honour it.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Ident;

use super::model::{Message, Parameter};

/// How a message of one kind is sent.
struct Verb {
    /// By the fields, and to an address.
    names: [Ident; 2],
    /// What the functions return.
    builder: Ident,
    /// The trait that says what to write where the fields do not name the channel.
    complete: Ident,
    documentation: [&'static str; 2],
}

impl Verb {
    fn of(message: &Message) -> Self {
        let ident = |name: &str| Ident::new(name, Span::call_site());
        match message.reply {
            None => Self {
                names: [ident("publish"), ident("publish_to")],
                builder: ident("Publishing"),
                complete: ident("CompleteChannel"),
                documentation: [
                    "Publishes the message to the channel that its fields name, once the result is awaited.",
                    "Publishes the message to an address, once the result is awaited.",
                ],
            },
            Some(_) => Self {
                names: [ident("request"), ident("request_to")],
                builder: ident("Requesting"),
                complete: ident("CompleteRequest"),
                documentation: [
                    "Sends the request to the channel that its fields name and waits for the answer, once the result is awaited.",
                    "Sends the request to an address and waits for the answer, once the result is awaited.",
                ],
            },
        }
    }
}

pub(super) fn verbs(message: &Message) -> TokenStream {
    let pattern = message.pattern();
    let params = message.params();
    let Message { visibility, ident, template, .. } = message;
    let arguments =
        message.parameters().map(|Parameter { ident, ty, .. }| quote!(#ident: impl __tidings::IntoParam<#ty>));
    let values =
        message.parameters().map(|Parameter { ident, .. }| quote!(#ident: __tidings::IntoParam::into_param(#ident),));
    let nothing = message.parameters().map(|Parameter { ident, .. }| quote!(#ident: ::core::option::Option::None,));
    let channel_documentation = format!("The address `{template}` with these parameters.");
    let any_documentation =
        format!("The pattern of all channels of `{template}`; its functions, named after the parameters, narrow it.");
    let verb = Verb::of(message);
    let Verb { names: [_, name_to], builder, documentation: [_, documentation_to], .. } = &verb;
    let by_fields = by_fields(message, &verb);
    let generics = message.generics();
    quote! {
        #[automatically_derived]
        impl #generics #ident #generics {
            #[doc = #channel_documentation]
            #[must_use]
            #visibility fn channel(#(#arguments),*) -> __tidings::Address<Self> {
                __tidings::Address::from_params(#params { #(#values)* })
            }

            #[doc = #any_documentation]
            #[must_use]
            #visibility fn any() -> <Self as __tidings::Message>::Pattern {
                #pattern { #(#nothing)* }
            }

            #[doc = #documentation_to]
            #visibility fn #name_to<'__bus>(
                &'__bus self,
                address: impl __tidings::AddressOf<Self>,
                bus: &'__bus __tidings::Bus,
            ) -> __tidings::#builder<'__bus, Self> {
                __tidings::#builder::to(self, __tidings::AddressOf::as_address(&address), bus)
            }

            #by_fields
        }
    }
}

/// The verb and `address` where the fields say where to, and else a verb that says what to write.
fn by_fields(message: &Message, verb: &Verb) -> TokenStream {
    let params = message.params();
    let Message { visibility, .. } = message;
    let Verb { names: [name, _], builder, complete, documentation: [documentation, _] } = verb;
    if message.is_addressed_by_fields() {
        let copies =
            message.parameters().map(|Parameter { ident, constant, .. }| quote!(#ident: #constant.copy(&self.#ident),));
        return quote! {
            /// The address that the message's fields name.
            #[must_use]
            #visibility fn address(&self) -> __tidings::Address<Self> {
                __tidings::Address::from_params(#params { #(#copies)* })
            }

            #[doc = #documentation]
            #visibility fn #name<'__bus>(&'__bus self, bus: &'__bus __tidings::Bus) -> __tidings::#builder<'__bus, Self> {
                __tidings::#builder::by_fields(self, bus)
            }
        };
    }
    quote! {
        // The lifetime keeps the bound from being checked before somebody calls the function.
        #[doc(hidden)]
        #visibility fn #name<'__bus>(&'__bus self, _bus: &'__bus __tidings::Bus) -> __tidings::#builder<'__bus, Self>
        where
            (): __tidings::#complete<'__bus, Self>,
        {
            __tidings::#complete::incomplete(())
        }
    }
}
