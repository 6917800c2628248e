//! What is known of the end of a task: `results`, `completed` and `failed` of a queue, and its `#[reply(…)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Path, spanned::Spanned};

use super::{kind::Reply, model::Message};
use crate::{attr::Entry, diag::Diagnostics};

/// Nothing is known of it, unless the queue says otherwise.
#[derive(Default)]
pub(crate) struct Ending {
    pub(crate) results: Option<Results>,
    /// The message that announces that a task is completed.
    completed: Option<Path>,
    /// The message that announces that one has failed.
    failed: Option<Path>,
}

/// What is kept of a task that has ended.
pub(crate) struct Results {
    nanos: u64,
    count: Option<u64>,
    bytes: Option<u64>,
    pub(crate) reply: Reply,
}

/// What the message says of its reply.
pub(super) enum Said {
    Nothing,
    /// An attribute with a mistake, which was told.
    Something,
    Reply(Box<Reply>),
}

impl Ending {
    /// `template` is the place of the queue's.
    pub(super) fn checked(
        entries: Vec<Entry>,
        reply: Said,
        (at_most_once, template): (bool, Span),
        diagnostics: &mut Diagnostics,
    ) -> Self {
        if at_most_once {
            has_no_end(&entries, &reply, template, diagnostics);
            return Self::default();
        }
        let mut ending = Self::default();
        let (mut results, mut bounds) = (None, Vec::new());
        for entry in entries {
            match entry.key.to_string().as_str() {
                "results" => results = Some(entry),
                "completed" => ending.completed = entry.path("completed = TaskCompleted", diagnostics),
                "failed" => ending.failed = entry.path("failed = TaskFailed", diagnostics),
                _ => bounds.push(entry),
            }
        }
        ending.results = Results::checked(results, bounds, reply, template, diagnostics);
        ending
    }

    /// Of a message with a mistake, which seems to keep this reply.
    pub(super) fn guessed(reply: Reply) -> Self {
        Self { results: Some(Results { nanos: 1, count: None, bytes: None, reply }), ..Self::default() }
    }

    /// What a handler's return value means.
    pub(super) fn answer(&self) -> TokenStream {
        match &self.results {
            None => quote!(__tidings::Worked),
            Some(Results { reply: Reply { error: None, .. }, .. }) => quote!(__tidings::WorkedWith<Self>),
            Some(_) => quote!(__tidings::WorkedOr<Self>),
        }
    }

    // Output:
    //
    //     .results(__tidings::ResultBounds::for_nanos(3600000000000u64).count(1000u64))
    pub(super) fn facts(&self) -> Option<TokenStream> {
        let Results { nanos, count, bytes, .. } = self.results.as_ref()?;
        let count = count.map(|count| quote!(.count(#count)));
        let bytes = bytes.map(|bytes| quote!(.bytes(#bytes)));
        Some(quote!(.results(__tidings::ResultBounds::for_nanos(#nanos) #count #bytes)))
    }

    // Output:
    //
    //     impl __tidings::Results for ResizeImage { type Output = Resized; type Error = ResizeError; }
    pub(super) fn traits(&self, message: &Message) -> Option<TokenStream> {
        let items = self.results.as_ref()?.reply.items("Output");
        let head = message.implements(quote!(__tidings::Results for), message.ty());
        Some(quote! {
            #[automatically_derived]
            #head { #items }
        })
    }

    /// Who says how an end is announced: the message, or nobody.
    pub(super) fn announced(&self) -> TokenStream {
        if self.completed.is_some() || self.failed.is_some() { quote!(Self) } else { quote!(()) }
    }

    // Output:
    //
    //     impl __tidings::ResultRules for ResizeImage {
    //         fn rule(error: &ResizeError) -> __tidings::Rule { <ResizeError as __tidings::Ruled>::rule(error) }
    //     }
    //     const __COMPLETED: __tidings::Announcing =
    //         <<TaskCompleted as __tidings::Announces>::Itself as __tidings::MadeOf<ResizeImage>>::ANNOUNCING;
    //     impl __tidings::Announced for ResizeImage {
    //         const ENDINGS: __tidings::Endings = __tidings::Endings::NONE.completed(__COMPLETED);
    //     }
    /// What only the compiler can know of the types. Each is asked for at the one place where it is written, and nowhere else.
    pub(super) fn proofs(&self, message: &Message) -> TokenStream {
        let this = message.ty();
        let error = self.results.as_ref().and_then(|results| results.reply.error.as_ref()).map(|error| {
            let site = Span::mixed_site().located_at(error.span());
            let argument = quote_spanned!(site=> error);
            let rule = quote_spanned!(error.span()=> <#error as __tidings::Ruled>::rule(#argument));
            let head = message.implements(quote!(__tidings::ResultRules for), &this);
            quote! {
                #[automatically_derived]
                #head {
                    fn rule(#argument: &<Self as __tidings::Results>::Error) -> __tidings::Rule { #rule }
                }
            }
        });
        let made_of = if message.borrows { quote!(MadeOfBorrowed) } else { quote!(MadeOf) };
        let announcements = [("completed", "__COMPLETED", &self.completed), ("failed", "__FAILED", &self.failed)];
        let (mut constants, mut endings) = (TokenStream::new(), TokenStream::new());
        for (option, name, path) in announcements {
            let Some(path) = path else { continue };
            let [option, name] = [option, name].map(|name| syn::Ident::new(name, Span::call_site()));
            let announcing = quote_spanned! {path.span()=>
                <<#path as __tidings::Announces>::Itself as __tidings::#made_of<#this>>::ANNOUNCING
            };
            constants.extend(quote!(const #name: __tidings::Announcing = #announcing;));
            endings.extend(quote!(.#option(#name)));
        }
        let announced = (!endings.is_empty()).then(|| {
            let head = message.implements(quote!(__tidings::Announced for), &this);
            quote! {
                #constants
                #[automatically_derived]
                #head {
                    const ENDINGS: __tidings::Endings = __tidings::Endings::NONE #endings;
                }
            }
        });
        quote!(#error #announced)
    }
}

/// A task that is done when it is taken has no end that would tell anything.
fn has_no_end(entries: &[Entry], reply: &Said, template: Span, diagnostics: &mut Diagnostics) {
    for entry in entries {
        diagnostics.at(
            entry.key.span(),
            format!(
                "`{0}` has no use here: a task of this queue is done when it is taken, as `at_most_once` says, and nothing is known of its end; remove \
                 one of the two",
                entry.key
            ),
        );
    }
    if let (Said::Reply(_), []) = (reply, entries) {
        diagnostics.at(
            template,
            "this task has a `#[reply(…)]`, but it is done when it is taken, as `at_most_once` says, and nothing is known of its end: remove one of the two",
        );
    }
}

impl Results {
    fn checked(
        results: Option<Entry>,
        bounds: Vec<Entry>,
        reply: Said,
        template: Span,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let Some(results) = results else {
            for bound in &bounds {
                diagnostics.at(
                    bound.key.span(),
                    format!(
                        "`{}` bounds what `results` keeps: write `results = \"1h\"` before it, or remove it",
                        bound.key
                    ),
                );
            }
            if let (Said::Reply(_), []) = (&reply, &bounds[..]) {
                diagnostics.at(
                    template,
                    "this task has a `#[reply(…)]`, and nothing says that it is kept: write `results = \"1h\"` behind the template, or remove `#[reply(…)]`",
                );
            }
            return None;
        };
        let nanos = results.duration(diagnostics);
        let (mut count, mut bytes) = (None, None);
        for bound in bounds {
            if bound.key == "results_count" {
                count = bound.number((1, u64::MAX), "results_count = 100000", diagnostics);
            } else {
                bytes = bound.number((1, u64::MAX), "results_bytes = 67108864", diagnostics);
            }
        }
        let Said::Reply(reply) = reply else {
            if let Said::Nothing = reply {
                diagnostics.at(
                    results.key.span(),
                    "`results` keeps what handlers return, and nothing says what that is: write `#[reply(Type)]` or `#[reply(Type, error = ErrorType)]` on the \
                     message, or remove `results`",
                );
            }
            return None;
        };
        Some(Self { nanos: nanos?, count, bytes, reply: *reply })
    }
}
