//! What a message promises, and everything that follows from it: its verbs, what its handlers return, the traits of its own.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, Type};

use super::model::Message;

pub(crate) enum Kind {
    Broadcast,
    Request(Box<Reply>),
}

/// The answer to a request.
pub(crate) struct Reply {
    pub(crate) ty: Type,
    pub(crate) error: Option<Type>,
}

/// How a message of one kind is sent.
pub(crate) struct Verb {
    /// By the fields, and to an address.
    pub(crate) names: [Ident; 2],
    /// What the functions return.
    pub(crate) builder: Ident,
    /// The trait that says what to write where the fields do not name the channel.
    pub(crate) complete: Ident,
    pub(crate) documentation: [&'static str; 2],
}

impl Kind {
    /// The kind as the runtime calls it.
    pub(crate) fn name(&self) -> TokenStream {
        match self {
            Self::Broadcast => quote!(__tidings::Kind::Broadcast),
            Self::Request(_) => quote!(__tidings::Kind::Request),
        }
    }

    /// What a handler's return value means.
    pub(crate) fn answer(&self) -> TokenStream {
        match self {
            Self::Broadcast => quote!(__tidings::NoAnswer),
            Self::Request(reply) => {
                let ty = &reply.ty;
                match &reply.error {
                    None => quote!(__tidings::AnswerWith<#ty>),
                    Some(error) => quote!(__tidings::AnswerOr<#ty, #error>),
                }
            }
        }
    }

    // Output of a broadcast:
    //
    //     impl __tidings::Broadcast for OrderPlaced {}
    //
    // Output of a request:
    //
    //     impl __tidings::Request for QuoteRequest { type Reply = Quote; type Error = QuoteError; }
    /// The traits that only messages of this kind implement.
    pub(crate) fn traits(&self, message: &Message) -> TokenStream {
        let (ident, generics) = (&message.ident, message.generics());
        let Self::Request(reply) = self else {
            return quote! {
                #[automatically_derived]
                impl #generics __tidings::Broadcast for #ident #generics {}
            };
        };
        let Reply { ty, error } = &**reply;
        let error = error.as_ref().map_or_else(|| quote!(__tidings::NoError), |error| quote!(#error));
        quote! {
            #[automatically_derived]
            impl #generics __tidings::Request for #ident #generics {
                type Reply = #ty;
                type Error = #error;
            }
        }
    }

    pub(crate) fn verb(&self) -> Verb {
        let ident = |name: &str| Ident::new(name, Span::call_site());
        match self {
            Self::Broadcast => Verb {
                names: [ident("publish"), ident("publish_to")],
                builder: ident("Publishing"),
                complete: ident("CompleteChannel"),
                documentation: [
                    "Publishes the message to the channel that its fields name, once the result is awaited.",
                    "Publishes the message to an address, once the result is awaited.",
                ],
            },
            Self::Request(_) => Verb {
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
