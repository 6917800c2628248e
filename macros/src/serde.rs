//! How serde writes and reads what stands in a channel. Receivers compare it with the channel, so it must come back from the payload as the value
//! that the channel was made of: what loses it on the way is refused here, as every receiver would refuse the message.
//!
//! What cannot be known here is left alone: functions (`with`, `serialize_with`, `deserialize_with`) and types (`into`, `from`, `try_from`) of the user's.

use proc_macro2::Span;
use syn::{
    Attribute, Expr, Field, Ident, Lit, Meta, Path, Token, Type, Variant, ext::IdentExt, parse::Parser,
    punctuated::Punctuated,
};

use crate::{attr, diag::Diagnostics};

/// Something whose value stands in a channel.
pub(crate) struct Held<'a> {
    /// What it is, as a sentence begins with it.
    pub(crate) what: String,
    /// What to do beside removing what loses the value.
    pub(crate) otherwise: String,
    pub(crate) field: &'a Field,
    /// The type around it.
    pub(crate) around: &'a [Attribute],
}

impl Held<'_> {
    /// Whether the payload keeps the value.
    pub(crate) fn is_kept(&self, diagnostics: &mut Diagnostics) -> Option<()> {
        let Self { what, otherwise, field, around } = self;
        let container = Container::of(around);
        let metas = metas(&field.attrs);
        for meta in &metas {
            let Some(option) = meta.path().get_ident() else { continue };
            if let Some(why) = container.loses(option, meta, &metas, &field.ty) {
                diagnostics.at(
                    option.span(),
                    format!("{what}, and receivers compare it with the payload, {why}: remove `{option}`{otherwise}"),
                );
                return None;
            }
        }
        self.has_one_name(&container, &metas, diagnostics)
    }

    /// A field is read by the name that it is written by.
    fn has_one_name(&self, container: &Container, metas: &[Meta], diagnostics: &mut Diagnostics) -> Option<()> {
        let ident = match &self.field.ident {
            Some(ident) if !container.is_transparent => ident.unraw().to_string(),
            _ => return Some(()),
        };
        let what = &self.what;
        let renamed = renamed(metas, "rename");
        let [written, read] = [0, 1].map(|side| match (&renamed.names[side], &container.renamed.names[side]) {
            (Some(name), _) => name.clone(),
            (None, Some(style)) => in_style(&ident, style),
            (None, None) => ident.clone(),
        });
        if let Some(tag) = container.tag.as_ref().filter(|tag| container.is_written && tag.name == written) {
            let problem = format!("`tag` writes the type's name where `{ident}` is written: choose another name");
            diagnostics.at(tag.place.span(), problem);
            return None;
        }
        let is_alias = |meta: &Meta| meta.path().is_ident("alias") && text(meta).is_some_and(|alias| alias == written);
        if !container.is_written || !container.is_read || written == read || metas.iter().any(is_alias) {
            return Some(());
        }
        let place = renamed.place.as_ref().or(container.renamed.place.as_ref())?;
        diagnostics.at(
            place.span(),
            format!(
                "{what}, and receivers compare it with the payload, where it is written as `{written}` and looked for as `{read}`: give it one name \
                 for both, or write `#[serde(alias = \"{written}\")]` on it"
            ),
        );
        None
    }
}

/// What serde is told of the whole type.
struct Container {
    /// By its fields, and not by way of another type.
    is_written: bool,
    is_read: bool,
    has_default: bool,
    /// By the value of its only field, without a name.
    is_transparent: bool,
    renamed: Renamed,
    tag: Option<Tag>,
    untagged: Option<Ident>,
}

/// Where the type's name is written.
struct Tag {
    name: String,
    place: Ident,
}

/// How something is called when it is written, and when it is read.
struct Renamed {
    names: [Option<String>; 2],
    place: Option<Ident>,
}

impl Container {
    fn of(attributes: &[Attribute]) -> Self {
        let metas = metas(attributes);
        let tag = metas.iter().find(|meta| meta.path().is_ident("tag"));
        let has = |name: &str| metas.iter().any(|meta| meta.path().is_ident(name));
        Self {
            is_written: !has("into"),
            is_read: !has("from") && !has("try_from"),
            has_default: has("default"),
            is_transparent: has("transparent"),
            renamed: renamed(&metas, "rename_all"),
            untagged: metas
                .iter()
                .find_map(|meta| meta.path().get_ident().filter(|option| *option == "untagged"))
                .cloned(),
            tag: tag.and_then(|tag| Some(Tag { name: text(tag)?, place: tag.path().get_ident()?.clone() })),
        }
    }

    /// Why an option of a field loses its value, if it does.
    fn loses(&self, option: &Ident, meta: &Meta, metas: &[Meta], ty: &Type) -> Option<&'static str> {
        let never_there = "where it is absent";
        match option.to_string().as_str() {
            "skip" if self.is_written || self.is_read => Some(never_there),
            "skip_serializing" if self.is_written => Some(never_there),
            "skip_deserializing" if self.is_read => Some("where they do not read it"),
            "skip_serializing_if" if self.is_written && !self.is_restored(meta, metas) => {
                Some("where it is sometimes absent")
            }
            "flatten" if (self.is_written || self.is_read) && is_plain(ty) => {
                Some("where a single value has no place of its own then")
            }
            _ => None,
        }
    }

    /// Whether what is left out comes back: what is empty, where the default of its type is empty too.
    fn is_restored(&self, meta: &Meta, metas: &[Meta]) -> bool {
        let is_default = |meta: &Meta| matches!(meta, Meta::Path(path) if path.is_ident("default"));
        let has_default = self.has_default || metas.iter().any(is_default);
        has_default && text(meta).is_some_and(|predicate| predicate.ends_with("::is_empty"))
    }
}

/// The options of all `#[serde(…)]`. What serde cannot read either, it refuses itself.
fn metas(attributes: &[Attribute]) -> Vec<Meta> {
    let lists = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    lists.filter_map(|attribute| nested(&attribute.meta)).flatten().collect()
}

fn nested(meta: &Meta) -> Option<Punctuated<Meta, Token![,]>> {
    let Meta::List(list) = meta else { return None };
    Punctuated::parse_terminated.parse2(list.tokens.clone()).ok()
}

/// The text of `option = "text"`.
fn text(meta: &Meta) -> Option<String> {
    let Meta::NameValue(pair) = meta else { return None };
    text_of(&pair.value)
}

fn text_of(value: &Expr) -> Option<String> {
    match attr::literal(value) {
        Some(Lit::Str(text)) => Some(text.value()),
        _ => None,
    }
}

/// What `option = "name"` and `option(serialize = "name", deserialize = "name")` say.
fn renamed(metas: &[Meta], option: &str) -> Renamed {
    let mut renamed = Renamed { names: [None, None], place: None };
    for meta in metas.iter().filter(|meta| meta.path().is_ident(option)) {
        renamed.place = meta.path().get_ident().cloned();
        if let Some(name) = text(meta) {
            renamed.names = [Some(name.clone()), Some(name)];
        }
        for side in nested(meta).into_iter().flatten() {
            match side.path() {
                path if path.is_ident("serialize") => renamed.names[0] = text(&side),
                path if path.is_ident("deserialize") => renamed.names[1] = text(&side),
                _ => {}
            }
        }
    }
    renamed
}

/// A field's name as `rename_all` writes it.
fn in_style(field: &str, style: &str) -> String {
    let upper = || field.to_ascii_uppercase();
    let pascal = || {
        let words = field.split('_').map(|word| {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters).collect::<String>()
        });
        words.collect::<String>()
    };
    match style {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => upper(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut characters = pascal.chars();
            let first = characters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(characters).collect()
        }
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => upper().replace('_', "-"),
        _ => field.to_owned(),
    }
}

/// Whether each variant that is written is read as itself.
pub(crate) fn variants_are_read<'a>(
    variants: impl Iterator<Item = &'a Variant>,
    around: &[Attribute],
    diagnostics: &mut Diagnostics,
) {
    let container = Container::of(around);
    if !container.is_read || !container.is_written {
        return;
    }
    let mut earlier: Vec<Spelled<'_>> = Vec::new();
    for variant in variants {
        let metas = metas(&variant.attrs);
        let option = |name: &str| metas.iter().map(Meta::path).find(|path| path.is_ident(name));
        if let Some(option) = option("skip_deserializing") {
            let problem = compared(variant, "where they do not read it: remove `skip_deserializing`");
            diagnostics.over(option, problem);
        }
        if option("skip").or(option("skip_serializing")).or(option("skip_deserializing")).is_some() {
            continue;
        }
        let spelled = Spelled::of(variant, &container, &metas);
        if let Some((place, problem)) = spelled.is_lost(&earlier) {
            diagnostics.at(place, problem);
        }
        earlier.push(spelled);
    }
}

fn compared(variant: &Variant, why: &str) -> String {
    format!("`{}` can stand in a channel, and receivers compare it with the payload, {why}", variant.ident)
}

/// How a variant is written, and what is read as it.
struct Spelled<'a> {
    variant: &'a Variant,
    /// Nothing, where it is written as what it holds: nothing too.
    written: Option<String>,
    read: Vec<String>,
    place: Span,
}

impl<'a> Spelled<'a> {
    fn of(variant: &'a Variant, container: &Container, metas: &[Meta]) -> Self {
        let untagged = metas.iter().map(Meta::path).find(|path| path.is_ident("untagged")).and_then(Path::get_ident);
        if let Some(untagged) = untagged.or(container.untagged.as_ref()) {
            return Self { variant, written: None, read: Vec::new(), place: untagged.span() };
        }
        let (ident, renamed) = (variant.ident.unraw().to_string(), renamed(metas, "rename"));
        let [written, read] = [0, 1].map(|side| match (&renamed.names[side], &container.renamed.names[side]) {
            (Some(name), _) => name.clone(),
            (None, Some(style)) => variant_in_style(&ident, style),
            (None, None) => ident.clone(),
        });
        let aliases = metas.iter().filter(|meta| meta.path().is_ident("alias")).filter_map(text);
        let place = renamed.place.as_ref().or(container.renamed.place.as_ref()).unwrap_or(&variant.ident).span();
        Self { variant, written: Some(written), read: aliases.chain([read]).collect(), place }
    }

    /// What is wrong where it is read as something else, or as nothing.
    fn is_lost(&self, earlier: &[Self]) -> Option<(Span, String)> {
        let Some(written) = &self.written else {
            earlier.iter().find(|other| other.written.is_none())?;
            return Some((
                self.place,
                compared(self.variant, "where `untagged` writes nothing of it: remove `untagged`"),
            ));
        };
        if let Some(other) = earlier.iter().find(|other| other.read.contains(written)) {
            let why = format!("where `{written}` is read as `{}`: give it another name there", other.variant.ident);
            return Some((self.place, compared(self.variant, &why)));
        }
        if self.read.contains(written) {
            return None;
        }
        let read = self.read.last()?;
        let why = format!(
            "where it is written as `{written}` and looked for as `{read}`: give it one name for both, or write `#[serde(alias = \"{written}\")]` on it"
        );
        Some((self.place, compared(self.variant, &why)))
    }
}

/// A variant's name as `rename_all` writes it.
fn variant_in_style(variant: &str, style: &str) -> String {
    let snake = || {
        let mut snake = String::new();
        for (index, letter) in variant.char_indices() {
            if index > 0 && letter.is_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        snake
    };
    match style {
        "lowercase" => variant.to_ascii_lowercase(),
        "UPPERCASE" => variant.to_ascii_uppercase(),
        "camelCase" => {
            let mut letters = variant.chars();
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
        }
        "snake_case" => snake(),
        "SCREAMING_SNAKE_CASE" => snake().to_ascii_uppercase(),
        "kebab-case" => snake().replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => snake().to_ascii_uppercase().replace('_', "-"),
        _ => variant.to_owned(),
    }
}

/// Whether the type is known to be no struct or map, which alone can be flattened.
fn is_plain(ty: &Type) -> bool {
    const PLAIN: [&str; 18] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "bool", "char",
        "String", "Vec", "IpAddr", "Uuid",
    ];
    match ty {
        Type::Group(group) => is_plain(&group.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| PLAIN.iter().any(|plain| last.ident == plain)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_serde_does_it() {
        for (style, text) in [
            ("lowercase", "order_id"),
            ("UPPERCASE", "ORDER_ID"),
            ("PascalCase", "OrderId"),
            ("camelCase", "orderId"),
            ("snake_case", "order_id"),
            ("SCREAMING_SNAKE_CASE", "ORDER_ID"),
            ("kebab-case", "order-id"),
            ("SCREAMING-KEBAB-CASE", "ORDER-ID"),
        ] {
            assert_eq!(in_style("order_id", style), text);
        }
        for (style, text) in [
            ("lowercase", "verylow"),
            ("UPPERCASE", "VERYLOW"),
            ("PascalCase", "VeryLow"),
            ("camelCase", "veryLow"),
            ("snake_case", "very_low"),
            ("SCREAMING_SNAKE_CASE", "VERY_LOW"),
            ("kebab-case", "very-low"),
            ("SCREAMING-KEBAB-CASE", "VERY-LOW"),
        ] {
            assert_eq!(variant_in_style("VeryLow", style), text);
        }
    }
}
