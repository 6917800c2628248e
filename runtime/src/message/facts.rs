//! What is known of a message without its type.

use std::{fmt, time::Duration};

use crate::{
    channel::template::Template,
    codec::contract::{Codec, ReadMetadata},
    message::contract::Message,
    transport::durable::{course::ResultBounds, look::DeadLetterBounds},
};

/// What a message promises to whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// It reaches everybody who is there, at most once.
    Broadcast,
    /// It is answered, and handled at most once, by one instance of one service.
    Request,
    /// A task of a queue: one instance works on it, at least once, and it is not lost.
    Queue,
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
    queue: Option<QueueFacts>,
}

/// What a queue promises beside keeping its tasks, as `#[queue(…)]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueFacts {
    /// Which of its parts is served first.
    pub turns: Turns,
    /// For so long a task belongs to an instance that does not renew its lease. Default 30 s.
    pub lease: Duration,
    /// Whether some parameter can have any value, so that it is said where the queue is served which values are.
    pub bound: bool,
    /// Whether a task is done when it is taken, so that a crash loses it and nothing runs it twice.
    pub at_most_once: bool,
    /// So many tasks may wait. Default: as many as come.
    pub max_length: Option<u64>,
    /// Bytes of an encoded task. Default 256 KiB.
    pub payload_limit: usize,
    /// What dead letters are kept.
    pub dead_letters: DeadLetterBounds,
    /// What results of its tasks are kept. Default: none.
    pub results: Option<ResultBounds>,
}

/// Which part of a queue is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turns {
    /// One after the other.
    Equal,
    /// The values of this parameter in their order: nothing of a later one while there is something of an earlier one.
    Strict(&'static str),
    /// The values of this parameter by these weights, in their order.
    Weighted(&'static str, &'static [u32]),
}

impl QueueFacts {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        turns: Turns::Equal,
        lease: Duration::from_secs(30),
        bound: false,
        at_most_once: false,
        max_length: None,
        payload_limit: 256 * 1024,
        dead_letters: DeadLetterBounds::DEFAULT,
        results: None,
    };

    #[doc(hidden)]
    #[must_use]
    pub const fn dead_letters(mut self, bounds: DeadLetterBounds) -> Self {
        self.dead_letters = bounds;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn results(mut self, results: ResultBounds) -> Self {
        self.results = Some(results);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn turns(mut self, turns: Turns) -> Self {
        self.turns = turns;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn lease_nanos(mut self, nanos: u64) -> Self {
        self.lease = Duration::from_nanos(nanos);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn bound(mut self) -> Self {
        self.bound = true;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn max_length(mut self, max_length: u64) -> Self {
        self.max_length = Some(max_length);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn payload_limit(mut self, payload_limit: usize) -> Self {
        self.payload_limit = payload_limit;
        self
    }
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
            queue: M::QUEUE,
        }
    }

    /// Of a broadcast without a type, for a stub.
    pub(crate) const fn stub(template: Template) -> Self {
        Self {
            name: "",
            version: 1,
            description: "",
            kind: Kind::Broadcast,
            template,
            metadata: |_, _| None,
            queue: None,
        }
    }

    /// The same of another kind.
    #[cfg(test)]
    pub(crate) const fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
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
    #[inline]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The channel.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    /// What the queue promises, where the message is a task of one.
    #[must_use]
    pub const fn queue(&self) -> Option<QueueFacts> {
        self.queue
    }

    /// How the metadata of a payload is read apart from the message.
    pub(crate) const fn read_metadata(&self) -> ReadMetadata {
        self.metadata
    }
}
