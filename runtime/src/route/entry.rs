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
    #[inline]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The options.
    #[must_use]
    #[inline]
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
    /// Whether it is said that one message may take as long as it wants, with `timeout = "none"`: a handler of a queue must say one of the two.
    pub unlimited: bool,
    /// Whether a call that has begun goes on when its requester has stopped waiting. Default: it is cancelled at its next await.
    pub run_to_end: bool,
    /// Whether the handler takes what no other handler of the router takes.
    pub fallback: bool,
    /// Whether each call is a tokio task of its own: for handlers that compute for long or block the thread.
    pub spawn: bool,
    /// How tasks of a queue are worked on.
    pub work: WorkOptions,
}

/// How a handler works on tasks of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkOptions {
    /// So many attempts may fail after the first one. Default 3.
    pub retries: u32,
    /// The first pause between two attempts, and the longest: they double, and each is drawn anew from zero to that. Default 1 s to 10 minutes.
    pub backoff: (Duration, Duration),
    /// So many instances may die while they have the task; then it is a dead letter. Default 3.
    pub crashes: u32,
    /// What becomes of a second delivery. `None` where the queue delivers at most once.
    pub redelivery: Option<Redelivery>,
}

/// What becomes of the second delivery of a task, after a crash or a lost lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redelivery {
    /// It runs again: running twice does what running once does.
    Idempotent,
    /// It does not run again: one that was done is done, and one that had begun is a dead letter.
    Once {
        /// For so long after the end it is known that the task was done.
        window: Duration,
        /// Whether a field of the message says what is the same, and not the task's id.
        by_field: bool,
    },
}

impl WorkOptions {
    /// The defaults.
    pub const DEFAULT: Self =
        Self { retries: 3, backoff: (Duration::from_secs(1), Duration::from_secs(600)), crashes: 3, redelivery: None };
}

impl HandlerOptions {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        concurrency: 64,
        order: None,
        timeout: None,
        unlimited: false,
        run_to_end: false,
        fallback: false,
        spawn: false,
        work: WorkOptions::DEFAULT,
    };

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
    pub const fn unlimited(mut self) -> Self {
        self.unlimited = true;
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
    pub const fn retries(mut self, retries: u32) -> Self {
        self.work.retries = retries;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn backoff_nanos(mut self, first: u64, longest: u64) -> Self {
        self.work.backoff = (Duration::from_nanos(first), Duration::from_nanos(longest));
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn crashes(mut self, crashes: u32) -> Self {
        self.work.crashes = crashes;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.work.redelivery = Some(Redelivery::Idempotent);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn once(mut self, window_nanos: u64, by_field: bool) -> Self {
        self.work.redelivery = Some(Redelivery::Once { window: Duration::from_nanos(window_nanos), by_field });
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
    fn a_route_is_shown_by_its_names() {
        let facts = Facts::stub(Template::new("orders", vec![Segment::literal("orders")].leak()));
        let shown = format!("{:?}", Route::new("take", "Order", facts, HandlerOptions::DEFAULT));
        assert_eq!(shown, r#"Route { handler: "take", message: "Order", template: "orders", .. }"#);
    }

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
