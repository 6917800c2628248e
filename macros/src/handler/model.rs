//! Handlers and routers that have passed every check.

use proc_macro2::TokenStream;
use syn::{Attribute, Expr, Generics, Ident, LitStr, Path, Type, Visibility};

pub(crate) struct Handler {
    /// The `#[cfg(…)]` attributes: what is generated exists where the function does.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    /// The message's pattern, as references can bind it.
    pub(crate) pattern: TokenStream,
    pub(crate) message: Type,
    /// Whether the message borrows from its payload: its type has a lifetime, as in `OrderView<'_>`.
    pub(crate) borrows: bool,
    /// The types behind the message.
    pub(crate) arguments: Vec<Type>,
    /// What it returns, where that can be written down.
    pub(crate) output: Option<TokenStream>,
    /// Whether it takes `&self`.
    pub(crate) has_receiver: bool,
    pub(crate) options: Options,
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) concurrency: Option<u64>,
    pub(crate) order: Option<Order>,
    pub(crate) timeout_nanos: Option<u64>,
    pub(crate) run_to_end: bool,
    pub(crate) filter: Option<Expr>,
    pub(crate) fallback: bool,
    pub(crate) spawn: bool,
    pub(crate) layer: Option<Expr>,
}

pub(crate) enum Order {
    Channel,
    None,
    /// A parameter of the message's template; whether it has it, the compiler proves.
    Parameter(LitStr),
}

pub(crate) struct Router {
    pub(crate) generics: Generics,
    pub(crate) self_type: Type,
    pub(crate) handlers: Vec<Handler>,
}

pub(crate) struct Routes {
    pub(crate) handlers: Vec<Path>,
}
