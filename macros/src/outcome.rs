//! `#[derive(Outcome)]`: what an error says of the task whose handler returned it.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, Member, ext::IdentExt, spanned::Spanned};

use crate::{
    attr::{self, Entry, Runtime},
    diag::{self, Diagnostics},
};

const RULES: &str =
    "`#[outcome(retry)]`, `#[outcome(retry_after = …)]`, `#[outcome(dead_letter)]` or `#[outcome(discard)]`";
const KNOWN: [&str; 4] = ["retry", "retry_after", "dead_letter", "discard"];

/// What is to become of the task.
enum Rule {
    Retry,
    /// After the time in this field.
    RetryAfter(Member),
    DeadLetter,
    Discard,
}

/// One way in which the error can be, with its rule.
struct Case {
    /// The path of its constructor behind the type, where it is a variant.
    variant: Option<Ident>,
    rule: Rule,
}

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let runtime = Runtime::of(&input.attrs, &mut diagnostics);
    let cases = cases(input, &mut diagnostics);
    let rule = if diagnostics.is_empty() { body(&cases) } else { quote!(__tidings::Rule::Retry) };
    let errors = diagnostics.into_tokens();
    let expanded = expand(input, &runtime, &rule);
    quote!(#errors #expanded)
}

fn cases(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Vec<Case> {
    match &input.data {
        Data::Struct(data) => {
            let rule = rule(&input.attrs, &data.fields, &input.ident, diagnostics);
            rule.map(|rule| Case { variant: None, rule }).into_iter().collect()
        }
        Data::Enum(data) => {
            let misplaced = input.attrs.iter().find(|attribute| is_outcome(attribute));
            if let Some(attribute) = misplaced {
                diagnostics.over(attribute, "each variant has a rule of its own: write it on the variants");
            }
            let case = |variant: &syn::Variant, diagnostics: &mut Diagnostics| {
                let rule = rule(&variant.attrs, &variant.fields, &variant.ident, diagnostics)?;
                Some(Case { variant: Some(variant.ident.clone()), rule })
            };
            // A rule that stands at the wrong place is one mistake, however many variants it was meant for.
            let is_looked_at = |variant: &&syn::Variant| misplaced.is_none() || variant.attrs.iter().any(is_outcome);
            data.variants.iter().filter(is_looked_at).filter_map(|variant| case(variant, diagnostics)).collect()
        }
        Data::Union(data) => {
            diagnostics.at(data.union_token.span, "an error cannot be a union: write a `struct` or an `enum`");
            Vec::new()
        }
    }
}

/// The rule of a variant, or of a struct: exactly one.
fn rule(attributes: &[Attribute], fields: &Fields, name: &Ident, diagnostics: &mut Diagnostics) -> Option<Rule> {
    let mut entries = attr::all_entries(attributes, "outcome", &KNOWN, diagnostics).into_iter();
    let Some(first) = entries.next() else {
        // What is wrong with an attribute that is there has been told.
        if !attributes.iter().any(|attribute| is_outcome(attribute) && !is_empty(attribute)) {
            diagnostics.at(
                name.span(),
                format!("`{name}` does not say what is to become of a task that fails with it: write {RULES} on it"),
            );
        }
        return None;
    };
    for second in entries {
        diagnostics.at(second.key.span(), format!("`{name}` has two rules: remove one of the two"));
    }
    if first.key != "retry_after" {
        first.flag(diagnostics);
    }
    match first.key.to_string().as_str() {
        "retry" => Some(Rule::Retry),
        "retry_after" => field(&first, fields, name, diagnostics).map(Rule::RetryAfter),
        "dead_letter" => Some(Rule::DeadLetter),
        _ => Some(Rule::Discard),
    }
}

fn is_outcome(attribute: &Attribute) -> bool {
    attribute.path().is_ident("outcome")
}

fn is_empty(attribute: &Attribute) -> bool {
    attribute.meta.require_list().is_ok_and(|list| list.tokens.is_empty())
}

/// The field that `retry_after` names: by its name, or by its place.
fn field(entry: &Entry, fields: &Fields, name: &Ident, diagnostics: &mut Diagnostics) -> Option<Member> {
    let example = match fields.members().next() {
        Some(Member::Named(ident)) => format!("retry_after = {ident}"),
        Some(Member::Unnamed(_)) => "retry_after = 0".to_owned(),
        None => {
            entry.reject(
                format!("`{name}` has no field that says how long: write `{name} {{ after: std::time::Duration }}` and `retry_after = after`"),
                diagnostics,
            );
            return None;
        }
    };
    let (text, span) = match entry.integer() {
        Some((place, span)) => (place.to_string(), span),
        None => {
            let (text, _) = entry.name(&example, diagnostics)?;
            (text.value(), text.span())
        }
    };
    let spelled = |member: &Member| match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    let members: Vec<Member> = fields.members().collect();
    if let Some(member) = members.iter().find(|member| spelled(member) == text) {
        let mut member = member.clone();
        match &mut member {
            Member::Named(ident) => ident.set_span(span),
            Member::Unnamed(index) => index.span = span,
        }
        return Some(member);
    }
    let names: Vec<String> = members.iter().map(spelled).collect();
    let names = names.iter().map(String::as_str);
    let advice = match diag::closest(&text, names.clone()) {
        Some(meant) if fields.members().any(|member| matches!(member, Member::Named(_))) => {
            format!("did you mean `{meant}`?")
        }
        _ => format!("write {}, whose type is `std::time::Duration`", diag::one_of(names)),
    };
    diagnostics.at(span, format!("`{name}` has no field `{text}`: {advice}"));
    None
}

// Input:
//
//     #[derive(Outcome)]
//     enum ResizeError {
//         #[outcome(retry)] DiskFull,
//         #[outcome(retry_after = after)] Busy { after: Duration },
//     }
//
// Output, without the absolute paths of standard items:
//
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         impl __tidings::Ruled for ResizeError {
//             fn rule(&self) -> __tidings::Rule {
//                 match self {
//                     Self::DiskFull { .. } => __tidings::Rule::Retry,
//                     Self::Busy { after: __after, .. } => __tidings::Rule::RetryAfter(__tidings::after(__after)),
//                 }
//             }
//         }
//     };
fn expand(input: &DeriveInput, runtime: &Runtime, rule: &TokenStream) -> TokenStream {
    let import = runtime.import();
    let lints = attr::lints(&input.attrs);
    let ident = attr::silent(&input.ident);
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #(#lints)*
        const _: () = {
            #import
            #[automatically_derived]
            impl #parameters __tidings::Ruled for #ident #arguments #bounds {
                fn rule(&self) -> __tidings::Rule { #rule }
            }
        };
    }
}

fn body(cases: &[Case]) -> TokenStream {
    // An error that cannot be has no rule.
    if cases.is_empty() {
        return quote!(match *self {});
    }
    let arms = cases.iter().map(|Case { variant, rule }| {
        let constructor = match variant {
            Some(variant) => {
                let variant = attr::silent(variant);
                quote!(Self::#variant)
            }
            None => quote!(Self),
        };
        match rule {
            Rule::Retry => quote!(#constructor { .. } => __tidings::Rule::Retry,),
            Rule::DeadLetter => quote!(#constructor { .. } => __tidings::Rule::DeadLetter,),
            Rule::Discard => quote!(#constructor { .. } => __tidings::Rule::Discard,),
            Rule::RetryAfter(member) => {
                let span = member.span();
                let after = Ident::new("__after", span);
                let time = quote_spanned!(span=> __tidings::after(#after));
                quote!(#constructor { #member: #after, .. } => __tidings::Rule::RetryAfter(#time),)
            }
        }
    });
    quote!(match self { #(#arms)* })
}
