//! `#[derive(ChannelParam)]`.

mod style;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, Data, DataEnum, DataStruct, DeriveInput, Fields, GenericParam, Ident, Index, LitStr, Member, Type,
    Variant, ext::IdentExt,
};

use self::style::{STYLES, Style};

use crate::{
    attr::{self, Runtime, silent},
    diag::{self, Diagnostics},
    serde::{self, Held},
    template,
};

/// A parameter that has passed every check.
struct Param {
    runtime: Runtime,
    /// What the type says of lints.
    lints: Vec<Attribute>,
    ident: Ident,
    text: Text,
}

/// What stands in a channel.
enum Text {
    /// The word of a variant: each variant with its own.
    Words(Vec<(Ident, String)>),
    /// What a struct holds: the name or number of its field, and the field's type.
    Of(Member, Box<Type>),
}

pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let runtime = Runtime::of(&input.attrs, &mut diagnostics);
    let text = check(&input, &mut diagnostics);
    match text {
        Some(text) if diagnostics.is_empty() => {
            let lints = attr::lints(&input.attrs);
            expand(&Param { runtime, lints, ident: silent(&input.ident), text })
        }
        _ => {
            let errors = diagnostics.into_tokens();
            let stub = stub(&input, &runtime);
            quote!(#errors #stub)
        }
    }
}

fn check(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Option<Text> {
    is_not_generic(input, diagnostics);
    match &input.data {
        Data::Enum(data) => words(input, data, diagnostics).map(Text::Words),
        Data::Struct(data) => only_field(input, data, diagnostics).map(|(member, ty)| Text::Of(member, Box::new(ty))),
        Data::Union(data) => {
            diagnostics
                .at(data.union_token.span, "a channel parameter cannot be a union: write an `enum`, or a `struct`");
            None
        }
    }
}

fn is_not_generic(input: &DeriveInput, diagnostics: &mut Diagnostics) {
    let DeriveInput { ident, generics, .. } = input;
    let problem = match generics.params.first() {
        None => return,
        Some(GenericParam::Lifetime(_)) => {
            format!(
                "an address owns its parameters: write `{ident}` without a lifetime, with owned types such as `String`"
            )
        }
        Some(_) => format!("a channel parameter cannot be generic: write `{ident}` with concrete types"),
    };
    diagnostics.over(generics, problem);
}

/// The field of a struct with one field.
fn only_field(input: &DeriveInput, data: &DataStruct, diagnostics: &mut Diagnostics) -> Option<(Member, Type)> {
    let fields = data.fields.iter().flat_map(|field| &field.attrs);
    for attribute in input.attrs.iter().chain(fields).filter(|attribute| attribute.path().is_ident("param")) {
        diagnostics
            .over(attribute, "`#[param]` chooses the words of an enum's variants, and a struct has none: remove it");
    }
    let mut fields = data.fields.members().zip(&data.fields);
    match (fields.next(), fields.next()) {
        (Some((member, field)), None) => {
            let what = format!("the field of `{}` stands in the channel", input.ident);
            let held = Held { what, otherwise: String::new(), field, around: &input.attrs };
            held.is_kept(diagnostics)?;
            Some((member, field.ty.clone()))
        }
        (None, _) => {
            diagnostics.at(
                input.ident.span(),
                format!(
                    "`{0}` holds nothing that could stand in a channel: write its value, such as `struct {0}(u64);`",
                    input.ident
                ),
            );
            None
        }
        (Some(_), Some((_, second))) => {
            diagnostics.over(
                second,
                format!(
                    "a segment of a channel is one value, but `{0}` has {1} fields: keep one, or write `impl tidings::channel::ChannelParam for {0}`",
                    input.ident,
                    data.fields.len(),
                ),
            );
            None
        }
    }
}

/// Each variant of an enum with its word.
fn words(input: &DeriveInput, data: &DataEnum, diagnostics: &mut Diagnostics) -> Option<Vec<(Ident, String)>> {
    let style = style(input, diagnostics);
    if data.variants.is_empty() {
        diagnostics.at(
            input.ident.span(),
            format!(
                "the enum `{}` has no variants, so it has no values to stand in a channel: write at least one",
                input.ident
            ),
        );
        return None;
    }
    serde::variants_are_read(data.variants.iter(), &input.attrs, diagnostics);
    let mut variants: Vec<(Ident, String)> = Vec::new();
    for variant in &data.variants {
        has_no_fields(variant, diagnostics);
        let (text, place) = text(variant, style, diagnostics);
        is_literal(&text, place, diagnostics);
        if let Some((other, _)) = variants.iter().find(|(_, earlier)| *earlier == text) {
            diagnostics.at(
                place,
                format!(
                    "`{other}` and `{}` are both written `{text}`: write `#[param(rename = \"…\")]` on one of the two",
                    variant.ident
                ),
            );
        }
        variants.push((variant.ident.clone(), text));
    }
    Some(variants)
}

fn has_no_fields(variant: &Variant, diagnostics: &mut Diagnostics) {
    if !matches!(variant.fields, Fields::Unit) {
        diagnostics.over(
            &variant.fields,
            format!(
                "the variant `{0}` has fields, but a channel holds only its name: write `{0}` without them",
                variant.ident
            ),
        );
    }
}

/// A text must stand in a channel as it is: then the compiler can compare it with the literals of other channels.
fn is_literal(text: &str, place: Span, diagnostics: &mut Diagnostics) {
    if text.is_empty() {
        diagnostics.at(place, "a variant cannot be written as the empty text: write a name such as `\"high\"`");
    } else if let Some(bad) = text.chars().find(|character| !template::is_literal(*character)) {
        diagnostics.at(
            place,
            format!("`{}` cannot stand in a channel: write letters, digits, `-` or `_`", bad.escape_debug()),
        );
    }
}

fn style(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Style {
    let mut style = Style::Snake;
    for entry in attr::all_entries(&input.attrs, "param", &["rename_all"], diagnostics) {
        let Some(name) = entry.string("rename_all = \"kebab-case\"", diagnostics) else { continue };
        match STYLES.iter().find(|(known, _)| *known == name.value()) {
            Some((_, known)) => style = *known,
            None => diagnostics.at(name.span(), unknown_style(&name)),
        }
    }
    style
}

fn unknown_style(name: &LitStr) -> String {
    let known = STYLES.map(|(known, _)| known);
    match diag::closest(&name.value(), known) {
        Some(meant) => format!("there is no style `{}`: did you mean `{meant}`?", name.value()),
        None => format!("there is no style `{}`: write {}", name.value(), diag::one_of(known)),
    }
}

/// The text of a variant, and the place to blame for it.
fn text(variant: &Variant, style: Style, diagnostics: &mut Diagnostics) -> (String, Span) {
    let entries = attr::all_entries(&variant.attrs, "param", &["rename"], diagnostics);
    let renamed = entries.first().and_then(|entry| entry.string("rename = \"high\"", diagnostics));
    match renamed {
        Some(text) => (text.value(), text.span()),
        None => (style.apply(&variant.ident.unraw().to_string()), variant.ident.span()),
    }
}

// Input:
//
//     #[derive(ChannelParam)]
//     enum Priority { High, Low }
//
// Output, without the absolute paths of standard items:
//
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         impl __tidings::ChannelParam for Priority {
//             const SHAPE: __tidings::Shape = __tidings::Shape::OneOf(&["high", "low"]);
//             fn write(&self, text: &mut dyn Write) -> fmt::Result {
//                 text.write_str(match self { Self::High => "high", Self::Low => "low" })
//             }
//             fn parse(text: &str) -> Result<Self, __tidings::InvalidParam> {
//                 match text { "high" => Ok(Self::High), "low" => Ok(Self::Low), _ => Err(__tidings::InvalidParam::new()) }
//             }
//             fn is_value(text: &str) -> bool { matches!(text, "high" | "low") }
//         }
//     };
fn expand(param: &Param) -> TokenStream {
    let import = param.runtime.import();
    let Param { ident, lints, .. } = param;
    let functions = match &param.text {
        Text::Words(variants) => of_words(variants),
        Text::Of(member, _) => of_field(member),
    };
    // The only place where the field's type is asked to be a parameter: a wrong type gives one error.
    let held = match &param.text {
        Text::Words(_) => None,
        Text::Of(_, ty) => Some(quote!(const __HELD: __tidings::Held<#ty> = __tidings::held::<#ty>();)),
    };
    quote! {
        #(#lints)*
        const _: () = {
            #import
            #held
            #[automatically_derived]
            impl __tidings::ChannelParam for #ident { #functions }
        };
    }
}

fn of_words(variants: &[(Ident, String)]) -> TokenStream {
    let (names, texts): (Vec<Ident>, Vec<&String>) = variants.iter().map(|(name, text)| (silent(name), text)).unzip();
    quote! {
        const SHAPE: __tidings::Shape = __tidings::Shape::OneOf(&[#(#texts),*]);

        fn write(&self, text: &mut dyn ::core::fmt::Write) -> ::core::fmt::Result {
            ::core::fmt::Write::write_str(text, match self { #(Self::#names => #texts,)* })
        }

        fn parse(text: &::core::primitive::str) -> ::core::result::Result<Self, __tidings::InvalidParam> {
            match text {
                #(#texts => ::core::result::Result::Ok(Self::#names),)*
                _ => ::core::result::Result::Err(__tidings::InvalidParam::new()),
            }
        }

        fn is_value(text: &::core::primitive::str) -> ::core::primitive::bool {
            ::core::matches!(text, #(#texts)|*)
        }
    }
}

// Input:
//
//     #[derive(ChannelParam)]
//     struct OrderId(u64);
//
// Output, in a block as above:
//
//     const __HELD: __tidings::Held<u64> = __tidings::held::<u64>();
//     impl __tidings::ChannelParam for OrderId {
//         const SHAPE: __tidings::Shape = __HELD.shape();
//         fn write(&self, text: &mut dyn Write) -> fmt::Result { __HELD.write(&self.0, text) }
//         …
//     }
fn of_field(member: &Member) -> TokenStream {
    let member = match member {
        Member::Named(name) => Member::Named(silent(name)),
        Member::Unnamed(index) => Member::Unnamed(Index::from(index.index as usize)),
    };
    quote! {
        const SHAPE: __tidings::Shape = __HELD.shape();

        fn write(&self, text: &mut dyn ::core::fmt::Write) -> ::core::fmt::Result {
            __HELD.write(&self.#member, text)
        }

        fn parse(text: &::core::primitive::str) -> ::core::result::Result<Self, __tidings::InvalidParam> {
            ::core::result::Result::map(__HELD.parse(text), |value| Self { #member: value })
        }

        fn is_written_as(&self, text: &::core::primitive::str) -> ::core::primitive::bool {
            __HELD.is_written_as(&self.#member, text)
        }

        fn is_in_digits(&self, segment: &[::core::primitive::u8]) -> ::core::primitive::bool {
            __HELD.is_in_digits(&self.#member, segment)
        }

        fn is_value(text: &::core::primitive::str) -> ::core::primitive::bool {
            __HELD.is_value(text)
        }
    }
}

// After an error the type is still a parameter, so that no second error follows from the first.
fn stub(input: &DeriveInput, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let (ident, lints) = (silent(&input.ident), attr::lints(&input.attrs));
    let (generics, arguments, _) = input.generics.split_for_impl();
    // What a generic type must be beside, it is blamed for elsewhere.
    let bounds = (!input.generics.params.is_empty())
        .then(|| quote!(where Self: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static));
    // A queue may go by its order.
    let shape = match &input.data {
        Data::Enum(data) if !data.variants.is_empty() => {
            let words = data.variants.iter().map(|variant| Style::Snake.apply(&variant.ident.unraw().to_string()));
            Some(quote!(const SHAPE: __tidings::Shape = __tidings::Shape::OneOf(&[#(#words),*]);))
        }
        _ => None,
    };
    quote! {
        #(#lints)*
        const _: () = {
            #import
            impl #generics __tidings::ChannelParam for #ident #arguments #bounds {
                #shape

                fn write(&self, _: &mut dyn ::core::fmt::Write) -> ::core::fmt::Result {
                    ::core::result::Result::Ok(())
                }

                fn parse(_: &::core::primitive::str) -> ::core::result::Result<Self, __tidings::InvalidParam> {
                    ::core::result::Result::Err(__tidings::InvalidParam::new())
                }
            }
        };
    }
}
