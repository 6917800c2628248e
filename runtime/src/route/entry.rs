//! One handler, as its router knows it.

use std::{fmt, time::Duration};

use crate::{
    channel::template::{Segment, Template},
    message::facts::Facts,
    route::order::{Order, OrderKey},
};

/// One handler, as its router knows it.
#[derive(Clone, Copy)]
pub struct Route {
    handler: &'static str,
    router: Option<&'static str>,
    message: &'static str,
    facts: Facts,
    options: HandlerOptions,
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Route")
            .field("handler", &self.handler)
            .field("message", &self.message)
            .field("template", &self.template())
            .finish_non_exhaustive()
    }
}

impl Route {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(handler: &'static str, message: &'static str, facts: Facts, options: HandlerOptions) -> Self {
        Self { handler, router: None, message, facts, options }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn of_router(mut self, router: &'static str) -> Self {
        self.router = Some(router);
        self
    }

    /// The handler's name.
    #[must_use]
    pub const fn handler(&self) -> &'static str {
        self.handler
    }

    /// The name of the router's type, where the handler is a method of one.
    #[must_use]
    pub const fn router(&self) -> Option<&'static str> {
        self.router
    }

    /// The name of the message's type.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }

    /// The channel.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.facts.template()
    }

    /// What is known of the message.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &HandlerOptions {
        &self.options
    }

    /// What messages must have in common to be handled one after the other: what the handler chose, or else its message's kind.
    #[must_use]
    pub const fn order(&self) -> Order {
        match self.options.order {
            Some(order) => order,
            None => Order::of_kind(self.facts.kind()),
        }
    }

    pub(crate) const fn order_key(&self) -> OrderKey {
        self.order().key(self.facts.template())
    }

    /// The name to subscribe to, and whether it is a pattern.
    pub(crate) fn subscription(&self) -> (String, bool) {
        let mut name = String::new();
        let mut pattern = false;
        for segment in self.template().segments() {
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
    /// How many messages the handler works on at once, those with one order key never. Default 64.
    pub concurrency: usize,
    /// What messages must have in common to be handled one after the other. Default: as the message's kind says, see
    /// [`Route::order`].
    pub order: Option<Order>,
    /// How long one message may take, once its handler waits. Default: as long as it wants.
    pub timeout: Option<Duration>,
    /// Whether a call that has begun goes on when its requester has stopped waiting. Default: it is cancelled at its next await.
    pub run_to_end: bool,
    /// Whether the handler takes what no other handler of the router takes.
    pub fallback: bool,
    /// Whether each call is a tokio task of its own: for handlers that compute for long or block the thread.
    pub spawn: bool,
}

impl HandlerOptions {
    /// The defaults.
    pub const DEFAULT: Self =
        Self { concurrency: 64, order: None, timeout: None, run_to_end: false, fallback: false, spawn: false };

    #[doc(hidden)]
    #[must_use]
    pub const fn concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
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
    pub const fn run_to_end(mut self) -> Self {
        self.run_to_end = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_set_leaves_the_others_alone() {
        let options = |options: HandlerOptions| (options.concurrency, options.timeout, options.fallback, options.spawn);
        let default = HandlerOptions::DEFAULT;
        assert_eq!(options(default), (64, None, false, false));
        assert_eq!(options(default.concurrency(3)), (3, None, false, false));
        assert_eq!(options(default.timeout_nanos(5)), (64, Some(Duration::from_nanos(5)), false, false));
        assert_eq!(options(default.fallback()), (64, None, true, false));
        assert_eq!(options(default.spawn()), (64, None, false, true));
    }
}
