//! What is known of a message without its type.

use std::fmt;

use crate::{
    channel::template::Template,
    codec::contract::{Codec, ReadMetadata},
    message::contract::Message,
};

/// What a message promises to whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// It reaches everybody who is there, at most once.
    Broadcast,
    /// It is answered, and handled at most once, by one instance of one service.
    Request,
}

/// What is known of a message without its type: its names, its channel, and what it promises. A router reads it of each of its handlers.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Kind, Message, Router, router};
///
/// /// An order was placed.
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("orders:<id>")]
/// #[message(name = "orders.placed", version = 2)]
/// struct OrderPlaced { id: u64 }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[channel("quotes:<sku>")]
/// #[reply(u64)]
/// struct QuoteRequest { sku: String }
///
/// struct Shop;
///
/// #[router]
/// impl Shop {
///     #[handler]
///     async fn placed(&self, _order: OrderPlaced) {}
///
///     #[handler]
///     async fn quote(&self, request: QuoteRequest) -> u64 {
///         request.sku.len() as u64
///     }
/// }
///
/// let [placed, quote] = [Shop::ROUTES[0].facts(), Shop::ROUTES[1].facts()];
/// assert_eq!((placed.name(), placed.version(), placed.kind()), ("orders.placed", 2, Kind::Broadcast));
/// assert_eq!((placed.description(), placed.template().text()), ("An order was placed.", "orders:<id>"));
/// assert_eq!((quote.name(), quote.version(), quote.kind()), ("QuoteRequest", 1, Kind::Request));
/// ```
#[derive(Clone, Copy)]
pub struct Facts {
    name: &'static str,
    version: u32,
    description: &'static str,
    kind: Kind,
    template: Template,
    /// Reads the metadata of a payload, whatever its value is.
    metadata: ReadMetadata,
}

impl fmt::Debug for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, kind, template, .. } = self;
        formatter
            .debug_struct("Facts")
            .field("name", name)
            .field("version", version)
            .field("kind", kind)
            .field("template", template)
            .finish_non_exhaustive()
    }
}

impl Facts {
    pub(crate) const fn of<M: Message>() -> Self {
        Self {
            name: M::NAME,
            version: M::VERSION,
            description: M::DESCRIPTION,
            kind: M::KIND,
            template: M::TEMPLATE,
            metadata: <M::Codec as Codec>::metadata,
        }
    }

    /// Of a broadcast without a type, for a stub.
    pub(crate) const fn stub(template: Template) -> Self {
        Self { name: "", version: 1, description: "", kind: Kind::Broadcast, template, metadata: |_, _| None }
    }

    /// The same on another channel: how a benchmark has ten thousand routes without ten thousand types.
    #[doc(hidden)]
    #[must_use]
    pub const fn on(self, template: Template) -> Self {
        Self { template, ..self }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The version on the wire.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The doc comment.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// What it promises.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The channel.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    /// How the metadata of a payload is read apart from the message.
    pub(crate) const fn read_metadata(&self) -> ReadMetadata {
        self.metadata
    }
}
