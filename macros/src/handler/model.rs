//! Handlers and routers that have passed every check.

use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Expr, Generics, Ident, LitStr, Path, Type, Visibility};

pub(crate) struct Handler {
    /// What else is written on the function, and holds for the item that stands for it: `#[cfg(…)]`, levels of lints, `#[deprecated]`.
    pub(crate) on_item: Vec<Attribute>,
    /// The same for code that uses the function.
    pub(crate) on_uses: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    /// The message's pattern, as references can bind it.
    pub(crate) pattern: TokenStream,
    /// The names that the pattern binds.
    pub(crate) bindings: Vec<Ident>,
    pub(crate) message: Type,
    /// Whether the message borrows from its payload: its type has a lifetime, as in `OrderView<'_>`.
    pub(crate) borrows: bool,
    /// The types behind the message.
    pub(crate) arguments: Vec<Type>,
    pub(crate) output: Output,
    /// Whether it takes `&self`.
    pub(crate) has_receiver: bool,
    pub(crate) options: Options,
}

/// What a handler returns.
pub(crate) enum Output {
    Nothing,
    /// A type: its first and its last token.
    Type(Span, Span),
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) concurrency: Option<u64>,
    pub(crate) order: Option<Order>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) run_to_end: bool,
    pub(crate) filter: Option<TokenStream>,
    pub(crate) fallback: bool,
    pub(crate) spawn: bool,
    pub(crate) layer: Option<TokenStream>,
    pub(crate) retries: Option<u64>,
    /// The first pause and the longest.
    pub(crate) backoff_nanos: Option<(u64, u64)>,
    pub(crate) crashes: Option<u64>,
    pub(crate) redelivery: Option<Redelivery>,
    /// Those that were given and fit only some kinds of messages: the macro does not know the message's.
    pub(crate) of_some_kinds: Vec<Ident>,
}

pub(crate) enum Timeout {
    /// It is said that there is none.
    None,
    Nanos(u64),
}

/// What becomes of the second delivery of a task.
pub(crate) enum Redelivery {
    Idempotent,
    Once(Once),
}

pub(crate) struct Once {
    /// The field that says which tasks are the same; otherwise the id does.
    pub(crate) field: Option<Ident>,
    pub(crate) window_nanos: u64,
    /// Where the window is to be written.
    pub(crate) span: Span,
}

pub(crate) enum Order {
    Channel,
    None,
    /// A parameter of the message's template; whether it has it, the compiler proves.
    Parameter(LitStr),
}

pub(crate) struct Router {
    /// As a handler's.
    pub(crate) on_uses: Vec<Attribute>,
    pub(crate) generics: Generics,
    pub(crate) self_type: Type,
    pub(crate) handlers: Vec<Handler>,
}

pub(crate) struct Routes {
    pub(crate) handlers: Vec<Path>,
}

/// Routers that are served as one.
pub(crate) struct Routers {
    pub(crate) members: Vec<Expr>,
}
