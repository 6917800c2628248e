//! The derives fail no lint, and allow none of the compiler's: a program may forbid whatever of these serde's derives pass.

#![deny(warnings, clippy::all, clippy::pedantic)]
#![forbid(
    dead_code,
    deprecated_in_future,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    let_underscore_drop,
    mismatched_lifetime_syntaxes,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    non_local_definitions,
    non_snake_case,
    private_bounds,
    private_interfaces,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_code,
    unreachable_patterns,
    unreachable_pub,
    unsafe_code,
    unused_braces,
    unused_imports,
    unused_lifetimes,
    unused_macros,
    unused_must_use,
    unused_mut,
    unused_parens,
    unused_results,
    unused_variables,
    variant_size_differences
)]

use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

/// Types that are less visible than what names them.
mod inner {
    use serde::{Deserialize, Serialize};
    use tidings::{ChannelParam, Message};

    #[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug)]
    enum Region {
        Eu,
        Us,
    }

    #[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug)]
    struct Number(u64);

    #[derive(Message, Serialize, Deserialize, Debug)]
    #[channel("inner:<region>:<other: Region>:<number>")]
    pub(super) struct Placed {
        region: Region,
        number: Number,
        note: String,
    }

    pub(super) fn placed() -> Placed {
        Placed { region: Region::Us, number: Number(7), note: String::new() }
    }

    pub(super) fn is_european(placed: &Placed) -> bool {
        matches!(placed.region, Region::Eu) && placed.number.0 == 7 && placed.note.is_empty()
    }
}

/// A parameter.
#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug)]
pub enum Region {
    /// Europe.
    Eu,
    /// It is no part of it any more.
    #[deprecated]
    Uk,
}

/// A parameter that nobody should use any more.
#[deprecated]
#[derive(ChannelParam, Serialize, Deserialize, Clone, Debug)]
pub struct Sku(pub String);

/// A message.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("orders:<region>:<id>:<room: u8>:<path..>")]
#[message(name = "order.placed", version = 2, codec = tidings::codec::CloudEvents)]
pub struct OrderPlaced {
    /// A field.
    pub region: Region,
    /// A field.
    #[deprecated]
    pub id: u64,
    /// A field.
    pub path: Vec<String>,
}

/// A message with as many parameters as nobody needs.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("<a: u8>:<b: u8>:<c: u8>:<d: u8>:<e: u8>:<f: u8>:<g: u8>:<h: u8>")]
pub struct Deep {
    /// A field.
    pub note: String,
}

/// A message that nobody should use any more.
#[deprecated]
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("shipped:<id>")]
pub struct OrderShipped {
    /// A field.
    pub id: u64,
    /// A field.
    pub carrier: String,
}

/// A message that borrows.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("views:<id>")]
#[message(format = "plain")]
pub struct OrderView<'a> {
    /// A field.
    pub id: u64,
    /// A field.
    pub customer: &'a str,
}

/// An enum.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("chat:<room: String>:<r#type: u8>")]
pub enum ChatEvent {
    /// A variant.
    Join {
        /// A field.
        user: String,
    },
}

/// A request.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("quotes:<sku>")]
#[reply(Region, error = Region)]
pub struct QuoteRequest {
    /// A field.
    pub sku: String,
}

/// A request to an address, which borrows.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("ask:<shop: String>")]
#[reply(Region)]
pub struct Ask<'a> {
    /// A field.
    pub word: &'a str,
}

#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("local:<id>:<kind: u8>")]
pub(crate) struct Local {
    id: u64,
}

fn main() {
    assert!(!inner::is_european(&inner::placed()));
    assert_eq!(Local { id: 7 }.id, 7);
}
