//! `#[queue("…", …)]`: the channel of tasks, and what their queue promises.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Attribute, Expr, Ident, Lit, LitStr, Meta, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

use super::{
    ending::{Ending, Said},
    model::Message,
};
use crate::{
    attr::{self, Entry},
    diag::{self, Diagnostics},
    options::QUEUE,
    template,
};

/// What a queue promises beside keeping its tasks.
pub(crate) struct Queue {
    /// Of the template, whose parameters the compiler looks at.
    template: Span,
    turns: Option<Turns>,
    lease_nanos: Option<u64>,
    bound: bool,
    at_most_once: bool,
    max_length: Option<u64>,
    payload_limit: Option<u64>,
    dead_letters: DeadLetters,
    pub(crate) ending: Ending,
}

/// What dead letters are kept, where the queue says so.
#[derive(Default)]
struct DeadLetters {
    nanos: Option<u64>,
    count: Option<u64>,
    bytes: Option<u64>,
}

/// Which part is served first, by a parameter.
enum Turns {
    Strict(LitStr),
    Weighted(LitStr, Weights),
}

struct Weights {
    span: Span,
    numbers: Vec<u32>,
}

/// The shortest lease: it is renewed three times within its time.
const SHORTEST_LEASE: u64 = 1_000_000_000;

/// The template, and the options behind it.
pub(super) fn parts(attribute: &Attribute, diagnostics: &mut Diagnostics) -> Option<(LitStr, TokenStream)> {
    let advice = |template: Option<&LitStr>| {
        let template = template.map_or_else(|| "tasks:images".to_owned(), LitStr::value);
        format!(
            "a queue is written as a string, with its options behind it: write `#[queue(\"{template}\")]`, or `#[queue(\"{template}\", lease = \"1m\")]`"
        )
    };
    match &attribute.meta {
        Meta::List(list) if !list.tokens.is_empty() => match list.parse_args_with(attr::text_and_options) {
            Ok(parts) => return Some(parts),
            Err(error) => diagnostics.at(error.span(), advice(called_template(&list.tokens).as_ref())),
        },
        Meta::NameValue(pair) => {
            let template = match attr::literal(&pair.value) {
                Some(Lit::Str(template)) => Some(template),
                _ => None,
            };
            diagnostics.over(attr::ungrouped(&pair.value), advice(template));
        }
        Meta::List(_) | Meta::Path(_) => diagnostics.over(attribute, advice(None)),
    }
    None
}

/// The text of `name = "tasks:images", …`, or that before a comma that is left out.
fn called_template(tokens: &TokenStream) -> Option<LitStr> {
    let template = |input: ParseStream<'_>| {
        if !input.peek(LitStr) {
            let key = input.call(Ident::parse_any)?;
            if !["name", "queue", "channel", "topic", "template"].iter().any(|called| key == called) {
                return Err(input.error("an option"));
            }
            input.parse::<Token![=]>()?;
        }
        let template = input.parse::<LitStr>()?;
        input.parse::<TokenStream>()?;
        Ok(template)
    };
    template.parse2(tokens.clone()).ok()
}

impl Queue {
    /// A queue without other options, as a stub has it.
    pub(super) fn plain(template: Span, at_most_once: bool, ending: Ending) -> Self {
        Self {
            template,
            turns: None,
            lease_nanos: None,
            bound: false,
            at_most_once,
            max_length: None,
            payload_limit: None,
            dead_letters: DeadLetters::default(),
            ending,
        }
    }

    pub(super) fn checked(template: &LitStr, options: TokenStream, reply: Said, diagnostics: &mut Diagnostics) -> Self {
        let mut queue = Self::plain(template.span(), false, Ending::default());
        // What is wrong with the template says so itself.
        let parameters = template::guessed_parameters(&template.value());
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let (mut chosen, mut weights, mut dead, mut ending) = (None, None, Vec::new(), Vec::new());
        let found = diagnostics.count();
        let entries = attr::entries("queue", options, &QUEUE, &mut HashSet::new(), diagnostics);
        // What cannot be read may be what the reply needs.
        let reply = if diagnostics.count() > found { Said::Something } else { reply };
        for entry in entries {
            match entry.key.to_string().as_str() {
                "strict" | "weighted" if chosen.is_some() => diagnostics.at(
                    entry.key.span(),
                    "`strict` and `weighted` both say which part is served first: remove one of the two",
                ),
                "strict" | "weighted" => chosen = Some(entry),
                "weights" => weights = Some((numbers(&entry, diagnostics), entry)),
                "lease" => queue.lease_nanos = lease(&entry, diagnostics),
                "bound" => queue.bound = entry.flag(diagnostics) && has_parameters(&entry, &names, diagnostics),
                "at_most_once" => queue.at_most_once = entry.flag(diagnostics),
                "max_length" => {
                    queue.max_length = entry.number((1, u64::MAX), "max_length = 100000", diagnostics);
                }
                "payload_limit" => {
                    queue.payload_limit = entry.number((1, 512 * 1024 * 1024), "payload_limit = 65536", diagnostics);
                }
                "dead_letters" | "dead_letters_count" | "dead_letters_bytes" => dead.push(entry),
                _ => ending.push(entry),
            }
        }
        queue.turns = turns(chosen, weights, &names, diagnostics);
        queue.dead_letters = DeadLetters::checked(dead, queue.at_most_once, diagnostics);
        queue.ending = Ending::checked(ending, reply, (queue.at_most_once, template.span()), diagnostics);
        queue
    }

    // Output:
    //
    //     const QUEUE: Option<__tidings::QueueFacts> = Some(__tidings::QueueFacts::DEFAULT.lease_nanos(30000000000u64));
    pub(super) fn facts(&self) -> TokenStream {
        let Self {
            template: _,
            turns,
            lease_nanos,
            bound,
            at_most_once,
            max_length,
            payload_limit,
            dead_letters,
            ending,
        } = self;
        let turns = turns.as_ref().map(|turns| match turns {
            Turns::Strict(name) => quote!(.turns(__tidings::Turns::Strict(#name))),
            Turns::Weighted(name, Weights { numbers, .. }) => {
                quote!(.turns(__tidings::Turns::Weighted(#name, &[#(#numbers),*])))
            }
        });
        let lease = lease_nanos.map(|nanos| quote!(.lease_nanos(#nanos)));
        let bound = bound.then(|| quote!(.bound()));
        let at_most_once = at_most_once.then(|| quote!(.at_most_once()));
        let max_length = max_length.map(|length| quote!(.max_length(#length)));
        let payload_limit = payload_limit.map(|limit| {
            let limit = proc_macro2::Literal::u64_unsuffixed(limit);
            quote!(.payload_limit(#limit))
        });
        let dead_letters = dead_letters.facts();
        let results = ending.facts();
        quote! {
            const QUEUE: ::core::option::Option<__tidings::QueueFacts> = ::core::option::Option::Some(
                __tidings::QueueFacts::DEFAULT #turns #lease #bound #at_most_once #max_length #payload_limit #dead_letters #results
            );
        }
    }

    /// How often its tasks run, in the `impl` of `Queue`.
    pub(super) fn runs(&self) -> TokenStream {
        let runs = if self.at_most_once { quote!(AtMostOnce) } else { quote!(AtLeastOnce) };
        quote!(type Runs = __tidings::#runs;)
    }

    /// What only the compiler can know.
    pub(super) fn proofs(&self, message: &Message) -> TokenStream {
        let parameters = message.parameters().next().map(|_| self.parameter_proofs(&message.ty()));
        let ending = self.ending.proofs(message);
        quote!(#parameters #ending)
    }

    // Output, each at the place that it is about:
    //
    //     const _: () = __tidings::prove_parts(<ResizeImage as __tidings::Message>::TEMPLATE, "priority");
    //     const _: () = __tidings::prove_turns(<ResizeImage as __tidings::Message>::TEMPLATE, "priority");
    //     const _: () = __tidings::prove_weights(<ResizeImage as __tidings::Message>::TEMPLATE, "priority", 3);
    /// What only the compiler can know of the parameters: which of them have a word for each of their values.
    fn parameter_proofs(&self, this: &TokenStream) -> TokenStream {
        // Such a path is nothing that lints look at only where a macro has written it.
        let of =
            |span: Span| quote_spanned!(Span::mixed_site().located_at(span)=> <#this as __tidings::Message>::TEMPLATE);
        // The parameter that says the turns is looked at for itself.
        let by_turns = match &self.turns {
            Some(Turns::Strict(name) | Turns::Weighted(name, _)) => name.value(),
            None => String::new(),
        };
        let parts = (!self.bound).then(|| {
            let template = of(self.template);
            quote_spanned!(self.template=> const _: () = __tidings::prove_parts(#template, #by_turns);)
        });
        let turns = self.turns.as_ref().map(|turns| {
            let (Turns::Strict(name) | Turns::Weighted(name, _)) = turns;
            let template = of(name.span());
            let by_name = quote_spanned!(name.span()=> const _: () = __tidings::prove_turns(#template, #name););
            let by_number = match turns {
                Turns::Strict(_) => None,
                Turns::Weighted(name, Weights { span, numbers }) => {
                    let (template, count) = (of(*span), numbers.len());
                    Some(quote_spanned!(*span=> const _: () = __tidings::prove_weights(#template, #name, #count);))
                }
            };
            quote!(#by_name #by_number)
        });
        quote!(#parts #turns)
    }
}

impl DeadLetters {
    fn checked(entries: Vec<Entry>, at_most_once: bool, diagnostics: &mut Diagnostics) -> Self {
        let mut kept = Self::default();
        for entry in entries {
            if at_most_once {
                diagnostics.at(
                    entry.key.span(),
                    format!(
                        "`{}` has no use here: a task of this queue is done when it is taken, as `at_most_once` says, and is never a dead letter; \
                         remove one of the two",
                        entry.key
                    ),
                );
                continue;
            }
            match entry.key.to_string().as_str() {
                "dead_letters" => kept.nanos = entry.duration(diagnostics),
                "dead_letters_count" => {
                    kept.count = entry.number((1, u64::MAX), "dead_letters_count = 10000", diagnostics);
                }
                _ => kept.bytes = entry.number((1, u64::MAX), "dead_letters_bytes = 67108864", diagnostics),
            }
        }
        kept
    }

    // Output:
    //
    //     .dead_letters(__tidings::DeadLetterBounds::DEFAULT.for_nanos(2592000000000000u64).count(1000u64))
    fn facts(&self) -> Option<TokenStream> {
        let Self { nanos, count, bytes } = self;
        nanos.or(*count).or(*bytes)?;
        let age = nanos.map(|nanos| quote!(.for_nanos(#nanos)));
        let count = count.map(|count| quote!(.count(#count)));
        let bytes = bytes.map(|bytes| quote!(.bytes(#bytes)));
        Some(quote!(.dead_letters(__tidings::DeadLetterBounds::DEFAULT #age #count #bytes)))
    }
}

/// The parameter that `strict = …` or `weighted = …` names.
fn parameter(entry: &Entry, example: &str, names: &[&str], diagnostics: &mut Diagnostics) -> Option<LitStr> {
    let (name, _) = entry.name(example, diagnostics)?;
    let text = name.value();
    if names.contains(&text.as_str()) {
        return Some(name);
    }
    let advice = match (diag::closest(&text, names.iter().copied()), names) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, []) => format!("write it into the template, such as `\"…:<{text}>\"`, or remove `{}`", entry.key),
        (None, names) => format!("write {}", diag::one_of(names.iter().copied())),
    };
    diagnostics.at(name.span(), format!("`{text}` is no parameter of this queue: {advice}"));
    None
}

fn numbers(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Weights> {
    const EXAMPLE: &str = "weights = [6, 3, 1]";
    let number = |element: &Expr| match attr::literal(element)? {
        Lit::Int(number) => number.base10_parse::<u32>().ok().filter(|number| (1..=1_000_000).contains(number)),
        _ => None,
    };
    let numbers = match entry.value() {
        Some(Expr::Array(array)) => array.elems.iter().map(number).collect::<Option<Vec<u32>>>(),
        _ => None,
    };
    if let Some(numbers) = numbers {
        return Some(Weights { span: entry.span(), numbers });
    }
    entry.reject(
        format!("`weights` takes a number from 1 to 1000000 for each value of the parameter: write `{EXAMPLE}`"),
        diagnostics,
    );
    None
}

fn lease(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<u64> {
    let nanos = entry.duration(diagnostics)?;
    if nanos < SHORTEST_LEASE {
        entry.reject(
            "a lease shorter than a second is lost by any pause of the machine: write `lease = \"1s\"` or longer",
            diagnostics,
        );
        return None;
    }
    Some(nanos)
}

fn has_parameters(entry: &Entry, names: &[&str], diagnostics: &mut Diagnostics) -> bool {
    if names.is_empty() {
        diagnostics.at(entry.key.span(), "this queue has no parameters whose values could be bound: remove `bound`");
    }
    !names.is_empty()
}

/// `strict = p`, or `weighted = p, weights = […]`.
fn turns(
    chosen: Option<Entry>,
    weights: Option<(Option<Weights>, Entry)>,
    names: &[&str],
    diagnostics: &mut Diagnostics,
) -> Option<Turns> {
    let example = names.first().unwrap_or(&"priority");
    let Some(chosen) = chosen else {
        let (_, weights) = weights?;
        diagnostics.at(
            weights.key.span(),
            format!("`weights` belongs to `weighted`: write `weighted = {example}` before it, with the parameter that is weighted"),
        );
        return None;
    };
    let is_weighted = chosen.key == "weighted";
    let numbers = if is_weighted && weights.is_none() { ", weights = [6, 3, 1]" } else { "" };
    let name = parameter(&chosen, &format!("{} = {example}{numbers}", chosen.key), names, diagnostics);
    match weights {
        Some((weights, _)) if is_weighted => Some(Turns::Weighted(name?, weights?)),
        Some((_, weights)) => {
            diagnostics
                .at(weights.key.span(), "`strict` takes no weights: write `weighted = …` instead, or remove `weights`");
            None
        }
        None if is_weighted => {
            // Without a name the first error says it too.
            if chosen.names_something() {
                diagnostics.at(
                    chosen.key.span(),
                    "`weighted` needs a weight for each value of the parameter: write `weights = [6, 3, 1]` behind it",
                );
            }
            None
        }
        None => name.map(Turns::Strict),
    }
}
