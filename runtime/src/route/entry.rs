//! One handler, as its router knows it.

use std::time::Duration;

use crate::{
    channel::template::{Segment, Template},
    codec::contract::ReadMetadata,
    handler::layer::HandlerLayer,
};

/// One handler, as its router knows it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    handler: &'static str,
    message: &'static str,
    template: Template,
    options: HandlerOptions,
    /// Reads the metadata of a payload of the handler's message, whatever its value is.
    metadata: Option<ReadMetadata>,
    /// Makes the layer around the handler.
    layer: Option<fn() -> HandlerLayer>,
}

impl Route {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        handler: &'static str,
        message: &'static str,
        template: Template,
        options: HandlerOptions,
    ) -> Self {
        Self { handler, message, template, options, metadata: None, layer: None }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn metadata(mut self, metadata: ReadMetadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// How the metadata of a payload is read apart from the message.
    pub(crate) fn read_metadata(&self) -> ReadMetadata {
        self.metadata.unwrap_or(|_, _| None)
    }

    /// The handler's name.
    #[must_use]
    pub const fn handler(&self) -> &'static str {
        self.handler
    }

    /// The name of the message's type.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }

    /// The channel.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &HandlerOptions {
        &self.options
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn layered(mut self, layer: fn() -> HandlerLayer) -> Self {
        self.layer = Some(layer);
        self
    }

    #[cfg(feature = "tower")]
    pub(crate) fn layer(&self) -> Option<fn() -> HandlerLayer> {
        self.layer
    }

    /// The name to subscribe to, and whether it is a pattern.
    pub(crate) fn subscription(&self) -> (String, bool) {
        let mut name = String::new();
        let mut pattern = false;
        for segment in self.template.segments() {
            if !name.is_empty() {
                name.push(':');
            }
            if let Segment::Literal { text, .. } = segment {
                name.push_str(text);
            } else {
                name.push('*');
                pattern = true;
            }
        }
        (name, pattern)
    }
}

/// The options of a handler, as `#[handler(…)]` writes them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// How many messages the handler works on at once. Messages of one channel are never worked on at once. Default 64.
    pub concurrency: usize,
    /// How long one message may take, once its handler waits. Default: as long as it wants.
    pub timeout: Option<Duration>,
    /// Whether the handler takes what no other handler of the router takes.
    pub fallback: bool,
    /// Whether each call is a task of its own: for handlers that compute for long or block the thread.
    pub spawn: bool,
}

impl HandlerOptions {
    /// The defaults.
    pub const DEFAULT: Self = Self { concurrency: 64, timeout: None, fallback: false, spawn: false };

    #[doc(hidden)]
    #[must_use]
    pub const fn concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn timeout_nanos(mut self, nanos: u64) -> Self {
        self.timeout = Some(Duration::from_nanos(nanos));
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn fallback(mut self) -> Self {
        self.fallback = true;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn spawn(mut self) -> Self {
        self.spawn = true;
        self
    }
}
