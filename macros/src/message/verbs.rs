//! The inherent functions that `#[derive(Message)]` generates: a user needs no trait in scope, and a verb exists only where the
//! message's kind can honour it.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Ident;

use super::{
    kind::{Kind, Verb},
    model::{Message, Parameter},
};

pub(super) fn verbs(message: &Message) -> TokenStream {
    let params = message.params();
    let Message { visibility, template, .. } = message;
    let arguments =
        message.parameters().map(|Parameter { ident, ty, .. }| quote!(#ident: impl __tidings::IntoParam<#ty>));
    let values =
        message.parameters().map(|Parameter { ident, .. }| quote!(#ident: __tidings::IntoParam::into_param(#ident),));
    let channel_documentation = format!("The address `{template}` with these parameters.");
    let any_documentation =
        format!("The pattern of all channels of `{template}`; its functions, named after the parameters, narrow it.");
    let verb = message.kind.verb();
    let Verb { names: [_, name_to], builder, documentation: [_, documentation_to], .. } = &verb;
    let by_fields = by_fields(message, &verb);
    let of_the_other_kind = of_the_other_kind(message);
    // As many as clippy takes. A template with more needs them all.
    let lint = (message.parameters().count() > 7).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    let inherent = message.implements(quote!(), message.ty());
    quote! {
        // A program may be that strict with functions of its own. Those of a message have these names for whoever is generic over messages too.
        #[allow(clippy::same_name_method, clippy::impl_trait_in_params)]
        #[automatically_derived]
        #inherent {
            #[doc = #channel_documentation]
            #[must_use]
            #lint
            #visibility fn channel(#(#arguments),*) -> __tidings::Address<Self> {
                __tidings::Address::from_params(#params { #(#values)* })
            }

            #[doc = #any_documentation]
            #[must_use]
            #visibility fn any() -> <Self as __tidings::Message>::Pattern {
                <Self as __tidings::Message>::any()
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
            #of_the_other_kind
        }
    }
}

/// The verbs of a message with a mistake.
pub(super) fn stub(message: &Message) -> TokenStream {
    let Message { visibility, .. } = message;
    let Verb { names: [name, name_to], builder, .. } = message.kind.verb();
    let of_the_other_kind = of_the_other_kind(message);
    quote! {
        #visibility fn #name<'a>(&'a self, _: &'a __tidings::Bus) -> __tidings::#builder<'a, Self> { ::core::panic!() }
        #visibility fn #name_to<'a, A>(&'a self, _: A, _: &'a __tidings::Bus) -> __tidings::#builder<'a, Self> { ::core::panic!() }
        #of_the_other_kind
    }
}

/// Verbs of other kinds, which say what to write. A broadcast may have something of its own that is called `request`; a verb such as `enqueue` is
/// nothing that a message would be asked for otherwise.
fn of_the_other_kind(message: &Message) -> TokenStream {
    let stand_in = |names: &[&str], builder: &str, contract: &str| {
        let Message { visibility, .. } = message;
        let [builder, contract] = [builder, contract].map(|name| Ident::new(name, Span::call_site()));
        let functions = names.iter().map(|name| {
            let ident = Ident::new(name, Span::call_site());
            let address = name.ends_with("_to").then(|| quote!(_: impl __tidings::AddressOf<Self>,));
            quote! {
                #[doc(hidden)]
                #visibility fn #ident<'__bus>(
                    &'__bus self,
                    #address
                    _: &'__bus __tidings::Bus,
                ) -> __tidings::#builder<'__bus, Self>
                where
                    (): __tidings::#contract<'__bus, Self>,
                {
                    __tidings::#contract::sent(())
                }
            }
        });
        functions.collect::<TokenStream>()
    };
    let enqueue = || stand_in(&["enqueue"], "Enqueueing", "SentAsTask");
    match message.kind {
        Kind::Broadcast => enqueue(),
        Kind::Request(_) => {
            let (publish, enqueue) = (stand_in(&["publish", "publish_to"], "Publishing", "Published"), enqueue());
            quote!(#publish #enqueue)
        }
        Kind::Queue(_) => {
            let publish = stand_in(&["publish", "publish_to"], "Publishing", "TaskPublished");
            let request = stand_in(&["request", "request_to"], "Enqueueing", "TaskRequested");
            quote!(#publish #request)
        }
    }
}

/// The verb and `address` where the fields say where to, and else a verb that says what to write.
fn by_fields(message: &Message, verb: &Verb) -> TokenStream {
    let Message { visibility, .. } = message;
    let Verb { names: [name, _], builder, complete, documentation: [documentation, _] } = verb;
    if message.is_addressed_by_fields() {
        return quote! {
            /// The address that the message's fields name.
            #[must_use]
            #visibility fn address(&self) -> __tidings::Address<Self> {
                __tidings::AddressedByFields::address(self)
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
