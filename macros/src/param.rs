//! `#[derive(ChannelParam)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Data, DeriveInput, Fields, Ident, LitStr, Variant, ext::IdentExt};

use crate::{
    attr::{self, Runtime},
    diag::{self, Diagnostics},
    template,
};

/// An enum that has passed every check.
struct Param {
    runtime: Runtime,
    ident: Ident,
    /// Each variant with its text.
    variants: Vec<(Ident, String)>,
}

pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let runtime = Runtime::of(&input.attrs, &mut diagnostics);
    let checked = check(&input, runtime.clone(), &mut diagnostics);
    match checked {
        Some(param) if diagnostics.is_empty() => expand(&param),
        _ => {
            let errors = diagnostics.into_tokens();
            let stub = stub(&input, &runtime);
            quote!(#errors #stub)
        }
    }
}

fn check(input: &DeriveInput, runtime: Runtime, diagnostics: &mut Diagnostics) -> Option<Param> {
    is_not_generic(input, diagnostics);
    let style = style(input, diagnostics);
    let Data::Enum(data) = &input.data else {
        diagnostics.at(
            input.ident.span(),
            format!("`{0}` is no enum: write `impl tidings::channel::ChannelParam for {0}` by hand", input.ident),
        );
        return None;
    };
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
    Some(Param { runtime, ident: input.ident.clone(), variants })
}

fn is_not_generic(input: &DeriveInput, diagnostics: &mut Diagnostics) {
    if !input.generics.params.is_empty() {
        diagnostics.over(&input.generics, "a channel parameter cannot be generic: write the enum with concrete types");
    }
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

/// How the names of variants become text.
#[derive(Clone, Copy)]
enum Style {
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
    Lower,
    Upper,
    Pascal,
    Camel,
}

const STYLES: [(&str, Style); 8] = [
    ("snake_case", Style::Snake),
    ("SCREAMING_SNAKE_CASE", Style::ScreamingSnake),
    ("kebab-case", Style::Kebab),
    ("SCREAMING-KEBAB-CASE", Style::ScreamingKebab),
    ("lowercase", Style::Lower),
    ("UPPERCASE", Style::Upper),
    ("PascalCase", Style::Pascal),
    ("camelCase", Style::Camel),
];

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
        None => format!("there is no style `{}`: write {}", name.value(), diag::list(known)),
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

impl Style {
    fn apply(self, name: &str) -> String {
        let words = words(name);
        match self {
            Self::Snake => words.join("_"),
            Self::ScreamingSnake => words.join("_").to_uppercase(),
            Self::Kebab => words.join("-"),
            Self::ScreamingKebab => words.join("-").to_uppercase(),
            Self::Lower => words.concat(),
            Self::Upper => words.concat().to_uppercase(),
            Self::Pascal => name.to_owned(),
            Self::Camel => {
                let mut characters = name.chars();
                let first = characters.next().map(|first| first.to_lowercase().to_string());
                first.unwrap_or_default() + characters.as_str()
            }
        }
    }
}

/// The words of a name in lower case: `HTTPGet2` has `http` and `get2`.
fn words(name: &str) -> Vec<String> {
    let characters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, character) in characters.iter().enumerate() {
        let after_lower = index > 0 && !characters[index - 1].is_uppercase();
        let before_lower = characters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if index > 0 && character.is_uppercase() && (after_lower || before_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words
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
    let ident = &param.ident;
    let (names, texts): (Vec<&Ident>, Vec<&String>) = param.variants.iter().map(|(name, text)| (name, text)).unzip();
    quote! {
        #[allow(unused_qualifications)]
        const _: () = {
            #import
            #[automatically_derived]
            impl __tidings::ChannelParam for #ident {
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
        };
    }
}

// After an error the type is still a parameter, so that no second error follows from the first.
fn stub(input: &DeriveInput, runtime: &Runtime) -> TokenStream {
    if !input.generics.params.is_empty() {
        return TokenStream::new();
    }
    let import = runtime.import();
    let ident = &input.ident;
    quote! {
        #[allow(warnings)]
        const _: () = {
            #import
            impl __tidings::ChannelParam for #ident {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_text_in_every_style() {
        for (name, style, text) in [
            ("High", Style::Snake, "high"),
            ("VeryHigh", Style::Snake, "very_high"),
            ("HTTPGet2", Style::Snake, "http_get2"),
            ("EuWest1", Style::Kebab, "eu-west1"),
            ("EuWest", Style::ScreamingSnake, "EU_WEST"),
            ("EuWest", Style::ScreamingKebab, "EU-WEST"),
            ("EuWest", Style::Lower, "euwest"),
            ("EuWest", Style::Upper, "EUWEST"),
            ("EuWest", Style::Pascal, "EuWest"),
            ("EuWest", Style::Camel, "euWest"),
        ] {
            assert_eq!(style.apply(name), text);
        }
    }
}
