//! A message that has passed every check.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Generics, Ident, Path, Type};

use super::kind::Kind;
use crate::attr::{Runtime, silent};

pub(crate) struct Message {
    pub(crate) runtime: Runtime,
    /// What the type says of lints.
    pub(crate) lints: Vec<Attribute>,
    pub(crate) visibility: TokenStream,
    pub(crate) ident: Ident,
    /// Whether it has a lifetime, and borrows from its payload.
    pub(crate) borrows: bool,
    /// The types of fields that may stay on one thread, of which the compiler knows. Where there are some, what is implemented asks for the rest.
    pub(crate) of_one_thread: Vec<Type>,
    /// Whether serde's traits are asked for, as they are of each message without a mistake.
    pub(crate) is_read: bool,
    /// What else is generic about it, which is a mistake.
    pub(crate) generics: Generics,
    /// The name on the wire.
    pub(crate) name: String,
    pub(crate) version: u32,
    /// The message of the version before.
    pub(crate) older: Option<Path>,
    pub(crate) description: String,
    /// The codec that the type chooses; otherwise the bus does.
    pub(crate) codec: Option<Codec>,
    /// The template without types.
    pub(crate) template: String,
    pub(crate) segments: Vec<Segment>,
    pub(crate) kind: Kind,
    /// What its handlers' return values mean.
    pub(crate) answer: TokenStream,
}

/// What writes and reads a message.
pub(crate) enum Codec {
    /// What `format = "…"` stands for.
    Ours(Ident),
    /// What `codec = …` names.
    Path(Path),
}

pub(crate) enum Segment {
    Literal(String),
    Parameter(Box<Parameter>),
}

pub(crate) struct Parameter {
    pub(crate) name: String,
    /// The name as an identifier, raw where it is a keyword.
    pub(crate) ident: Ident,
    /// The constant that holds its functions.
    pub(crate) constant: Ident,
    /// The variable that holds its value.
    pub(crate) local: Ident,
    pub(crate) ty: Type,
    /// Whether it takes all remaining segments.
    pub(crate) rest: bool,
    /// Whether the message has it as a field.
    pub(crate) is_field: bool,
}

impl Message {
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(parameter) => Some(&**parameter),
            Segment::Literal(_) => None,
        })
    }

    /// The type, with `<'_>` where the message borrows.
    pub(crate) fn ty(&self) -> TokenStream {
        let ident = silent(&self.ident);
        let (_, arguments, _) = self.generics.split_for_impl();
        if self.borrows { quote!(#ident<'_>) } else { quote!(#ident #arguments) }
    }

    /// The head of an `impl`: of a trait, as in `Message for`, or of nothing; for something, which is the message itself most often.
    pub(crate) fn implements(&self, contract: TokenStream, subject: impl ToTokens) -> TokenStream {
        let (parameters, arguments, bounds) = self.generics.split_for_impl();
        let bounds = bounds.map(|bounds| &bounds.predicates).into_iter();
        let is_generic = !self.generics.params.is_empty();
        let bounds = (is_generic || !self.of_one_thread.is_empty()).then(|| {
            let ident = silent(&self.ident);
            let this = if self.borrows { quote!(#ident<'__a>) } else { quote!(#ident #arguments) };
            let outlives = is_generic.then(|| quote!(+ 'static));
            // A bound under `for` is asked for where the message is used, and not here.
            quote!(where for<'__a> #this: ::core::marker::Send + ::core::marker::Sync #outlives, #(#bounds)*)
        });
        quote!(impl #parameters #contract #subject #bounds)
    }

    /// The hidden type that holds the parameters of an address.
    pub(crate) fn params(&self) -> Ident {
        format_ident!("__{}Params", self.ident, span = Span::call_site())
    }

    /// The hidden type of a pattern.
    pub(crate) fn pattern(&self) -> Ident {
        format_ident!("__{}Pattern", self.ident, span = Span::call_site())
    }

    /// Whether the value alone says where it goes.
    pub(crate) fn is_addressed_by_fields(&self) -> bool {
        self.parameters().all(|parameter| parameter.is_field)
    }

    /// The steps that write the channel, neighbouring literals joined: `literal` gets text with its separators.
    pub(crate) fn write_steps(
        &self,
        literal: impl Fn(&str) -> TokenStream,
        parameter: impl Fn(&Parameter) -> TokenStream,
    ) -> TokenStream {
        let mut steps = TokenStream::new();
        let mut text = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                text.push(':');
            }
            match segment {
                Segment::Literal(segment) => text.push_str(segment),
                Segment::Parameter(segment) => {
                    if !text.is_empty() {
                        steps.extend(literal(&text));
                        text.clear();
                    }
                    steps.extend(parameter(segment));
                }
            }
        }
        if !text.is_empty() {
            steps.extend(literal(&text));
        }
        steps
    }
}

impl Parameter {
    pub(crate) fn new(index: usize, name: &str, ty: Type, rest: bool, is_field: bool) -> Self {
        Self {
            name: name.to_owned(),
            ident: identifier(name),
            constant: format_ident!("__PARAMETER_{index}"),
            local: format_ident!("__parameter_{index}"),
            ty,
            rest,
            is_field,
        }
    }
}

/// The name as an identifier of the user's scope.
pub(crate) fn identifier(name: &str) -> Ident {
    match syn::parse_str::<Ident>(name) {
        // A keyword since the edition of 2024, which `syn` cannot know of.
        Ok(_) if name != "gen" => Ident::new(name, Span::call_site()),
        _ => Ident::new_raw(name, Span::call_site()),
    }
}
