//! The rules of `#[derive(Message)]`, one function each.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Expr, Field, Fields, Generics, Ident, Lit, LitStr, Meta, Path, Token, Type,
    ext::IdentExt,
    parse::{ParseStream, Parser as _},
    parse_quote,
    punctuated::Punctuated,
};

use super::{
    ending::{Ending, Said},
    kind::{Kind, Reply},
    model::{Codec, Message},
    parameter::{resolve, spelled},
    queue::{self, Queue},
};
use crate::{
    attr::{self, Runtime, ungrouped_type},
    diag::Diagnostics,
    options::MESSAGE,
    template,
    tokens::find,
};

/// The message, or `None` when its channel cannot be known. The diagnostics say whether it may be expanded.
pub(super) fn message(input: &DeriveInput, runtime: Runtime, diagnostics: &mut Diagnostics) -> Option<Message> {
    is_struct_or_enum(input, diagnostics);
    let borrows = borrows(input, diagnostics);
    let options = options(input, diagnostics);
    let reply = reply(input, diagnostics);
    let (literal, queue) = channel(input, diagnostics)?;
    let (parsed, problems) = template::parse(&literal.value());
    for problem in problems {
        diagnostics.at(literal.span(), problem);
    }
    let kind = match (queue, reply) {
        (None, Said::Nothing | Said::Something) => Kind::Broadcast,
        (None, Said::Reply(reply)) => Kind::Request(reply),
        (Some(options), reply) => Kind::Queue(Box::new(Queue::checked(&literal, options, reply, diagnostics))),
    };
    let fields = fields(input);
    let segments = parsed
        .iter()
        .enumerate()
        .filter_map(|(index, segment)| resolve(index, segment, &literal, input, &fields, diagnostics))
        .collect();
    Some(Message {
        runtime,
        answer: kind.answer(),
        lints: attr::lints(&input.attrs),
        visibility: attr::silent_visibility(&input.vis),
        ident: input.ident.clone(),
        borrows,
        of_one_thread: of_one_thread(input),
        is_read: true,
        generics: Generics::default(),
        name: options.name.unwrap_or_else(|| input.ident.unraw().to_string()),
        version: options.version.unwrap_or(1),
        older: options.older,
        description: attr::documentation(&input.attrs),
        codec: options.codec,
        template: template::text(&parsed),
        segments,
        kind,
    })
}

fn is_struct_or_enum(input: &DeriveInput, diagnostics: &mut Diagnostics) {
    if let Data::Union(data) = &input.data {
        diagnostics.at(data.union_token.span, "a message cannot be a union: write a `struct` or an `enum`");
    }
}

/// Whether it borrows from its payload: a lifetime is all that can be generic about a message.
fn borrows(input: &DeriveInput, diagnostics: &mut Diagnostics) -> bool {
    let ident = &input.ident;
    let mut lifetimes = input.generics.lifetimes();
    let borrows = lifetimes.next().is_some();
    if input.generics.type_params().next().is_some() || input.generics.const_params().next().is_some() {
        diagnostics.over(
            &input.generics,
            format!("a message cannot be generic, because its wire name stands for one type: write `{ident}` with concrete types"),
        );
    } else if lifetimes.next().is_some() {
        diagnostics.over(
            &input.generics,
            format!("a message borrows from one payload: write `{ident}<'a>` with one lifetime for all its fields"),
        );
    }
    borrows
}

#[derive(Default)]
struct Options {
    name: Option<String>,
    version: Option<u32>,
    older: Option<Path>,
    codec: Option<Codec>,
}

fn options(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Options {
    let mut options = Options::default();
    let mut from = None;
    for entry in attr::all_entries(&input.attrs, "message", &MESSAGE, diagnostics) {
        match entry.key.to_string().as_str() {
            "name" => {
                options.name =
                    entry.string("name = \"order.placed\"", diagnostics).and_then(|name| wire_name(&name, diagnostics))
            }
            "version" => {
                let version = entry.number((1, u32::MAX.into()), "version = 2", diagnostics);
                options.version = version.and_then(|version| u32::try_from(version).ok());
            }
            "from" => from = Some(entry),
            _ if options.codec.is_some() => {
                diagnostics.at(entry.key.span(), "`format` and `codec` both choose the codec: remove one of the two");
            }
            "format" => {
                options.codec =
                    entry.string("format = \"plain\"", diagnostics).and_then(|name| format(&name, diagnostics))
            }
            _ => options.codec = codec(&entry, diagnostics),
        }
    }
    options.older = from.and_then(|from| older(&from, options.version, diagnostics));
    options
}

/// `from = OrderPlacedV1`: what it is, the compiler proves.
fn older(from: &attr::Entry, version: Option<u32>, diagnostics: &mut Diagnostics) -> Option<Path> {
    let older = from.path("from = OrderPlacedV1", diagnostics)?;
    if version.is_none_or(|version| version < 2) {
        diagnostics.at(
            from.key.span(),
            "`from` names the message of the version before, and there is none before version 1: write `version = 2` too",
        );
        return None;
    }
    Some(older)
}

fn wire_name(name: &LitStr, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = name.value();
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        diagnostics.at(
            name.span(),
            "the wire name is empty or has control characters: write a name such as `\"order.placed\"`",
        );
        return None;
    }
    Some(text)
}

fn format(name: &LitStr, diagnostics: &mut Diagnostics) -> Option<Codec> {
    let codec = match name.value().as_str() {
        "plain" => "Plain",
        "envelope" => "Json",
        other => {
            let advice = codec_called(other).unwrap_or_else(|| "`\"envelope\"` or `\"plain\"`".to_owned());
            diagnostics.at(name.span(), format!("there is no format `{other}`: write {advice}"));
            return None;
        }
    };
    Some(Codec::Ours(Ident::new(codec, proc_macro2::Span::call_site())))
}

/// What to write for a codec that somebody calls like that.
fn codec_called(name: &str) -> Option<String> {
    let letters: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let (codec, feature) = match letters.as_str() {
        "messagepack" | "msgpack" | "rmp" => ("MessagePack", Some("messagepack")),
        "cbor" => ("Cbor", Some("cbor")),
        "cloudevents" | "cloudevent" => ("CloudEvents", None),
        "redistoolkit" | "toolkit" => ("RedisToolkit", None),
        "json" => return Some("`format = \"envelope\"`, or `format = \"plain\"` for the message alone".to_owned()),
        _ => return None,
    };
    let feature = feature.map_or_else(String::new, |feature| format!(", with the feature `{feature}` of `tidings`"));
    Some(format!("`codec = tidings::codec::{codec}`{feature}"))
}

fn codec(entry: &attr::Entry, diagnostics: &mut Diagnostics) -> Option<Codec> {
    if let Some(advice) = entry.text().and_then(|name| codec_called(&name)) {
        entry.reject(format!("`codec` takes the path of a type: write {advice}"), diagnostics);
        return None;
    }
    entry.path("codec = tidings::codec::CloudEvents", diagnostics).map(Codec::Path)
}

/// `#[channel("…")]`, or `#[queue("…", …)]` with its options: exactly one of the two, once.
fn channel(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Option<(LitStr, Option<TokenStream>)> {
    let is_queue = |attribute: &Attribute| attribute.path().is_ident("queue");
    let mut attributes =
        input.attrs.iter().filter(|attribute| attribute.path().is_ident("channel") || is_queue(attribute));
    let Some(first) = attributes.next() else {
        // An error says already where it belongs.
        let is_misplaced = |attribute| ["channel", "queue"].iter().any(|option| says(input, attribute, option));
        if ["message", "tidings"].into_iter().any(is_misplaced) || has_a_text_alone(input) {
            return None;
        }
        diagnostics.at(
            input.ident.span(),
            format!(
                "the message `{}` has no channel: write `#[channel(\"…\")]` on it, such as `#[channel(\"orders:<id>\")]`, or `#[queue(\"…\")]` \
                 where each is a task for one instance",
                input.ident
            ),
        );
        return None;
    };
    for second in attributes {
        let two = match (is_queue(first), is_queue(second)) {
            (false, false) => "two channels",
            (true, true) => "two queues",
            _ => "a channel and a queue",
        };
        diagnostics.over(second, format!("the message `{}` has {two}: remove one of the two", input.ident));
    }
    if is_queue(first) {
        return queue::parts(first, diagnostics).map(|(literal, options)| (literal, Some(options)));
    }
    channel_literal(first, diagnostics).map(|literal| (literal, None))
}

fn channel_literal(attribute: &Attribute, diagnostics: &mut Diagnostics) -> Option<LitStr> {
    const ADVICE: &str = "a channel is written as a string: write `#[channel(\"orders:<id>\")]`";
    match &attribute.meta {
        Meta::List(list) => match list.parse_args_with(attr::text_and_options) {
            Ok((literal, options)) => {
                has_no_options(options, diagnostics);
                return Some(literal);
            }
            Err(_) if list.tokens.is_empty() => diagnostics.over(attribute, ADVICE),
            Err(_) => match list.parse_args::<Expr>() {
                Ok(value) => diagnostics.over(attr::ungrouped(&value), ADVICE),
                Err(_) => diagnostics.over(&list.tokens, ADVICE),
            },
        },
        Meta::NameValue(pair) => match attr::literal(&pair.value) {
            Some(Lit::Str(_)) => {
                diagnostics.over(attribute, "a channel stands in parentheses: write `#[channel(\"…\")]`");
            }
            _ => diagnostics.over(attr::ungrouped(&pair.value), ADVICE),
        },
        Meta::Path(_) => diagnostics.over(attribute, ADVICE),
    }
    None
}

fn has_no_options(options: TokenStream, diagnostics: &mut Diagnostics) {
    if Punctuated::<attr::Entry, Token![,]>::parse_terminated.parse2(options.clone()).is_err() {
        diagnostics.over(
            options,
            "a channel is one string: write all of its segments into it, as in `#[channel(\"orders:<id>\")]`",
        );
    } else {
        attr::entries("channel", options, &[], &mut HashSet::new(), diagnostics);
    }
}

/// `#[reply(Type)]` or `#[reply(Type, error = Type)]`, at most once.
fn reply(input: &DeriveInput, diagnostics: &mut Diagnostics) -> Said {
    const ADVICE: &str =
        "`#[reply]` takes the type of the reply: write `#[reply(Quote)]` or `#[reply(Quote, error = QuoteError)]`";
    let mut attributes = input.attrs.iter().filter(|attribute| attribute.path().is_ident("reply"));
    let Some(first) = attributes.next() else {
        // As an option of the queue it stands in the wrong place, which is said already.
        return if says(input, "queue", "reply") { Said::Something } else { Said::Nothing };
    };
    for second in attributes {
        let kind = if is_queue(input) { "task" } else { "request" };
        diagnostics.over(second, format!("the {kind} `{}` has two replies: remove one of the two", input.ident));
    }
    match &first.meta {
        Meta::List(list) if !list.tokens.is_empty() => match list.parse_args_with(parse_reply) {
            Ok(reply) => {
                let types = [Some(&reply.ty), reply.error.as_ref()];
                if !types.map(|ty| is_owned(ty, diagnostics)).contains(&false) {
                    return Said::Reply(Box::new(reply));
                }
            }
            Err(error) => diagnostics.at(error.span(), ADVICE),
        },
        _ => diagnostics.over(first, ADVICE),
    }
    Said::Something
}

/// What was sent borrows nothing from the program that it was sent to.
fn is_owned(ty: Option<&Type>, diagnostics: &mut Diagnostics) -> bool {
    let Some(owned) = ty.and_then(owned) else { return true };
    let owned = spelled(&owned).replace("::std::string::", "").replace("::std::vec::", "");
    diagnostics.over(ty, format!("a reply is read in another program, so it owns what it holds: write `{owned}`"));
    false
}

/// What owns the same as a reference.
fn owned(ty: &Type) -> Option<Type> {
    let Type::Reference(reference) = ungrouped_type(ty) else { return None };
    Some(match &*reference.elem {
        Type::Slice(slice) => {
            let element = &slice.elem;
            parse_quote!(::std::vec::Vec<#element>)
        }
        other if spelled(other) == "str" => parse_quote!(::std::string::String),
        other => other.clone(),
    })
}

fn is_queue(input: &DeriveInput) -> bool {
    input.attrs.iter().any(|attribute| attribute.path().is_ident("queue"))
}

fn parse_reply(input: ParseStream<'_>) -> syn::Result<Reply> {
    let ty = input.parse()?;
    let mut error = None;
    if input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
        let key: Ident = input.parse()?;
        if key != "error" {
            return Err(syn::Error::new(key.span(), ""));
        }
        input.parse::<Token![=]>()?;
        error = Some(input.parse()?);
        input.parse::<Option<Token![,]>>()?;
    }
    Ok(Reply { ty, error })
}

/// The kind that a message with a mistake seems to have: what can be read of its reply, and else a reply of no values. A task has one too where it
/// only says that its results are kept.
pub(super) fn guessed_kind(input: &DeriveInput) -> Kind {
    let reply = input.attrs.iter().find(|attribute| attribute.path().is_ident("reply")).map(|attribute| {
        let guess = |input: ParseStream<'_>| {
            let ty = input.parse()?;
            let error = input.parse::<TokenStream>().map(error_type)?;
            let meant = |ty: Type| owned(&ty).unwrap_or(ty);
            Ok(Reply { ty: meant(ty), error: error.map(meant) })
        };
        attribute.parse_args_with(guess).unwrap_or_else(|_| Reply::of_no_values())
    });
    if is_queue(input) {
        let reply = reply.or_else(|| says(input, "queue", "results").then(Reply::of_no_values));
        let ending = reply.map(Ending::guessed).unwrap_or_default();
        return Kind::Queue(Box::new(Queue::plain(input.ident.span(), says(input, "queue", "at_most_once"), ending)));
    }
    reply.map_or(Kind::Broadcast, |reply| Kind::Request(Box::new(reply)))
}

/// Whether an attribute seems to have an option.
fn says(input: &DeriveInput, attribute: &str, option: &str) -> bool {
    let attributes = input.attrs.iter().filter(|given| given.path().is_ident(attribute));
    let mut tokens =
        attributes.filter_map(|attribute| attribute.meta.require_list().ok()).flat_map(|list| list.tokens.clone());
    tokens.any(|token| token.to_string() == option)
}

/// `#[message("orders")]`.
fn has_a_text_alone(input: &DeriveInput) -> bool {
    let mut messages = input.attrs.iter().filter(|attribute| attribute.path().is_ident("message"));
    messages.any(|attribute| attribute.parse_args_with(attr::text_and_options).is_ok())
}

/// The type behind the first `=`.
fn error_type(tokens: TokenStream) -> Option<Type> {
    let behind = tokens.into_iter().skip_while(|token| token.to_string() != "=").skip(1);
    syn::parse2(behind.collect()).ok()
}

/// The types of fields that the compiler is to ask whether they stay on one thread. What a name stands for only it knows: of what is not asked it
/// tells too, but at each use of the message.
pub(super) fn of_one_thread(input: &DeriveInput) -> Vec<Type> {
    const NAMES: [&str; 14] = [
        "Rc",
        "Weak",
        "Cell",
        "RefCell",
        "OnceCell",
        "LazyCell",
        "UnsafeCell",
        "Ref",
        "RefMut",
        "NonNull",
        "MutexGuard",
        "RwLockReadGuard",
        "RwLockWriteGuard",
        "Receiver",
    ];
    let variants: Vec<&Fields> = match &input.data {
        Data::Struct(data) => vec![&data.fields],
        Data::Enum(data) => data.variants.iter().map(|variant| &variant.fields).collect(),
        Data::Union(_) => Vec::new(),
    };
    let may_stay = |ty: &Type| {
        let stays = |token: &TokenTree, _: Option<&TokenTree>| match token {
            TokenTree::Ident(name) => name == "dyn" || NAMES.iter().any(|known| name == known),
            TokenTree::Punct(punct) => punct.as_char() == '*',
            _ => false,
        };
        find(ty.to_token_stream(), &stays).is_some()
    };
    variants.iter().flat_map(|fields| fields.iter()).map(|field| field.ty.clone()).filter(may_stay).collect()
}

/// The fields that can be parameters.
fn fields(input: &DeriveInput) -> Vec<(String, &Field)> {
    let Data::Struct(data) = &input.data else { return Vec::new() };
    let named = |field: &'_ Field| field.ident.as_ref().map(|ident| ident.unraw().to_string());
    data.fields.iter().filter_map(|field| Some((named(field)?, field))).collect()
}
