//! What a message promises, and everything that follows from it: its verbs, what its handlers return, the traits of its own.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Ident, Type, spanned::Spanned};

use super::{model::Message, queue::Queue};

pub(crate) enum Kind {
    Broadcast,
    Request(Box<Reply>),
    Queue(Box<Queue>),
}

/// The answer to a request, or what a task results in.
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
            Self::Queue(_) => quote!(__tidings::Kind::Queue),
        }
    }

    /// What a handler's return value means.
    pub(crate) fn answer(&self) -> TokenStream {
        match self {
            Self::Broadcast => quote!(__tidings::NoAnswer),
            Self::Request(reply) => match reply.error {
                None => quote!(__tidings::AnswerWith<Self>),
                Some(_) => quote!(__tidings::AnswerOr<Self>),
            },
            Self::Queue(queue) => queue.ending.answer(),
        }
    }

    /// Who says how the end of a task is announced.
    pub(crate) fn announced(&self) -> TokenStream {
        match self {
            Self::Queue(queue) => queue.ending.announced(),
            Self::Broadcast | Self::Request(_) => quote!(()),
        }
    }

    // Output of a broadcast, the second where its fields name its channel, and of a task:
    //
    //     impl __tidings::Broadcast for OrderPlaced {}
    //     impl __tidings::Announces for OrderPlaced { type Itself = Self; }
    //     impl __tidings::Queue for ResizeImage { type Runs = __tidings::AtLeastOnce; }
    //
    // Output of a request:
    //
    //     impl __tidings::Request for QuoteRequest { type Reply = Quote; type Error = QuoteError; }
    /// The traits that only messages of this kind implement.
    pub(crate) fn traits(&self, message: &Message) -> TokenStream {
        let this = message.ty();
        let (contract, items, more) = match self {
            Self::Broadcast => (quote!(__tidings::Broadcast for), TokenStream::new(), announces(message)),
            Self::Queue(queue) => (quote!(__tidings::Queue for), queue.runs(), queue.ending.traits(message)),
            Self::Request(reply) => (quote!(__tidings::Request for), reply.items("Reply"), None),
        };
        let head = message.implements(contract, this);
        quote! {
            #[automatically_derived]
            #head { #items }
            #more
        }
    }

    /// What the queue promises, in the `impl` of `Message`.
    pub(crate) fn queue_facts(&self) -> Option<TokenStream> {
        match self {
            Self::Queue(queue) => Some(queue.facts()),
            Self::Broadcast | Self::Request(_) => None,
        }
    }

    /// What only the compiler can know of a queue.
    pub(crate) fn proofs(&self, message: &Message) -> Option<TokenStream> {
        match self {
            Self::Queue(queue) => Some(queue.proofs(message)),
            Self::Broadcast | Self::Request(_) => None,
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
            Self::Queue(_) => Verb {
                names: [ident("enqueue"), ident("enqueue_to")],
                builder: ident("Enqueueing"),
                complete: ident("CompleteQueue"),
                documentation: [
                    "Adds the task to the part of the queue that its fields name, once the result is awaited.",
                    "Adds the task to the part of the queue that an address names, once the result is awaited.",
                ],
            },
        }
    }
}

fn announces(message: &Message) -> Option<TokenStream> {
    let head = message.implements(quote!(__tidings::Announces for), message.ty());
    message.is_addressed_by_fields().then(|| {
        quote! {
            #[automatically_derived]
            #head { type Itself = Self; }
        }
    })
}

impl Reply {
    /// Stands in where nothing can be read of one.
    pub(super) fn of_no_values() -> Self {
        Self { ty: syn::parse_quote!(__tidings::NoError), error: None }
    }

    /// The types of the trait, the first of them by its name.
    pub(super) fn items(&self, reply: &str) -> TokenStream {
        let Self { ty, error } = self;
        let reply = Ident::new(reply, Span::call_site());
        // Here the compiler asks for serde's traits, and that the types are as visible as the message.
        let reply = quote_spanned!(ty.span()=> type #reply = #ty;);
        let error = match error {
            Some(error) => quote_spanned!(error.span()=> type Error = #error;),
            None => quote!(
                type Error = __tidings::NoError;
            ),
        };
        quote!(#reply #error)
    }
}
