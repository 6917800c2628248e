//! Tokens that are changed on their way into generated code.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Type, ext::IdentExt};

/// The tokens with each but the groups replaced, also within groups.
fn replaced(tokens: TokenStream, replace: &impl Fn(TokenTree) -> TokenStream) -> TokenStream {
    let tokens = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => within(&group, replaced(group.stream(), replace)).into(),
        other => replace(other),
    });
    tokens.collect()
}

/// A group like this one around other tokens.
fn within(group: &Group, tokens: TokenStream) -> TokenTree {
    let mut inner = Group::new(group.delimiter(), tokens);
    inner.set_span(group.span());
    inner.into()
}

/// The first token that is one, also within groups, and what follows it in its group.
pub(crate) fn find(tokens: TokenStream, is_one: &impl Fn(&TokenTree, Option<&TokenTree>) -> bool) -> Option<TokenTree> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if is_one(&token, tokens.peek()) {
            return Some(token);
        }
        if let TokenTree::Group(group) = &token
            && let Some(found) = find(group.stream(), is_one)
        {
            return Some(found);
        }
    }
    None
}

/// The tokens with the router's type in the place of `Self`, which is another type where they are put. Errors stay where `Self` is written.
pub(crate) fn without_self_type(tokens: TokenStream, self_type: &Type) -> TokenStream {
    replaced(tokens, &|token| match token {
        TokenTree::Ident(ident) if ident == "Self" => {
            let ty = at_one_place(self_type.to_token_stream(), ident.span());
            // A path that names a type is one in every place; only other types need brackets before `::`.
            let is_plain = matches!(self_type, Type::Path(path) if path.qself.is_none() && path.path.segments.iter().all(|segment| segment.arguments.is_empty()));
            if is_plain { ty } else { quote::quote_spanned!(ident.span()=> <#ty>) }
        }
        other => other.into(),
    })
}

/// A pattern without `mut`, to be matched against a reference.
pub(crate) fn without_mut(pattern: TokenStream) -> TokenStream {
    replaced(pattern, &|token| match token {
        TokenTree::Ident(ident) if ident == "mut" => TokenStream::new(),
        other => other.into(),
    })
}

/// Errors about the same type at the same place show once. A `$crate` stays where it is: what that is, only its span says.
pub(crate) fn at_one_place(tokens: TokenStream, span: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        if !is_dollar_crate(&token) {
            token.set_span(span);
        }
        token
    });
    moved.collect()
}

fn is_dollar_crate(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == "$crate")
}

/// The spans of the first and the last token.
pub(crate) fn ends(tokens: &TokenStream) -> (Span, Span) {
    let mut spans = tokens.clone().into_iter().map(|token| token.span());
    let first = spans.next().unwrap_or_else(Span::call_site);
    (first, spans.last().unwrap_or(first))
}

/// The name in its place, but as something that a macro has written: no lint is about it. It is read by the rules of this crate's edition, in which
/// `gen` is a word of the language, and may be a name in the user's.
pub(crate) fn generated(ident: &Ident) -> Ident {
    let site = Span::mixed_site().located_at(ident.span());
    if ident == "gen" {
        return Ident::new_raw("gen", site);
    }
    let mut ident = ident.clone();
    ident.set_span(site);
    ident
}

/// A path likewise. Its `$crate` stays: what that is, only its span says.
pub(crate) fn generated_path(path: TokenStream) -> TokenStream {
    replaced(path, &|token| match token {
        token if is_dollar_crate(&token) => token.into_token_stream(),
        TokenTree::Ident(ident) => generated(&ident).into_token_stream(),
        mut other => {
            other.set_span(Span::mixed_site().located_at(other.span()));
            other.into_token_stream()
        }
    })
}

/// Tokens as somebody would write them.
pub(crate) fn written(tokens: TokenStream) -> String {
    let spaced = [("& ", "&"), (" :: ", "::"), (" < ", "<"), (" >", ">"), (" : ", ": "), (" ,", ","), ("' ", "'")];
    spaced.iter().fold(tokens.to_string(), |text, (spaced, written)| text.replace(spaced, written))
}

/// The name of a type as its users say it: `module::OrderPlaced` is an `OrderPlaced`.
pub(crate) fn last_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()).unwrap_or_default(),
        Type::Group(group) => last_name(&group.elem),
        Type::Paren(paren) => last_name(&paren.elem),
        other => other.to_token_stream().to_string(),
    }
}

/// The type with this lifetime where one is left out: `&Delivery` becomes `&'a Delivery`, `'_` becomes `'a`. What a function takes and returns is its
/// own: `fn(&Order)` stays as it is.
pub(crate) fn with_lifetime(ty: TokenStream, lifetime: &str) -> TokenStream {
    let name = lifetime.trim_start_matches('\'');
    let mut output = TokenStream::new();
    let mut tokens = ty.into_iter().peekable();
    let mut follows_a_name = false;
    while let Some(token) = tokens.next() {
        let followed_a_name = std::mem::replace(&mut follows_a_name, matches!(token, TokenTree::Ident(_)));
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let span = punct.span();
                output.extend([TokenTree::Punct(punct)]);
                if !matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'') {
                    output.extend(lifetime_tokens(name, span));
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match tokens.next() {
                Some(TokenTree::Ident(ident)) if ident == "_" => output.extend(lifetime_tokens(name, ident.span())),
                next => {
                    output.extend([TokenTree::Punct(punct)]);
                    output.extend(next);
                }
            },
            TokenTree::Group(group) if followed_a_name && group.delimiter() == Delimiter::Parenthesis => {
                output.extend([TokenTree::Group(group)]);
                output.extend(returned(&mut tokens));
            }
            TokenTree::Group(group) => output.extend([within(&group, with_lifetime(group.stream(), lifetime))]),
            other => output.extend([other]),
        }
    }
    output
}

/// What is written behind the arguments of `fn(…)` or `Fn(…)`: nothing, or `->` and a type.
fn returned(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>) -> TokenStream {
    let punct = |token: Option<&TokenTree>| match token {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    };
    let mut output = TokenStream::new();
    if punct(tokens.peek()) != Some('-') {
        return output;
    }
    output.extend(tokens.by_ref().take(2));
    let mut depth = 0_usize;
    while let Some(token) = tokens.peek() {
        match punct(Some(token)) {
            Some('<') => depth += 1,
            Some('>') if depth > 0 => depth -= 1,
            Some('>' | ',' | '+') if depth == 0 => break,
            _ => {}
        }
        output.extend(tokens.next());
    }
    output
}

/// The type with `'static` in the place of every lifetime but that.
pub(crate) fn with_static_lifetimes(ty: TokenStream) -> TokenStream {
    let mut is_lifetime = false;
    let named = with_lifetime(ty, "'static").into_iter().map(move |token| match token {
        TokenTree::Ident(ident) if std::mem::take(&mut is_lifetime) => Ident::new("static", ident.span()).into(),
        TokenTree::Group(group) => within(&group, with_static_lifetimes(group.stream())),
        other => {
            is_lifetime = matches!(&other, TokenTree::Punct(punct) if punct.as_char() == '\'');
            other
        }
    });
    named.collect()
}

fn lifetime_tokens(name: &str, span: Span) -> [TokenTree; 2] {
    let mut quote = Punct::new('\'', Spacing::Joint);
    quote.set_span(span);
    [TokenTree::Punct(quote), TokenTree::Ident(Ident::new(name, span))]
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn lifetimes_that_are_left_out_are_written() {
        let ty: TokenStream = quote!((&Delivery, &'b X, Y<'_>, &mut Z<'static>));
        let written = quote!((&'a Delivery, &'b X, Y<'a>, &'a mut Z<'static>));
        assert_eq!(with_lifetime(ty.clone(), "'a").to_string(), written.to_string());
        let written = quote!((&'static Delivery, &'static X, Y<'static>, &'static mut Z<'static>));
        assert_eq!(with_static_lifetimes(ty).to_string(), written.to_string());
    }

    #[test]
    fn what_functions_take_and_return_keeps_its_lifetimes() {
        let ty = quote!(
            State<Arc<dyn Fn(&Order) -> Cow<'_, &str> + Sync>>,
            fn(X<'_>),
            fn(&A) -> &B,
            Box<fn() -> &C>,
            &D,
            (&E,)
        );
        let written = quote!(
            State<Arc<dyn Fn(&Order) -> Cow<'_, &str> + Sync>>,
            fn(X<'_>),
            fn(&A) -> &B,
            Box<fn() -> &C>,
            &'a D,
            (&'a E,)
        );
        assert_eq!(with_lifetime(ty, "'a").to_string(), written.to_string());
    }

    /// `gen` is a word of the edition in which the macros are written, and a name in the one before.
    #[test]
    fn names_that_are_words_elsewhere_are_raw() {
        let written = |name: &str| generated(&Ident::new(name, Span::call_site())).to_string();
        assert_eq!((written("gen"), written("placed")), ("r#gen".to_owned(), "placed".to_owned()));
        assert_eq!(generated_path(quote!(shop::r#gen)).to_string(), "shop :: r#gen");
    }

    #[test]
    fn types_are_shown_as_they_are_written() {
        let ty = quote!(order: &'a shop::Orders<'static, Vec<u8>>);
        assert_eq!(written(ty), "order: &'a shop::Orders<'static, Vec<u8>>");
    }

    #[test]
    fn self_is_the_routers_type() {
        let tokens = quote!(order.total > Self::LIMIT && matches!(order, Self { .. }));
        let plain = quote!(order.total > shop::Shop::LIMIT && matches!(order, shop::Shop { .. }));
        assert_eq!(without_self_type(tokens, &syn::parse_quote!(shop::Shop)).to_string(), plain.to_string());
        let generic = without_self_type(quote!(Self::LIMIT), &syn::parse_quote!(Shop<D>));
        assert_eq!(generic.to_string(), "< Shop < D > > :: LIMIT");
    }
}
