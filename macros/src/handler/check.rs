//! The rules of handlers and of `impl` blocks of them, one function each.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Expr, FnArg, GenericParam, Ident, ImplItem, ImplItemFn, ItemFn, ItemImpl, Lit, LitStr, Meta, PatType,
    ReceiverKind, ReturnType, Safety, Signature, Token, Type, Visibility,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
};

use super::{
    arguments::{
        comes_first, filter_asks_only_the_message, has_one_type, is_always_taken, is_condition, lives_for_a_call,
        names_bound, names_no_lifetime, owns_its_message,
    },
    inherited::{by_item, by_uses, may_wait_for_nothing},
    model::{Handler, Options, Order, Output, Router, Timeout},
    work,
};
use crate::{
    attr::{self, Runtime, ungrouped_type},
    diag::Diagnostics,
    options::HANDLER,
    tokens::{ends, find, with_static_lifetimes, without_mut, without_self_type, written},
};

/// Options that fit only some kinds of messages.
const OF_SOME_KINDS: &[&str] = HANDLER.split_at(10).0;
/// Of a method: its router says where the runtime is.
const OF_METHODS: &[&str] = HANDLER.split_at(14).0;

/// A handler on its own. Takes further `#[handler]` attributes from it.
pub(super) fn free_handler(
    options: TokenStream,
    function: &mut ItemFn,
    diagnostics: &mut Diagnostics,
) -> (Runtime, Option<Handler>) {
    let mut runtime = Runtime::default();
    is_written_once("handler", &take_attributes("handler", &mut function.attrs), diagnostics);
    let options = handler_options(options, &HANDLER, &mut runtime, diagnostics);
    has_no_receiver(&function.sig, diagnostics);
    let (on_item, on_uses) = (by_item(&function.attrs), by_uses(&function.attrs));
    let handler = signature(&function.sig, &function.vis, options, diagnostics);
    (runtime, handler.map(|handler| Handler { on_item, on_uses, ..handler }))
}

fn has_no_receiver(signature: &Signature, diagnostics: &mut Diagnostics) {
    if let Some(receiver) = signature.receiver() {
        diagnostics.over(
            receiver,
            "a handler with `self` belongs to a router: write `#[router]` on the `impl` block around it",
        );
    }
}

/// An `impl` block of handlers. Takes the `#[handler]` attributes out of it, and further `#[router]` attributes.
pub(super) fn router(
    options: TokenStream,
    block: &mut ItemImpl,
    diagnostics: &mut Diagnostics,
) -> (Runtime, Option<Router>) {
    let mut runtime = Runtime::default();
    is_written_once("router", &take_attributes("router", &mut block.attrs), diagnostics);
    if names_no_channel("router", &options, diagnostics) {
        for entry in attr::entries("router", options, &["crate"], &mut HashSet::new(), diagnostics) {
            runtime.set(&entry, diagnostics);
        }
    }
    is_inherent(block, diagnostics);
    has_a_type_of_its_own(block, diagnostics);
    outlives_its_call(block, diagnostics);
    let mut handlers = Vec::new();
    let mut found = false;
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        found |= is_written_by_itself(method, diagnostics);
        let Some(attribute) = take_handler_attribute(method, diagnostics) else { continue };
        found = true;
        is_unconditional(method, diagnostics);
        handlers.extend(method_handler(&attribute, method, (&block.self_ty, &block.generics), diagnostics));
        may_wait_for_nothing(&mut method.attrs, &method.block);
    }
    names_each_once(&handlers, diagnostics);
    if !found && block.trait_.is_none() {
        diagnostics.at(
            block.impl_token.span,
            "a router without handlers receives nothing: write `#[handler]` on an `async fn` in this block",
        );
    }
    let router = Router {
        on_uses: by_uses(&block.attrs),
        generics: block.generics.clone(),
        self_type: (*block.self_ty).clone(),
        handlers,
    };
    (runtime, Some(router))
}

/// Of two methods of one name the compiler tells, and what is generated would call the first one twice.
fn names_each_once(handlers: &[Handler], diagnostics: &mut Diagnostics) {
    let mut names = HashSet::new();
    if !handlers.iter().all(|handler| names.insert(handler.ident.unraw())) {
        diagnostics.left_to_the_compiler();
    }
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

/// What is served has a size, and is of this crate: of references, tuples and the like the compiler tells.
fn has_a_type_of_its_own(block: &ItemImpl, diagnostics: &mut Diagnostics) {
    match ungrouped_type(&block.self_ty) {
        Type::Path(_) | Type::Macro(_) => {}
        Type::TraitObject(object) => {
            let mut held = written(object.to_token_stream());
            for shared in ["Send", "Sync"] {
                if !held.contains(shared) {
                    held = format!("{held} + {shared}");
                }
            }
            let advice = format!("write `#[router]` on the `impl` of a struct that holds a `Box<{held}>`");
            diagnostics.over(object, format!("a router is a type of its own: {advice}"));
        }
        _ if block.trait_.is_none() => diagnostics.left_to_the_compiler(),
        _ => {}
    }
}

/// A service lives for as long as it wants, so what it serves borrows nothing.
fn outlives_its_call(block: &ItemImpl, diagnostics: &mut Diagnostics) {
    if block.trait_.is_some() {
        return;
    }
    let is_quote = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '\'');
    let is_lifetime = |token: &TokenTree, next: Option<&TokenTree>| {
        is_quote(token) && !matches!(next, Some(TokenTree::Ident(ident)) if ident == "static")
    };
    let named = block.generics.params.iter().find_map(|parameter| match parameter {
        GenericParam::Lifetime(lifetime) => Some(lifetime.lifetime.span()),
        _ => None,
    });
    let span = named.or_else(|| find(block.self_ty.to_token_stream(), &is_lifetime).map(|token| token.span()));
    if let Some(span) = span {
        let self_type = written(with_static_lifetimes(block.self_ty.to_token_stream()));
        diagnostics.at(
            span,
            format!(
                "a router lives as long as its service, so it borrows nothing: let it own its data, or write `impl {self_type}`"
            ),
        );
    }
}

/// The routes of a router are a constant, and a macro cannot know which methods will be left.
fn is_unconditional(method: &ImplItemFn, diagnostics: &mut Diagnostics) {
    for attribute in method.attrs.iter().filter(is_condition) {
        diagnostics.over(
            attribute,
            "a handler of a router cannot be conditional: write `#[cfg(…)]` on whole `impl` blocks of routers of their own",
        );
    }
}

/// `#[cfg_attr(…, handler)]`, which is expanded behind `#[router]`. Takes it, and says whether there is one.
fn is_written_by_itself(method: &mut ImplItemFn, diagnostics: &mut Diagnostics) -> bool {
    let says_handler = |attribute: &Attribute| {
        attribute.path().is_ident("cfg_attr")
            && attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).is_ok_and(|metas| {
                metas.iter().skip(1).any(|meta| meta.path().segments.last().is_some_and(|last| last.ident == "handler"))
            })
    };
    let Some(index) = method.attrs.iter().position(says_handler) else { return false };
    diagnostics.over(
        method.attrs.remove(index),
        "a router does not look into `cfg_attr`: write `#[handler]` by itself, and `#[cfg(…)]` on whole `impl` blocks of routers of their own",
    );
    true
}

fn take_handler_attribute(method: &mut ImplItemFn, diagnostics: &mut Diagnostics) -> Option<Attribute> {
    let mut handlers = take_attributes("handler", &mut method.attrs).into_iter();
    let first = handlers.next();
    is_written_once("handler", handlers.as_slice(), diagnostics);
    first
}

fn take_attributes(name: &str, attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    let is_named =
        |attribute: &Attribute| attribute.path().segments.last().is_some_and(|segment| segment.ident == name);
    let (taken, others) = attributes.drain(..).partition(is_named);
    *attributes = others;
    taken
}

fn is_written_once(name: &str, others: &[Attribute], diagnostics: &mut Diagnostics) {
    if let Some(second) = others.first() {
        diagnostics.over(second, format!("`#[{name}]` is written twice: put all options into one of the two"));
    }
}

fn method_handler(
    attribute: &Attribute,
    method: &ImplItemFn,
    (self_type, generics): (&Type, &syn::Generics),
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
    let options = handler_options(tokens, OF_METHODS, &mut Runtime::default(), diagnostics);
    has_layer_without_parameters(&options, generics, diagnostics);
    takes_shared_self(&method.sig, diagnostics);
    let on_uses = by_uses(&method.attrs);
    let handler = signature(&method.sig, &method.vis, options, diagnostics)?;
    Some(of_router(Handler { on_uses, ..handler }, self_type))
}

/// A layer is made once for all values of the router's type, and what makes it knows no parameters of the type.
fn has_layer_without_parameters(options: &Options, generics: &syn::Generics, diagnostics: &mut Diagnostics) {
    if generics.params.is_empty() {
        return;
    }
    let is_self =
        |token: &TokenTree, _: Option<&TokenTree>| matches!(token, TokenTree::Ident(ident) if ident == "Self");
    if let Some(token) = options.layer.clone().and_then(|layer| find(layer, &is_self)) {
        diagnostics.at(
            token.span(),
            "`layer` knows no parameters of the router's type: write a function or a constant outside of the `impl`",
        );
    }
}

fn takes_shared_self(signature: &Signature, diagnostics: &mut Diagnostics) {
    let Some(receiver) = signature.receiver() else { return };
    let advice = match &receiver.kind {
        ReceiverKind::Reference(_, _, None) => return,
        ReceiverKind::Typed(_, ty) => match ungrouped_type(ty) {
            Type::Reference(reference) if reference.mutability.is_some() => MUTABLE_SELF,
            Type::Reference(reference) if is_self(&reference.elem) => return,
            _ => "a service has its router by reference, also where it is served as an `Arc`: write `&self`",
        },
        _ => MUTABLE_SELF,
    };
    diagnostics.over(receiver, advice);
}

const MUTABLE_SELF: &str = "a handler runs for several messages at once, so it takes `&self`: write `&self`, and keep what changes in a `Mutex` or an atomic";

fn is_self(ty: &Type) -> bool {
    matches!(ungrouped_type(ty), Type::Path(path) if path.path.is_ident("Self"))
}

/// In the generated code `Self` is the handler's own type.
fn of_router(handler: Handler, self_type: &Type) -> Handler {
    let tokens = |tokens: TokenStream| without_self_type(tokens, self_type);
    let ty = |ty: Type| syn::parse2(tokens(ty.to_token_stream())).unwrap_or(ty);
    let Options { filter, layer, .. } = handler.options;
    Handler {
        message: ty(handler.message),
        arguments: handler.arguments.into_iter().map(ty).collect(),
        pattern: tokens(handler.pattern),
        options: Options { filter: filter.map(tokens), layer: layer.map(tokens), ..handler.options },
        ..handler
    }
}

fn handler_options(
    tokens: TokenStream,
    known: &[&str],
    runtime: &mut Runtime,
    diagnostics: &mut Diagnostics,
) -> Options {
    let mut options = Options::default();
    if !names_no_channel("handler", &tokens, diagnostics) {
        return options;
    }
    let mut redelivery = Vec::new();
    for entry in attr::entries("handler", tokens, known, &mut HashSet::new(), diagnostics) {
        if OF_SOME_KINDS.iter().any(|option| entry.key == option) {
            options.of_some_kinds.push(entry.key.clone());
        }
        match entry.key.to_string().as_str() {
            "concurrency" => options.concurrency = entry.number((1, u32::MAX.into()), "concurrency = 16", diagnostics),
            "order" => options.order = order(&entry, diagnostics),
            "run_to_end" => options.run_to_end = entry.flag(diagnostics),
            "timeout" => options.timeout = timeout(&entry, diagnostics),
            "filter" => options.filter = filter(&entry, diagnostics),
            "fallback" => options.fallback = entry.flag(diagnostics),
            "spawn" => options.spawn = entry.flag(diagnostics),
            "retries" => options.retries = entry.number((0, u32::MAX.into()), "retries = 5", diagnostics),
            "backoff" => options.backoff_nanos = entry.durations(diagnostics),
            "crashes" => options.crashes = entry.number((1, u32::MAX.into()), "crashes = 3", diagnostics),
            "idempotent" | "once" | "window" => redelivery.push(entry),
            "layer" => {
                let layer = entry.expression("layer = ConcurrencyLimitLayer::new(4)", diagnostics);
                options.layer = layer.map(ToTokens::into_token_stream);
            }
            _ => runtime.set(&entry, diagnostics),
        }
    }
    options.redelivery = work::redelivery(redelivery, diagnostics);
    options
}

/// A duration, or that there is none.
fn timeout(entry: &attr::Entry, diagnostics: &mut Diagnostics) -> Option<Timeout> {
    match entry.text().as_deref() {
        Some("none") => Some(Timeout::None),
        _ if entry.is_one_of(&["none", "never", "off", "infinite", "unlimited", "forever"]) => {
            entry.reject("no timeout is a text too: write `timeout = \"none\"`", diagnostics);
            None
        }
        _ => entry.duration(diagnostics).map(Timeout::Nanos),
    }
}

/// What a handler takes follows from its message.
fn names_no_channel(attribute: &str, tokens: &TokenStream, diagnostics: &mut Diagnostics) -> bool {
    let channel = |input: ParseStream<'_>| {
        if input.peek(Ident) && input.peek2(Token![=]) {
            let key = input.parse::<Ident>()?;
            if !["channel", "queue", "topic"].contains(&key.to_string().as_str()) {
                return Err(input.error("another option"));
            }
            input.parse::<Token![=]>()?;
        }
        let text = input.parse::<LitStr>()?;
        if HANDLER.contains(&text.value().as_str()) {
            return Err(input.error("an option in quotes"));
        }
        input.parse::<TokenStream>()?;
        Ok(text)
    };
    let Ok(text) = channel.parse2(tokens.clone()) else { return true };
    diagnostics.at(
        text.span(),
        format!(
            "`#[{attribute}]` takes no channel, as a handler gets the messages of its argument's type: write `#[channel(\"…\")]` or `#[queue(\"…\")]` on that type"
        ),
    );
    false
}

fn filter(entry: &attr::Entry, diagnostics: &mut Diagnostics) -> Option<TokenStream> {
    let filter = entry.expression("filter = order.total > 100", diagnostics)?;
    is_no_closure_nor_text(&filter, diagnostics)?;
    let filter = filter.into_token_stream();
    // `self::module` is a path.
    let is_value = |token: &TokenTree, next: Option<&TokenTree>| {
        matches!(token, TokenTree::Ident(ident) if ident == "self")
            && !matches!(next, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
    };
    if let Some(token) = find(filter.clone(), &is_value) {
        diagnostics.at(
            token.span(),
            "a filter sees the message and no `self`: ask in the handler what the router knows, or write `Self::…` for a constant",
        );
    }
    Some(filter)
}

/// What libraries in other languages take as a filter.
fn is_no_closure_nor_text(filter: &Expr, diagnostics: &mut Diagnostics) -> Option<()> {
    let advice = "the handler's first argument: write `filter = order.total > 100`, with the argument's name";
    match attr::ungrouped(filter) {
        Expr::Closure(closure) => {
            diagnostics
                .over(closure, format!("a filter is no closure, but an expression of type `bool` over {advice}"));
        }
        filter if attr::literal(filter).is_some_and(|literal| matches!(literal, Lit::Str(_))) => {
            diagnostics
                .over(filter, format!("a filter stands without quotes, as an expression of type `bool` over {advice}"));
        }
        _ => return Some(()),
    }
    None
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
    if !comes_first(message, &typed, &options, diagnostics) {
        return None;
    }
    owns_its_message(message, diagnostics);
    for argument in &typed {
        is_always_taken(argument, diagnostics);
        has_one_type(argument, diagnostics);
        names_no_lifetime(argument, diagnostics);
    }
    for argument in arguments {
        lives_for_a_call(argument, diagnostics);
    }
    let mut bindings = Vec::new();
    names_bound(&message.pat, &mut bindings);
    filter_asks_only_the_message(&options, &bindings, arguments, diagnostics);
    Some(Handler {
        on_item: Vec::new(),
        on_uses: Vec::new(),
        visibility: visibility.clone(),
        ident: signature.ident.clone(),
        pattern: without_mut(message.pat.to_token_stream()),
        bindings,
        message: ungrouped_type(&message.ty).clone(),
        borrows: message.ty.to_token_stream().to_string().contains('\''),
        arguments: arguments.iter().map(|argument| ungrouped_type(&argument.ty).clone()).collect(),
        output: output(&signature.output, diagnostics),
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
    let generics = &signature.generics;
    if generics.params.is_empty() {
        return;
    }
    let mut lifetimes = generics.lifetimes().map(|lifetime| &lifetime.lifetime);
    let message = match lifetimes.next() {
        Some(lifetime) if generics.lifetimes().count() == generics.params.len() => format!(
            "the handler `{0}` has no say in how long its arguments live: write `async fn {0}`, and `'_` in the place of `{lifetime}`",
            signature.ident
        ),
        _ => format!(
            "the handler `{}` is generic, but a handler takes one message type: write concrete types, and leave lifetimes out",
            signature.ident
        ),
    };
    diagnostics.over(generics, message);
}

fn output(output: &ReturnType, diagnostics: &mut Diagnostics) -> Output {
    let ReturnType::Type(_, ty) = output else { return Output::Nothing };
    let ty = ungrouped_type(ty);
    if let Type::Never(_) = ty {
        diagnostics.over(ty, "a handler returns when it is done with its message: write nothing instead of `-> !`");
    }
    returns_no_iterator(ty, diagnostics);
    sends_no_list(ty.to_token_stream(), diagnostics);
    let (first, last) = ends(&ty.to_token_stream());
    Output::Type(first, last)
}

fn returns_no_iterator(ty: &Type, diagnostics: &mut Diagnostics) {
    let Type::ImplTrait(bounds) = ty else { return };
    let is_iterator = bounds.bounds.iter().any(|bound| {
        matches!(bound, syn::TypeParamBound::Trait(bound)
            if bound.path.segments.last().is_some_and(|last| last.ident == "IntoIterator" || last.ident == "Iterator"))
    });
    if is_iterator {
        diagnostics.over(
            ty,
            "a handler returns no iterator: write `Publish<M>` and return `Publish::all(messages)`, or write `Vec<Publish<M>>`",
        );
    }
}

/// `Publish<Vec<M>>`, also within others: a list is no message.
fn sends_no_list(ty: TokenStream, diagnostics: &mut Diagnostics) {
    let tokens: Vec<TokenTree> = ty.into_iter().collect();
    let is_word = |token: &TokenTree, words: [&str; 2]| words.iter().any(|word| token.to_string() == *word);
    for triple in tokens.windows(3) {
        let [verb, bracket, list] = triple else { continue };
        if is_word(verb, ["Publish", "Enqueue"]) && bracket.to_string() == "<" && is_word(list, ["Vec", "Option"]) {
            diagnostics.at(
                list.span(),
                format!(
                    "`{verb}<M>` holds any number of messages: write the message's type in it instead of `{list}`, and return `{verb}::all(…)`"
                ),
            );
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            sends_no_list(group.stream(), diagnostics);
        }
    }
}
