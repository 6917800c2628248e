//! The grammar of attributes: `key` and `key = value`, separated by commas.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::{
    Attribute, Expr, ExprField, ExprLit, ExprPath, Ident, Lit, LitStr, Member, Meta, Path, Token, Type, Visibility,
    ext::IdentExt as _,
    parse::{Parse, ParseStream, Parser, discouraged::Speculative as _},
    punctuated::Punctuated,
    spanned::Spanned,
};

use crate::{diag::Diagnostics, options};

/// One `key` or `key = value`.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    value: Option<Value>,
}

enum Value {
    Expr(Box<Expr>),
    /// The path behind `crate =`, which is no expression where it starts with `crate` and ends there.
    Path(Path),
    /// What is no expression, such as `{ High: 6 }`, `30 seconds` or nothing: whoever asks for the value says what to write.
    Other(TokenStream),
    /// What stands behind the key without `=`, such as `(path)` of `once(path)`.
    WithoutSign(TokenStream),
}

/// A word of the language, which can be a name all the same: the field `r#type` fills `<type>`.
struct Keyword(Ident);

impl Parse for Keyword {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Ident::parse_any).map(Self)
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = Ident::parse_any(input).map_err(|error| without_quotes(input).unwrap_or(error))?;
        if is_at_end(input) {
            return Ok(Self { key, value: None });
        }
        lacks_no_comma(input)?;
        if !input.peek(Token![=]) {
            return Ok(Self { key, value: Some(Value::WithoutSign(up_to_comma(input)?)) });
        }
        input.parse::<Token![=]>()?;
        let is_path = input.peek(Token![::]) || input.peek(Ident::peek_any);
        if key == "crate" && is_path {
            return Ok(Self { key, value: Some(Value::Path(input.call(Path::parse_mod_style)?)) });
        }
        let ahead = input.fork();
        let expression = ahead.parse::<Expr>();
        let value = match expression {
            Ok(expression) if is_at_end(&ahead) => {
                input.advance_to(&ahead);
                Value::Expr(Box::new(expression))
            }
            Ok(_) => {
                lacks_no_comma(&ahead)?;
                Value::Other(up_to_comma(input)?)
            }
            Err(_) => Value::Other(up_to_comma(input)?),
        };
        Ok(Self { key, value: Some(value) })
    }
}

/// Another option, `timeout = "30s"`, begins behind a comma.
fn lacks_no_comma(input: ParseStream<'_>) -> syn::Result<()> {
    let next = input.fork();
    match next.call(Ident::parse_any) {
        Ok(key) if next.peek(Token![=]) && !next.peek(Token![==]) => {
            Err(syn::Error::new(key.span(), format!("options are separated by commas: write `, {key} = …`")))
        }
        _ => Ok(()),
    }
}

fn is_at_end(input: ParseStream<'_>) -> bool {
    // `,` or, behind the path of a runtime, `;`.
    input.is_empty() || input.peek(Token![,]) || input.peek(Token![;])
}

fn up_to_comma(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !is_at_end(input) {
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

/// `"retry"`.
fn without_quotes(input: ParseStream<'_>) -> Option<syn::Error> {
    let text = input.fork().parse::<LitStr>().ok()?;
    let word = text.parse::<Ident>().ok()?;
    Some(syn::Error::new(text.span(), format!("an option stands without quotes: write `{word}`")))
}

/// `once(path)`, `lease: "1m"`, `idempotent(true)`, `retry(after = after)`.
fn without_sign(key: &Ident, tokens: &TokenStream, known: &[&str]) -> syn::Error {
    let inner: TokenStream = match tokens.clone().into_iter().next() {
        Some(TokenTree::Group(group)) => group.stream(),
        Some(TokenTree::Punct(punct)) if punct.as_char() == ':' => tokens.clone().into_iter().skip(1).collect(),
        _ => tokens.clone(),
    };
    if let Some(options) = nested(key, inner.clone(), known) {
        return syn::Error::new_spanned(tokens, format!("options do not stand in one another: write `{options}`"));
    }
    let mut inner = inner.into_iter();
    let example = match (inner.next(), inner.next()) {
        (Some(TokenTree::Ident(word)), None) if word == "true" || word == "false" => {
            return syn::Error::new_spanned(tokens, format!("no option is `{word}`: write `{key}`, or leave it out"));
        }
        (None, _) => format!("`{key}`"),
        (Some(value), None) => format!("`{key} = {value}`"),
        _ => format!("`{key} = …`"),
    };
    syn::Error::new_spanned(tokens, format!("the value of `{key}` stands behind `=`: write {example}"))
}

/// What `dead_letters(count = 1000)` is meant to be: `dead_letters_count = 1000`.
fn nested(key: &Ident, inner: TokenStream, known: &[&str]) -> Option<String> {
    let entries = Punctuated::<Entry, Token![,]>::parse_terminated.parse2(inner).ok()?;
    let options: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            let option = format!("{key}_{}", entry.key);
            let value = entry.value()?.to_token_stream();
            known.contains(&option.as_str()).then(|| format!("{option} = {value}"))
        })
        .collect();
    (!options.is_empty()).then(|| options.join(", "))
}

/// Parses the entries of an attribute; unknown and repeated keys are reported and left out.
pub(crate) fn entries(
    attribute: &str,
    tokens: TokenStream,
    known: &[&str],
    seen: &mut HashSet<String>,
    diagnostics: &mut Diagnostics,
) -> Vec<Entry> {
    let text = tokens.clone().into_iter().next().and_then(|token| syn::parse2::<LitStr>(token.into()).ok());
    if let Some((text, problem)) = text.and_then(|text| Some((text.span(), options::text(attribute, &text.value())?))) {
        diagnostics.at(text, problem);
        return Vec::new();
    }
    let parsed = match Punctuated::<Entry, Token![,]>::parse_terminated.parse2(tokens) {
        Ok(parsed) => parsed,
        Err(error) => {
            diagnostics.syntax(error);
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for entry in parsed {
        let key = entry.key.to_string();
        if !known.contains(&key.as_str()) {
            diagnostics.at(entry.key.span(), options::unknown(attribute, &key, known));
        } else if !seen.insert(key.clone()) {
            diagnostics.at(entry.key.span(), format!("`{key}` is given twice: remove one of the two"));
        } else if let Some(Value::WithoutSign(tokens)) = &entry.value {
            diagnostics.syntax(without_sign(&entry.key, tokens, known));
        } else {
            entries.push(entry);
        }
    }
    entries
}

/// `"…", option = value`: a text, and the options behind it.
pub(crate) fn text_and_options(input: ParseStream<'_>) -> syn::Result<(LitStr, TokenStream)> {
    let text = input.parse()?;
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok((text, input.parse()?))
}

/// `retry` or `"retry"`.
fn word(value: &Expr) -> Option<String> {
    let word = match literal(value) {
        Some(Lit::Str(text)) => text.parse::<Ident>().ok()?,
        _ => path(value)?.get_ident()?.clone(),
    };
    Some(word.to_string())
}

/// The tokens inside of `#[name(…)]`, for each attribute of that name.
pub(crate) fn lists(attributes: &[Attribute], name: &str, diagnostics: &mut Diagnostics) -> Vec<TokenStream> {
    let mut lists = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        match &attribute.meta {
            Meta::List(list) => lists.push(list.tokens.clone()),
            Meta::Path(_) | Meta::NameValue(_) => {
                let option = match &attribute.meta {
                    Meta::NameValue(pair) => word(&pair.value).unwrap_or_else(|| "…".to_owned()),
                    _ => "…".to_owned(),
                };
                diagnostics.over(
                    attribute,
                    format!("`#[{name}]` takes its options in parentheses: write `#[{name}({option})]`"),
                );
            }
        }
    }
    lists
}

/// The entries of all attributes `#[name(…)]`.
pub(crate) fn all_entries(
    attributes: &[Attribute],
    name: &str,
    known: &[&str],
    diagnostics: &mut Diagnostics,
) -> Vec<Entry> {
    let mut seen = HashSet::new();
    lists(attributes, name, diagnostics)
        .into_iter()
        .flat_map(|tokens| entries(name, tokens, known, &mut seen, diagnostics))
        .collect()
}

/// Where the runtime is: `::tidings`, or what `crate = path` says.
#[derive(Clone)]
pub(crate) struct Runtime(TokenStream);

impl Runtime {
    /// The import that begins each block of generated code: every other path to the runtime starts with its name.
    pub(crate) fn import(&self) -> TokenStream {
        let private = self.private();
        quote!(use #private as __tidings;)
    }

    /// What stands outside of a block names it in full.
    pub(crate) fn private(&self) -> TokenStream {
        let root = &self.0;
        quote!(#root::__private)
    }

    /// `#[tidings(crate = path)]` of a derive.
    pub(crate) fn of(attributes: &[Attribute], diagnostics: &mut Diagnostics) -> Self {
        let mut runtime = Self::default();
        for entry in all_entries(attributes, "tidings", &["crate"], diagnostics) {
            runtime.set(&entry, diagnostics);
        }
        runtime
    }

    /// Takes the path of a `crate = path` entry.
    pub(crate) fn set(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        match &entry.value {
            Some(Value::Path(path)) => *self = Self(quote!(#path)),
            _ => entry.reject("`crate` takes the path of the runtime: write `crate = ::tidings`", diagnostics),
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self(quote!(::tidings))
    }
}

/// The expression without the invisible delimiters that `macro_rules!` puts around its fragments, such as a `$name:expr`.
pub(crate) fn ungrouped(mut expression: &Expr) -> &Expr {
    while let Expr::Group(group) = expression {
        expression = &group.expr;
    }
    expression
}

/// The type without parentheses and the invisible delimiters that `macro_rules!` puts around a `$message:ty`.
pub(crate) fn ungrouped_type(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

/// The literal that an expression is.
pub(crate) fn literal(expression: &Expr) -> Option<&Lit> {
    match ungrouped(expression) {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

/// The path that an expression is.
pub(crate) fn path(expression: &Expr) -> Option<&Path> {
    match ungrouped(expression) {
        Expr::Path(ExprPath { qself: None, path, .. }) => Some(path),
        _ => None,
    }
}

impl Entry {
    pub(crate) fn value(&self) -> Option<&Expr> {
        match &self.value {
            Some(Value::Expr(expression)) => Some(ungrouped(expression)),
            _ => None,
        }
    }

    fn literal(&self) -> Option<&Lit> {
        self.value().and_then(literal)
    }

    /// The value's place, or the key's where there is no value.
    pub(crate) fn span(&self) -> Span {
        match &self.value {
            Some(Value::Other(value) | Value::WithoutSign(value)) if !value.is_empty() => value.span(),
            _ => self.value().map_or_else(|| self.key.span(), Spanned::span),
        }
    }

    /// Says what is wrong with the value, over all of it, or at the key where there is none.
    pub(crate) fn reject(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        match &self.value {
            Some(Value::Expr(value)) => diagnostics.over(ungrouped(value), message),
            Some(Value::Path(value)) => diagnostics.over(value, message),
            Some(Value::Other(value) | Value::WithoutSign(value)) if !value.is_empty() => {
                diagnostics.over(value, message);
            }
            _ => diagnostics.at(self.key.span(), message),
        }
    }

    /// The value, where it is a string.
    pub(crate) fn text(&self) -> Option<String> {
        match self.literal() {
            Some(Lit::Str(text)) => Some(text.value()),
            _ => None,
        }
    }

    /// A string; `example` says what to write.
    pub(crate) fn string(&self, example: &str, diagnostics: &mut Diagnostics) -> Option<LitStr> {
        if let Some(Lit::Str(text)) = self.literal() {
            return Some(text.clone());
        }
        self.reject(format!("`{}` takes a string: write `{example}`", self.key), diagnostics);
        None
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, range: (u64, u64), example: &str, diagnostics: &mut Diagnostics) -> Option<u64> {
        if let Some(Lit::Int(number)) = self.literal()
            && let Ok(value) = number.base10_parse::<u64>()
            && (range.0..=range.1).contains(&value)
        {
            return Some(value);
        }
        let (low, high) = range;
        self.reject(format!("`{}` takes a number from {low} to {high}: write `{example}`", self.key), diagnostics);
        None
    }

    /// The value and its place, where it is a whole number.
    pub(crate) fn integer(&self) -> Option<(u64, Span)> {
        match self.literal() {
            Some(Lit::Int(number)) => Some((number.base10_parse().ok()?, number.span())),
            _ => None,
        }
    }

    pub(crate) fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// A key without a value.
    pub(crate) fn flag(&self, diagnostics: &mut Diagnostics) -> bool {
        if self.value.is_some() {
            self.reject(format!("`{0}` takes no value: write `{0}`, or leave it out", self.key), diagnostics);
        }
        true
    }

    /// Any expression.
    pub(crate) fn expression(&self, example: &str, diagnostics: &mut Diagnostics) -> Option<Expr> {
        if let Some(expression) = self.value() {
            return Some(expression.clone());
        }
        self.reject(format!("`{}` takes an expression: write `{example}`", self.key), diagnostics);
        None
    }

    /// Whether the value is one of these words, in quotes or without them.
    pub(crate) fn is_one_of(&self, words: &[&str]) -> bool {
        self.named().is_some_and(|(name, _)| words.contains(&name.value().as_str()))
    }

    pub(crate) fn names_something(&self) -> bool {
        self.named().is_some()
    }

    fn named(&self) -> Option<(LitStr, bool)> {
        if let Some(Lit::Str(text)) = self.literal() {
            return Some((text.clone(), false));
        }
        let word = match &self.value {
            Some(Value::Other(tokens)) => syn::parse2::<Keyword>(tokens.clone()).ok()?.0,
            _ => self.value().and_then(path).and_then(Path::get_ident)?.clone(),
        };
        Some((LitStr::new(&word.unraw().to_string(), word.span()), true))
    }

    /// A name, and whether it is written as a word: `account`, or `"account"`.
    pub(crate) fn name(&self, example: &str, diagnostics: &mut Diagnostics) -> Option<(LitStr, bool)> {
        if let Some(name) = self.named() {
            return Some(name);
        }
        let example = match self.value() {
            Some(Expr::Field(ExprField { member: Member::Named(name), .. })) => format!("{} = {name}", self.key),
            _ => example.to_owned(),
        };
        self.reject(format!("`{}` takes a name: write `{example}`", self.key), diagnostics);
        None
    }

    /// The path of an item.
    pub(crate) fn path(&self, example: &str, diagnostics: &mut Diagnostics) -> Option<Path> {
        if let Some(path) = self.value().and_then(path) {
            return Some(path.clone());
        }
        self.reject(format!("`{}` takes the path of a type: write `{example}`", self.key), diagnostics);
        None
    }

    /// A duration such as `"30s"`, in nanoseconds.
    pub(crate) fn duration(&self, diagnostics: &mut Diagnostics) -> Option<u64> {
        let duration = self.text().and_then(|text| nanos(&text));
        if duration.is_none() {
            let example = match self.key.to_string().as_str() {
                "results" => "1h",
                "window" => "1d",
                "dead_letters" => "30d",
                _ => "30s",
            };
            self.reject(
                format!("`{0}` takes a duration above zero in {UNITS}: write `{0} = \"{example}\"`", self.key),
                diagnostics,
            );
        }
        duration
    }

    /// A range of durations such as `"1s..10m"`, in nanoseconds.
    pub(crate) fn durations(&self, diagnostics: &mut Diagnostics) -> Option<(u64, u64)> {
        let range = |text: String| {
            let (first, last) = text.split_once("..")?;
            let range = (nanos(first.trim())?, nanos(last.trim())?);
            (range.0 <= range.1).then_some(range)
        };
        let durations = self.text().and_then(range);
        if durations.is_none() {
            self.reject(
                format!(
                    "`{0}` takes the shortest and the longest duration, in {UNITS}: write `{0} = \"1s..10m\"`",
                    self.key
                ),
                diagnostics,
            );
        }
        durations
    }
}

const UNITS: &str = "`ms`, `s`, `m`, `h` or `d`";

fn nanos(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_nanos: u64 = match unit.trim_start() {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "d" => 24 * 3_600 * 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_nanos).filter(|nanos| *nanos > 0)
}

/// A name of the user's in the generated code: errors still point to it, but lints about it (its style, or that it is deprecated) are told
/// where the user has written it, and not again here.
pub(crate) fn silent(ident: &Ident) -> Ident {
    let mut silent = ident.clone();
    silent.set_span(ident.span().resolved_at(Span::call_site()));
    silent
}

/// The visibility, silent likewise.
pub(crate) fn silent_visibility(visibility: &Visibility) -> TokenStream {
    let silent = visibility.to_token_stream().into_iter().map(|mut token| {
        token.set_span(token.span().resolved_at(Span::call_site()));
        token
    });
    silent.collect()
}

/// What an item says of lints, for the code that is generated beside it: `#[allow(…)]`, and `#[expect(…)]`, which only the item itself may fail.
pub(crate) fn lints(attributes: &[Attribute]) -> Vec<Attribute> {
    let lints = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("allow") || list.path.is_ident("expect") => {
            let tokens = &list.tokens;
            Some(syn::parse_quote!(#[allow(#tokens)]))
        }
        _ => None,
    });
    lints.collect()
}

/// The text of the doc comments, one line a comment.
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match literal(&pair.value) {
                Some(Lit::Str(text)) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        assert_eq!(nanos("30s"), Some(30_000_000_000));
        assert_eq!(nanos("250ms"), Some(250_000_000));
        assert_eq!(nanos("5 m"), Some(300_000_000_000));
        assert_eq!(nanos("2d"), Some(172_800_000_000_000));
        for text in ["", "30", "s", "0s", "-1s", "1.5s", "99999999999999h"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn doc_comments_become_plain_text() {
        let attributes: Vec<Attribute> = vec![
            syn::parse_quote!(#[doc = " An order."]),
            syn::parse_quote!(#[serde(rename = "x")]),
            syn::parse_quote!(#[doc = ""]),
            syn::parse_quote!(#[doc = "   indented "]),
        ];
        assert_eq!(documentation(&attributes), "An order.\n\n  indented");
    }
}
