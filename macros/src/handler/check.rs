//! The rules of handlers and routers, one function each.

use std::collections::HashSet;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, ImplItem, ImplItemFn, ItemFn, ItemImpl, Meta, Pat, PatType, Path, ReceiverKind, ReturnType,
    Safety, Signature, Token, Type, Visibility, parse::Parser, punctuated::Punctuated,
};

use super::model::{Handler, Options, Order, Router, Routes};
use crate::{
    attr::{self, Runtime},
    diag::Diagnostics,
};

const OPTIONS_AND_CRATE: [&str; 9] =
    ["concurrency", "order", "timeout", "run_to_end", "filter", "fallback", "spawn", "layer", "crate"];
/// Of a method: its router says where the runtime is.
const OPTIONS: &[&str] = OPTIONS_AND_CRATE.split_at(8).0;

/// A handler on its own.
pub(super) fn free_handler(
    options: TokenStream,
    function: &ItemFn,
    diagnostics: &mut Diagnostics,
) -> (Runtime, Option<Handler>) {
    let mut runtime = Runtime::default();
    let options = handler_options(options, &OPTIONS_AND_CRATE, &mut runtime, diagnostics);
    has_no_receiver(&function.sig, diagnostics);
    let conditions = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect();
    let handler = signature(&function.sig, &function.vis, options, diagnostics);
    (runtime, handler.map(|handler| Handler { conditions, ..handler }))
}

fn has_no_receiver(signature: &Signature, diagnostics: &mut Diagnostics) {
    if let Some(receiver) = signature.receiver() {
        diagnostics.over(
            receiver,
            "a handler with `self` belongs to a router: write `#[router]` on the `impl` block around it",
        );
    }
}

/// An `impl` block of handlers. Takes the `#[handler]` attributes out of it.
pub(super) fn router(
    options: TokenStream,
    block: &mut ItemImpl,
    diagnostics: &mut Diagnostics,
) -> (Runtime, Option<Router>) {
    let mut runtime = Runtime::default();
    for entry in attr::entries("router", options, &["crate"], &mut HashSet::new(), diagnostics) {
        runtime.set(&entry, diagnostics);
    }
    is_inherent(block, diagnostics);
    let mut handlers = Vec::new();
    let mut found = false;
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        let Some(attribute) = take_handler_attribute(method, diagnostics) else { continue };
        found = true;
        is_unconditional(method, diagnostics);
        handlers.extend(method_handler(&attribute, method, &block.self_ty, diagnostics));
    }
    if !found && block.trait_.is_none() {
        diagnostics.at(
            block.impl_token.span,
            "a router without handlers receives nothing: write `#[handler]` on an `async fn` in this block",
        );
    }
    let router = Router { generics: block.generics.clone(), self_type: (*block.self_ty).clone(), handlers };
    (runtime, Some(router))
}

fn is_inherent(block: &ItemImpl, diagnostics: &mut Diagnostics) {
    if let Some((path, _)) = &block.trait_ {
        let self_type = block.self_ty.to_token_stream();
        diagnostics.over(
            path,
            format!(
                "a router is an inherent `impl`: write `#[router]` on an `impl {self_type} {{ … }}` with the handlers"
            ),
        );
    }
}

/// The table of a router is a constant, and a macro cannot know which methods will be left.
fn is_unconditional(method: &ImplItemFn, diagnostics: &mut Diagnostics) {
    for attribute in method.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")) {
        diagnostics.over(
            attribute,
            "a handler of a router cannot be conditional: write `#[cfg(…)]` on whole `impl` blocks of routers of their own",
        );
    }
}

fn take_handler_attribute(method: &mut ImplItemFn, diagnostics: &mut Diagnostics) -> Option<Attribute> {
    let is_handler =
        |attribute: &Attribute| attribute.path().segments.last().is_some_and(|segment| segment.ident == "handler");
    let (mut handlers, others): (Vec<_>, Vec<_>) = method.attrs.drain(..).partition(is_handler);
    method.attrs = others;
    if handlers.len() > 1 {
        diagnostics.over(&handlers[1], "`#[handler]` is written twice: put all options into one of the two");
    }
    (!handlers.is_empty()).then(|| handlers.swap_remove(0))
}

fn method_handler(
    attribute: &Attribute,
    method: &ImplItemFn,
    self_type: &Type,
    diagnostics: &mut Diagnostics,
) -> Option<Handler> {
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::Path(_) => TokenStream::new(),
        Meta::NameValue(pair) => {
            diagnostics.over(pair, "`#[handler]` takes its options in parentheses: write `#[handler(…)]`");
            TokenStream::new()
        }
    };
    let options = handler_options(tokens, OPTIONS, &mut Runtime::default(), diagnostics);
    takes_shared_self(&method.sig, diagnostics);
    let handler = signature(&method.sig, &method.vis, options, diagnostics)?;
    Some(without_self_type(handler, self_type))
}

fn takes_shared_self(signature: &Signature, diagnostics: &mut Diagnostics) {
    if let Some(receiver) = signature.receiver()
        && !matches!(receiver.kind, ReceiverKind::Reference(_, _, None))
    {
        diagnostics.over(
            receiver,
            "a handler runs for several messages at once, so it takes `&self`: write `&self`, and keep what changes in a `Mutex` or an atomic",
        );
    }
}

/// In the generated code `Self` is the handler's own type.
fn without_self_type(handler: Handler, self_type: &Type) -> Handler {
    let replace = |ty: Type| {
        let tokens = replace_self(ty.to_token_stream(), self_type);
        syn::parse2(tokens).unwrap_or(ty)
    };
    Handler {
        message: replace(handler.message),
        arguments: handler.arguments.into_iter().map(replace).collect(),
        output: handler.output.map(|output| replace_self(output, self_type)),
        pattern: replace_self(handler.pattern, self_type),
        ..handler
    }
}

fn replace_self(tokens: TokenStream, self_type: &Type) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) if ident == "Self" => quote!(<#self_type>),
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), replace_self(group.stream(), self_type));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        other => other.into(),
    });
    replaced.collect()
}

fn handler_options(
    tokens: TokenStream,
    known: &[&str],
    runtime: &mut Runtime,
    diagnostics: &mut Diagnostics,
) -> Options {
    let mut options = Options::default();
    for entry in attr::entries("handler", tokens, known, &mut HashSet::new(), diagnostics) {
        match entry.key.to_string().as_str() {
            "concurrency" => options.concurrency = entry.number((1, u32::MAX.into()), "concurrency = 16", diagnostics),
            "order" => options.order = order(&entry, diagnostics),
            "run_to_end" => options.run_to_end = entry.flag(diagnostics),
            "timeout" => options.timeout_nanos = entry.duration(diagnostics),
            "filter" => options.filter = entry.expression("filter = order.total > 100", diagnostics),
            "fallback" => options.fallback = entry.flag(diagnostics),
            "spawn" => options.spawn = entry.flag(diagnostics),
            "layer" => options.layer = entry.expression("layer = ConcurrencyLimitLayer::new(4)", diagnostics),
            _ => runtime.set(&entry, diagnostics),
        }
    }
    options
}

/// `channel`, `none`, or a parameter: a name, or a string where it is called like one of the two.
fn order(entry: &attr::Entry, diagnostics: &mut Diagnostics) -> Option<Order> {
    let (name, is_word) = entry.name("order = channel", diagnostics)?;
    match name.value().as_str() {
        "channel" if is_word => Some(Order::Channel),
        "none" if is_word => Some(Order::None),
        _ => Some(Order::Parameter(name)),
    }
}

/// The rules that both kinds of handler share.
fn signature(
    signature: &Signature,
    visibility: &Visibility,
    options: Options,
    diagnostics: &mut Diagnostics,
) -> Option<Handler> {
    is_asynchronous(signature, diagnostics);
    is_safe(signature, diagnostics);
    is_not_generic(signature, diagnostics);
    let typed: Vec<&PatType> = signature
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let Some((message, arguments)) = typed.split_first() else {
        diagnostics.at(
            signature.ident.span(),
            format!(
                "the handler `{0}` takes no message: write it as the first argument, such as `async fn {0}({1}order: OrderPlaced)`",
                signature.ident,
                if signature.receiver().is_some() { "&self, " } else { "" },
            ),
        );
        return None;
    };
    owns_its_message(message, diagnostics);
    for argument in &typed {
        is_no_impl_trait(argument, diagnostics);
    }
    Some(Handler {
        conditions: Vec::new(),
        visibility: visibility.clone(),
        ident: signature.ident.clone(),
        pattern: borrowed(&message.pat),
        message: (*message.ty).clone(),
        borrows: message.ty.to_token_stream().to_string().contains('\''),
        arguments: arguments.iter().map(|argument| (*argument.ty).clone()).collect(),
        output: output(&signature.output),
        has_receiver: signature.receiver().is_some(),
        options,
    })
}

fn is_asynchronous(signature: &Signature, diagnostics: &mut Diagnostics) {
    if signature.asyncness.is_none() {
        diagnostics.at(
            signature.fn_token.span,
            format!("the handler `{0}` is not asynchronous: write `async fn {0}`", signature.ident),
        );
    }
}

fn is_safe(signature: &Signature, diagnostics: &mut Diagnostics) {
    if let Safety::Unsafe(token) = &signature.safety {
        diagnostics.at(token.span, "a handler is called by safe code: remove `unsafe`");
    }
}

fn is_not_generic(signature: &Signature, diagnostics: &mut Diagnostics) {
    if !signature.generics.params.is_empty() {
        diagnostics.over(
            &signature.generics,
            format!(
                "the handler `{}` is generic, but a handler takes one message type: write concrete types, and leave lifetimes out",
                signature.ident
            ),
        );
    }
}

fn is_no_impl_trait(argument: &PatType, diagnostics: &mut Diagnostics) {
    if let Type::ImplTrait(ty) = &*argument.ty {
        diagnostics.over(ty, "an argument of a handler has one type: write a concrete type instead of `impl …`");
    }
}

fn owns_its_message(message: &PatType, diagnostics: &mut Diagnostics) {
    if let Type::Reference(reference) = &*message.ty
        && !matches!(&*reference.elem, Type::Path(path) if path.path.is_ident("Delivery") || path.path.is_ident("Bus") || path.path.is_ident("Headers"))
    {
        let owned = reference.elem.to_token_stream();
        diagnostics.over(&message.ty, format!("a handler owns its message: write `{owned}` instead of a reference"));
    }
}

/// The message's pattern without `mut`, to be matched against a reference.
fn borrowed(pattern: &Pat) -> TokenStream {
    fn without_mut(tokens: TokenStream) -> TokenStream {
        let kept = tokens.into_iter().filter_map(|token| match token {
            TokenTree::Ident(ident) if ident == "mut" => None,
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_mut(group.stream()));
                inner.set_span(group.span());
                Some(TokenTree::Group(inner))
            }
            other => Some(other),
        });
        kept.collect()
    }
    without_mut(pattern.to_token_stream())
}

/// The type that a handler returns, unless it has to be inferred.
fn output(output: &ReturnType) -> Option<TokenStream> {
    let ReturnType::Type(_, ty) = output else { return None };
    let tokens = ty.to_token_stream();
    is_nameable(tokens.clone()).then_some(tokens)
}

fn is_nameable(tokens: TokenStream) -> bool {
    tokens.into_iter().all(|token| match token {
        TokenTree::Ident(ident) => ident != "impl",
        TokenTree::Punct(punct) => punct.as_char() != '&' && punct.as_char() != '\'',
        TokenTree::Group(group) => is_nameable(group.stream()),
        TokenTree::Literal(_) => true,
    })
}

/// `a, b::c`, perhaps behind `crate = path;`.
pub(super) fn routes(input: TokenStream, diagnostics: &mut Diagnostics) -> Option<(Routes, Runtime)> {
    let parser = |input: syn::parse::ParseStream<'_>| {
        let mut root = None;
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            root = Some(input.parse::<attr::Entry>()?);
            input.parse::<Token![;]>()?;
        }
        Ok((root, Punctuated::<Path, Token![,]>::parse_terminated(input)?))
    };
    let (root, handlers) = match parser.parse2(input) {
        Ok(parsed) => parsed,
        Err(error) => {
            diagnostics.syntax(syn::Error::new(
                error.span(),
                "`routes![…]` takes the names of handlers: write `routes![placed, module::other]`",
            ));
            return None;
        }
    };
    let mut runtime = Runtime::default();
    if let Some(root) = root {
        runtime.set(&root, diagnostics);
    }
    if handlers.is_empty() {
        diagnostics.at(
            proc_macro2::Span::call_site(),
            "a router without handlers receives nothing: write the names of handlers, such as `routes![placed]`",
        );
    }
    Some((Routes { handlers: handlers.into_iter().collect() }, runtime))
}
