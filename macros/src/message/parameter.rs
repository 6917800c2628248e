//! What the parameters of a channel are: a field of the message, or a type in the template.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Data, DeriveInput, Field, Fields, LitStr, PathArguments, Type, TypePath};

use super::model::{Parameter, Segment};
use crate::{
    attr::ungrouped_type,
    diag::{self, Diagnostics},
    serde::Held,
    template,
};

/// Gives a parameter its type, from the field of its name or from the template.
pub(super) fn resolve(
    index: usize,
    segment: &template::Segment,
    literal: &LitStr,
    input: &DeriveInput,
    fields: &[(String, &Field)],
    diagnostics: &mut Diagnostics,
) -> Option<Segment> {
    let parameter = match segment {
        template::Segment::Literal(text) => return Some(Segment::Literal(text.clone())),
        template::Segment::Parameter(parameter) => parameter,
    };
    let field = fields.iter().find(|(name, _)| *name == parameter.name).map(|(_, field)| *field);
    let ty = match (field, &parameter.type_text) {
        (Some(field), None) => field.ty.clone(),
        (None, Some(text)) => parameter_type(parameter, text, literal, diagnostics)?,
        (Some(_), Some(_)) => {
            let short = written(parameter, None);
            diagnostics.at(
                literal.span(),
                format!("`{}` is a field of `{}`, so its type is known: write `{short}`", parameter.name, input.ident),
            );
            return None;
        }
        (None, None) => {
            diagnostics.at(literal.span(), no_field(parameter, input, fields));
            return None;
        }
    };
    if let Some(problem) = no_segment(parameter, &ty) {
        diagnostics.over(&ty, problem);
        return None;
    }
    if let Some(field) = field {
        let declared = written(parameter, Some(&spelled(&ty)));
        let held = Held {
            what: format!("`{}` is a parameter of the channel", parameter.name),
            otherwise: format!(", or remove the field and write its type in the channel, as in `{declared}`"),
            field,
            around: &input.attrs,
        };
        held.is_kept(diagnostics)?;
    }
    Some(Segment::Parameter(Box::new(Parameter::new(index, &parameter.name, ty, parameter.rest, field.is_some()))))
}

/// What is wrong with a type whose values stand in no segment, where its name alone tells. Of every other type the compiler asks whether it is a
/// parameter.
fn no_segment(parameter: &template::Parameter, ty: &Type) -> Option<String> {
    let template::Parameter { name, rest, .. } = parameter;
    let ty = ungrouped_type(ty);
    if borrows(ty.to_token_stream()) {
        let owned = if *rest { "Vec<String>" } else { "String" };
        return Some(format!(
            "`{name}` is a parameter of the channel, and an address owns its parameters: write an owned type, such as `{owned}`"
        ));
    }
    let text = spelled(ty);
    match ty {
        Type::Path(path) if path.qself.is_none() => of_path(parameter, &text, path),
        Type::Path(_) | Type::Macro(_) | Type::Array(_) => None,
        Type::Tuple(tuple) if !rest && !tuple.elems.is_empty() => Some(format!(
            "`{text}` is no single value, but `<{name}>` takes one segment: write a parameter for each of its parts"
        )),
        _ => {
            let example = if *rest { "Vec<String>" } else { "String" };
            Some(format!("`{text}` cannot be the type of the parameter `{name}`: write one such as `{example}`"))
        }
    }
}

fn of_path(parameter: &template::Parameter, text: &str, path: &TypePath) -> Option<String> {
    let template::Parameter { name, rest, type_text } = parameter;
    let last = path.path.segments.last()?;
    let is_generic = matches!(last.arguments, PathArguments::AngleBracketed(_));
    match last.ident.to_string().as_str() {
        "Option" if is_generic && *rest => Some(format!(
            "`{text}` cannot take the remaining segments: write a `Vec`, such as `Vec<String>`, which may be empty"
        )),
        "Option" if is_generic => Some(format!(
            "`{text}` cannot be a parameter, because what is absent fills no segment: declare two messages, one with `<{name}>` and one without, \
             or take any number of segments with `<{name}..>` at the end of the channel, whose type is a `Vec`"
        )),
        "Vec" if is_generic && !rest => {
            let of_rest = template::Parameter { rest: true, ..parameter.clone() };
            Some(format!(
                "`{text}` fills several segments, but `<{name}>` takes one: write `{}` at the end of the channel, which takes all that remain",
                written(&of_rest, type_text.as_deref()),
            ))
        }
        "f32" | "f64" if !rest && !is_generic => Some(format!(
            "`{text}` cannot be a parameter, because one number has several spellings: write an integer type, such as `i64` for cents, or `String`"
        )),
        "Self" => Some(format!("the message is no parameter of itself: write the type of `{name}`, such as `String`")),
        "str" if !is_generic => Some(format!("`str` is no type of a value: write `String` as the type of `{name}`")),
        _ => None,
    }
}

/// The type as a user writes it.
pub(super) fn spelled(ty: &Type) -> String {
    let tokens = ty.to_token_stream().to_string();
    let tight = [(" ::", "::"), (":: ", "::"), (" <", "<"), ("< ", "<"), (" >", ">"), (" ,", ",")];
    tight.iter().fold(tokens, |text, (from, to)| text.replace(from, to))
}

/// Whether there is a reference, or a lifetime but `'static`, in a type.
fn borrows(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let borrows = match token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                tokens.next().is_none_or(|name| name.to_string() != "static")
            }
            TokenTree::Punct(punct) => punct.as_char() == '&',
            TokenTree::Group(group) => borrows(group.stream()),
            TokenTree::Ident(_) | TokenTree::Literal(_) => false,
        };
        if borrows {
            return true;
        }
    }
    false
}

fn parameter_type(
    parameter: &template::Parameter,
    text: &str,
    literal: &LitStr,
    diagnostics: &mut Diagnostics,
) -> Option<Type> {
    let parsed = LitStr::new(text, literal.span()).parse::<Type>();
    if parsed.is_err() {
        let example = written(parameter, Some(if parameter.rest { "Vec<String>" } else { "String" }));
        diagnostics.at(
            literal.span(),
            format!("`{text}` is not a type: write the type of `{}`, such as `{example}`", parameter.name),
        );
    }
    parsed.ok()
}

fn no_field(parameter: &template::Parameter, input: &DeriveInput, fields: &[(String, &Field)]) -> String {
    let name = &parameter.name;
    let typed = written(parameter, Some(if parameter.rest { "Vec<String>" } else { "String" }));
    let names = fields.iter().map(|(name, _)| name.as_str());
    if let Some(meant) = diag::closest(name, names) {
        return format!(
            "`{}` has no field `{name}`: did you mean `<{meant}>`? for a parameter that is no field write its type, such as `{typed}`",
            input.ident
        );
    }
    let unnamed = matches!(&input.data, Data::Struct(data) if matches!(data.fields, Fields::Unnamed(_)));
    let what = match &input.data {
        Data::Enum(_) => "an enum has no fields of its own",
        _ if unnamed => "the fields of a tuple struct have no names",
        _ => {
            return format!(
                "`{}` has no field `{name}`: add it, or write the parameter's type, such as `{typed}`",
                input.ident
            );
        }
    };
    format!(
        "the parameter `{name}` is no field of `{}`, because {what}: write its type, such as `{typed}`",
        input.ident
    )
}

fn written(parameter: &template::Parameter, ty: Option<&str>) -> String {
    let dots = if parameter.rest { ".." } else { "" };
    match ty {
        Some(ty) => format!("<{}{dots}: {ty}>", parameter.name),
        None => format!("<{}{dots}>", parameter.name),
    }
}
