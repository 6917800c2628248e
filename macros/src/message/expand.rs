//! What `#[derive(Message)]` generates. The logic is in the runtime; here are only the names and types.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Data, DeriveInput, Generics, Ident, Lit, Meta, ext::IdentExt, spanned::Spanned};

use super::{
    check,
    model::{Codec, Message, Parameter, Segment, identifier},
    verbs,
};
use crate::{
    attr::{self, Runtime, silent},
    template,
    tokens::{find, with_static_lifetimes},
};

// Input:
//
//     #[derive(Message, Serialize, Deserialize)]
//     #[channel("orders:<id>")]
//     pub struct OrderPlaced { id: u64, total: u32 }
//
// Output, without the absolute paths of standard items:
//
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         const __PARAMETER_id: __tidings::Parameter<u64> = __tidings::parameter::<u64>("id");
//         pub struct __OrderPlacedParams { pub id: u64 }
//         impl Clone for __OrderPlacedParams { … }
//         impl __tidings::Params for __OrderPlacedParams { fn write … fn read … }
//         pub struct __OrderPlacedPattern { id: Option<u64> }
//         impl __OrderPlacedPattern { pub fn id(mut self, id: impl __tidings::IntoParam<u64>) -> Self { … } }
//         impl __tidings::Selector<OrderPlaced> for __OrderPlacedPattern { fn write … }
//         impl Debug for __OrderPlacedPattern { … }
//         impl __tidings::OwnedMessage for OrderPlaced { … }
//         impl __tidings::Message for OrderPlaced { … }
//         impl __tidings::AddressedByFields for OrderPlaced { … }
//         impl OrderPlaced { pub fn channel … pub fn any … pub fn address … pub fn publish … pub fn publish_to … }
//     };
pub(super) fn message(message: &Message) -> TokenStream {
    let constants = constants(message);
    let params = params(message);
    let pattern = pattern(message);
    let facts = facts(message);
    let by_fields = message.is_addressed_by_fields().then(|| addressed_by_fields(message));
    let verbs = verbs::verbs(message);
    let (proofs, older, sent) = (message.kind.proofs(message), older(message), sent(message));
    let import = message.runtime.import();
    let lints = &message.lints;
    quote! {
        #(#lints)*
        const _: () = { #import #constants #sent #older #params #pattern #facts #by_fields #verbs #proofs };
    }
}

/// One constant for each parameter. Nothing else asks its type to be a parameter, so a wrong type gives one error.
fn constants(message: &Message) -> TokenStream {
    let constants = message.parameters().map(|Parameter { name, constant, ty, rest, .. }| {
        let function = if *rest { quote!(rest_parameter) } else { quote!(parameter) };
        quote!(const #constant: __tidings::Parameter<#ty> = __tidings::#function::<#ty>(#name);)
    });
    constants.collect()
}

// Output of a field `Rc<u64>`, at its type:
//
//     const _: () = __tidings::sent::<Rc<u64>>();
fn sent(message: &Message) -> TokenStream {
    let proofs = message.of_one_thread.iter().map(|ty| {
        let owned = with_static_lifetimes(ty.to_token_stream());
        quote_spanned!(ty.span()=> const _: () = __tidings::sent::<#owned>();)
    });
    proofs.collect()
}

// Output of `#[message(version = 2, from = OrderPlacedV1)]`:
//
//     const __OLDER: __tidings::Older<OrderPlacedV1> = <<OrderPlacedV1 as __tidings::Arrives>::Itself as __tidings::IsOlder>::OLDER;
//     const _: () = {
//         use __tidings::OrNot as _;
//         __tidings::prove_older(
//             &__OLDER, <OrderPlaced as __tidings::Message>::FACTS, "OrderPlacedV1",
//             <__tidings::Same<
//                 <<OrderPlacedV1 as __tidings::Arrives>::Answer as __tidings::Answered>::Types,
//                 <<OrderPlaced as __tidings::Message>::Answer as __tidings::Answered>::Types,
//             >>::IS_SAME,
//         )
//     };
/// The message of the version before. Nothing else asks it to be one, so a type that is none gives one error.
fn older(message: &Message) -> Option<TokenStream> {
    let older = message.older.as_ref()?;
    let (span, this) = (older.span(), message.ty());
    let name = older.segments.last().map(|last| last.ident.unraw().to_string()).unwrap_or_default();
    let read = quote_spanned!(span=> <<#older as __tidings::Arrives>::Itself as __tidings::IsOlder>::OLDER);
    // Such a path is nothing that lints look at only where a macro has written it.
    let site = Span::mixed_site().located_at(span);
    let arguments = quote_spanned!(site=> &__OLDER, <#this as __tidings::Message>::FACTS, #name);
    let answer = quote_spanned!(span=> <#older as __tidings::Arrives>::Answer);
    let answers = quote_spanned! {site=>
        <#answer as __tidings::Answered>::Types, <<#this as __tidings::Message>::Answer as __tidings::Answered>::Types
    };
    let is_same = quote_spanned!(site=> <__tidings::Same<#answers>>::IS_SAME);
    let import = quote_spanned!(site=> use __tidings::OrNot as _;);
    Some(quote_spanned! {span=>
        const __OLDER: __tidings::Older<#older> = #read;
        const _: () = {
            #import
            __tidings::prove_older(#arguments, #is_same)
        };
    })
}

/// How it is read, in the `impl` that says how messages are read.
fn reads_older(message: &Message) -> Option<TokenStream> {
    let span = message.older.as_ref()?.span();
    let contract = if message.borrows { quote!(ReadOlderBorrowed) } else { quote!(ReadOlder) };
    let names = ["version", "format", "payload"];
    let [version, format, payload] = names.map(|name| Ident::new(name, Span::mixed_site().located_at(span)));
    let read = quote_spanned!(span=> __OLDER.read(#version, #format, #payload));
    Some(quote! {
        const OLDER: ::core::option::Option<__tidings::#contract<Self>> =
            ::core::option::Option::Some(|#version, #format, #payload| #read);
    })
}

fn params(message: &Message) -> TokenStream {
    let params = message.params();
    let Message { visibility, .. } = message;
    let fields = message.parameters().map(|Parameter { ident, ty, name, .. }| {
        let documentation = format!("The parameter `{name}`.");
        quote!(#[doc = #documentation] #visibility #ident: #ty,)
    });
    let clones =
        message.parameters().map(|Parameter { ident, constant, .. }| quote!(#ident: #constant.copy(&self.#ident),));
    let write = message.write_steps(
        |text| quote!(__channel.literal(#text);),
        |Parameter { ident, constant, .. }| quote!(#constant.write(&self.#ident, __channel);),
    );
    let read = message.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => quote!(__channel.literal(#text)?;),
        Segment::Parameter(parameter) => {
            let Parameter { local, constant, .. } = &**parameter;
            quote!(let #local = #constant.read(__channel)?;)
        }
    });
    let values = message.parameters().map(|Parameter { ident, local, .. }| quote!(#ident: #local,));
    quote! {
        #[allow(clippy::field_scoped_visibility_modifiers)]
        #visibility struct #params { #(#fields)* }
        #[automatically_derived]
        impl ::core::clone::Clone for #params {
            fn clone(&self) -> Self { Self { #(#clones)* } }
        }
        #[automatically_derived]
        impl __tidings::Params for #params {
            fn write(&self, __channel: &mut __tidings::ChannelWriter<'_>) { #write }
            fn read(__channel: &mut __tidings::ChannelReader<'_>) -> ::core::result::Result<Self, __tidings::AddressError> {
                #(#read)*
                ::core::result::Result::Ok(Self { #(#values)* })
            }
        }
    }
}

fn pattern(message: &Message) -> TokenStream {
    let pattern = message.pattern();
    let Message { visibility, .. } = message;
    let this = message.ty();
    let selector = message.implements(quote!(__tidings::Selector<#this> for), &pattern);
    let debug = message.implements(quote!(::core::fmt::Debug for), &pattern);
    let fields = message.parameters().map(|Parameter { ident, ty, .. }| quote!(#ident: ::core::option::Option<#ty>,));
    let methods = message.parameters().map(|Parameter { ident, ty, name, .. }| {
        let documentation = format!("Only channels with this `{name}`.");
        quote! {
            #[doc = #documentation]
            #[must_use]
            #visibility fn #ident(mut self, #ident: impl __tidings::IntoParam<#ty>) -> Self {
                self.#ident = ::core::option::Option::Some(__tidings::IntoParam::into_param(#ident));
                self
            }
        }
    });
    let write = message.write_steps(
        |text| quote!(__channel.literal(#text);),
        |Parameter { ident, constant, .. }| quote!(#constant.write_or_any(&self.#ident, __channel);),
    );
    quote! {
        #visibility struct #pattern { #(#fields)* }
        #[allow(clippy::impl_trait_in_params)]
        impl #pattern { #(#methods)* }
        #[automatically_derived]
        #selector {
            fn write(&self, __channel: &mut __tidings::ChannelWriter<'_>) { #write }
        }
        #[automatically_derived]
        #debug {
            fn fmt(&self, __formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                __tidings::show_selector::<#this>(self, __formatter)
            }
        }
    }
}

fn facts(message: &Message) -> TokenStream {
    let pattern = message.pattern();
    let params = message.params();
    let Message { name, version, description, template, .. } = message;
    let segments = message.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => quote!(__tidings::Segment::literal(#text)),
        Segment::Parameter(parameter) => {
            let constant = &parameter.constant;
            quote!(#constant.segment())
        }
    });
    let codec = match &message.codec {
        Some(Codec::Path(path)) => quote_spanned!(path.span()=> type Codec = #path;),
        Some(Codec::Ours(codec)) => quote!(type Codec = __tidings::#codec;),
        None => quote!(
            type Codec = __tidings::ByBus;
        ),
    };
    let verify = message.segments.iter().map(|segment| match segment {
        Segment::Literal(_) => quote!(__channel.skip()?;),
        Segment::Parameter(parameter) => {
            let Parameter { ident, constant, is_field, .. } = &**parameter;
            if *is_field {
                quote!(#constant.equals(&self.#ident, __channel)?;)
            } else {
                quote!(#constant.valid(__channel)?;)
            }
        }
    });
    let nothing = message.parameters().map(|Parameter { ident, .. }| quote!(#ident: ::core::option::Option::None,));
    let writer = writer(message);
    let reading = reading(message);
    let (kind, answer, traits) = (message.kind.name(), &message.answer, message.kind.traits(message));
    let (queue, announced) = (message.kind.queue_facts(), message.kind.announced());
    let contract = message.implements(quote!(__tidings::Message for), message.ty());
    quote! {
        #traits
        #reading
        #[automatically_derived]
        #contract {
            const NAME: &'static ::core::primitive::str = #name;
            const VERSION: ::core::primitive::u32 = #version;
            const DESCRIPTION: &'static ::core::primitive::str = #description;
            const TEMPLATE: __tidings::Template = __tidings::Template::new(#template, &[#(#segments),*]);
            const KIND: __tidings::Kind = #kind;
            #queue
            #codec
            type Params = #params;
            type Pattern = #pattern;
            type Answer = #answer;
            type Endings = #announced;
            #writer
            fn any() -> #pattern { #pattern { #(#nothing)* } }
            fn verify(&self, __channel: &mut __tidings::ChannelReader<'_>) -> ::core::result::Result<(), __tidings::AddressError> {
                #(#verify)*
                ::core::result::Result::Ok(())
            }
        }
    }
}

/// Here the compiler asks for `Serialize`, so the type's name is the place to blame.
fn writer(message: &Message) -> TokenStream {
    let serde = serde(message);
    quote_spanned!(message.ident.span()=> type Writer = __tidings::#serde;)
}

/// What reads and writes: nothing, where it would ask for traits of a generic type's parameters, or of what is never read.
fn serde(message: &Message) -> Ident {
    let name = if message.is_read { "Serde" } else { "Unread" };
    Ident::new(name, message.ident.span())
}

// Output, for `OrderPlaced` and for `OrderView<'a>`:
//
//     impl __tidings::OwnedMessage for OrderPlaced { type Reader = __tidings::Serde; }
//     impl __tidings::BorrowedMessage for OrderView<'_> {
//         type At<'__de> = OrderView<'__de>;
//         type Reader<'__de> = __tidings::SerdeBorrowed;
//     }
//     impl __tidings::Arrives for OrderView<'_> { … }      // a handler of `OrderView` without `<'_>` is one error, not two
/// Here the compiler asks for `Deserialize`.
fn reading(message: &Message) -> TokenStream {
    let (ident, this) = (&message.ident, message.ty());
    let older = reads_older(message);
    if !message.borrows {
        let serde = serde(message);
        let reader = quote_spanned!(ident.span()=> type Reader = __tidings::#serde;);
        let owned = message.implements(quote!(__tidings::OwnedMessage for), this);
        return quote! {
            #[automatically_derived]
            #owned { #reader #older }
        };
    }
    let reader = quote_spanned!(ident.span()=> type Reader<'__de> = __tidings::SerdeBorrowed;);
    let silent = silent(ident);
    let answer = &message.answer;
    let borrowed = message.implements(quote!(__tidings::BorrowedMessage for), &this);
    let arrives = message.implements(quote!(__tidings::Arrives for), &this);
    quote! {
        #[automatically_derived]
        #borrowed {
            type At<'__de> = #silent<'__de>;
            #reader
            #older
        }
        #[automatically_derived]
        #arrives {
            type Itself = Self;
            type Answer = #answer;
            const INCOMING: __tidings::Incoming<Self> =
                __tidings::Incoming::without_lifetime(<Self as __tidings::Message>::FACTS);
        }
    }
}

fn addressed_by_fields(message: &Message) -> TokenStream {
    let addressed = message.implements(quote!(__tidings::AddressedByFields for), message.ty());
    let params = message.params();
    let copies =
        message.parameters().map(|Parameter { ident, constant, .. }| quote!(#ident: #constant.copy(&self.#ident),));
    let write = message.write_steps(
        |text| quote!(__channel.literal(#text);),
        |Parameter { ident, constant, .. }| quote!(#constant.write(&self.#ident, __channel);),
    );
    quote! {
        #[automatically_derived]
        #addressed {
            fn address(&self) -> __tidings::Address<Self> {
                __tidings::Address::from_params(#params { #(#copies)* })
            }
            fn write_channel(&self, __channel: &mut __tidings::ChannelWriter<'_>) { #write }
        }
    }
}

// After an error the type is still a message of its kind with the same verbs, so that no second error follows from the first.
pub(super) fn stub(input: &DeriveInput, runtime: &Runtime) -> TokenStream {
    let Some(message) = faulty(input, runtime) else { return TokenStream::new() };
    let Message { visibility, lints, .. } = &message;
    let (this, pattern, params) = (message.ty(), message.pattern(), message.params());
    let (facts, import) = (facts(&message), runtime.import());
    let selector = message.implements(quote!(__tidings::Selector<#this> for), &pattern);
    let addressed = message.implements(quote!(__tidings::AddressedByFields for), &this);
    let inherent = message.implements(quote!(), &this);
    let parameters = guessed_parameters(input);
    let arguments = parameters.iter().map(|name| quote!(#name: impl ::core::marker::Sized));
    let methods = parameters.iter().map(|name| quote!(#visibility fn #name<T>(self, _: T) -> Self { self }));
    let verbs = verbs::stub(&message);
    quote! {
        #(#lints)*
        const _: () = {
            #import
            type #params = __tidings::Stub;
            #visibility struct #pattern;
            impl #pattern { #(#methods)* }
            #selector {
                fn write(&self, _: &mut __tidings::ChannelWriter<'_>) {}
            }
            #facts
            #addressed {
                fn address(&self) -> __tidings::Address<Self> { ::core::panic!() }
                fn write_channel(&self, _: &mut __tidings::ChannelWriter<'_>) {}
            }
            #inherent {
                #visibility fn channel(#(#arguments),*) -> __tidings::Address<Self> { ::core::panic!() }
                #visibility fn any() -> <Self as __tidings::Message>::Pattern { #pattern }
                #visibility fn address(&self) -> __tidings::Address<Self> { ::core::panic!() }
                #verbs
            }
        };
    }
}

/// A `&'static str` cannot be read from a payload, which a parameter of this type is blamed for already.
fn holds_a_static_reference(input: &DeriveInput) -> bool {
    let is_static = |token: &TokenTree, next: Option<&TokenTree>| {
        matches!(token, TokenTree::Punct(quote) if quote.as_char() == '\'')
            && matches!(next, Some(TokenTree::Ident(name)) if name == "static")
    };
    let Data::Struct(data) = &input.data else { return false };
    data.fields.iter().any(|field| find(field.ty.to_token_stream(), &is_static).is_some())
}

/// The message as far as it can be known, without parameters. What has several lifetimes, or some beside types, gets none, nor does a union.
fn faulty(input: &DeriveInput, runtime: &Runtime) -> Option<Message> {
    let (lifetimes, parameters) = (input.generics.lifetimes().count(), input.generics.params.len());
    if matches!(input.data, Data::Union(_)) || lifetimes > 1 || (lifetimes == 1 && parameters > 1) {
        return None;
    }
    let borrows = lifetimes == 1;
    let name = input.ident.to_string();
    Some(Message {
        runtime: runtime.clone(),
        lints: attr::lints(&input.attrs),
        visibility: attr::silent_visibility(&input.vis),
        ident: input.ident.clone(),
        borrows,
        of_one_thread: check::of_one_thread(input),
        is_read: (borrows || parameters == 0) && !holds_a_static_reference(input),
        generics: if borrows { Generics::default() } else { input.generics.clone() },
        version: 1,
        older: None,
        description: String::new(),
        codec: None,
        // What no template can be, so that nothing is said of its parameters.
        template: format!("{name}?"),
        segments: vec![Segment::Literal(name.clone())],
        kind: check::guessed_kind(input),
        answer: quote!(__tidings::AnyAnswer),
        name,
    })
}

/// The parameters that the faulty channel seems to have.
fn guessed_parameters(input: &DeriveInput) -> Vec<Ident> {
    let literal = input.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("channel") || list.path.is_ident("queue") => {
            list.parse_args_with(attr::text_and_options).ok().map(|(text, _)| text)
        }
        Meta::NameValue(pair) if pair.path.is_ident("channel") => match attr::literal(&pair.value) {
            Some(Lit::Str(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    });
    let text = literal.map(|literal| literal.value()).unwrap_or_default();
    let mut names: Vec<Ident> =
        template::guessed_parameters(&text).iter().map(|parameter| identifier(&parameter.name)).collect();
    names.sort();
    names.dedup();
    names
}
