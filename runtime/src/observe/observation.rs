//! Operations that somebody observes: their spans and timers.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tracing::{Level, Span, field};

use crate::{
    codec::{contract::Exchange, headers::Headers},
    observe::{
        label::{Label, Observed},
        meters::{Meters, Timer},
        trace_context,
    },
};

/// One operation that somebody observes. Kept in a box, because mostly it is absent.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Disabled where only a recorder of metrics observes.
    span: Span,
    /// Absent where only a subscriber of spans observes.
    timer: Option<Timer>,
}

/// What a filter names to let the spans through. They are of the level DEBUG.
const TARGET: &str = "tidings";

/// The names of the spans whose operation encodes one message, and so takes its id.
const PUBLISH: &str = "publish";
const REQUEST: &str = "request";
const ENQUEUE: &str = "enqueue";

/// A span of an operation that sends. A field that is empty is recorded once it is known.
macro_rules! sending {
    ($name:expr, $operation:literal, $kind:literal, $observer:expr $(, $field:literal = $value:expr)*) => {
        tracing::debug_span!(
            target: TARGET,
            $name,
            "otel.kind" = $kind,
            "otel.status_code" = field::Empty,
            "error.type" = field::Empty,
            "messaging.system" = $observer.system,
            "messaging.operation.name" = $operation,
            "messaging.operation.type" = "send",
            $($field = $value,)*
        )
    };
}

/// Who observes what a bus does: the bus holds it, and asks it for each operation.
#[derive(Debug)]
pub(crate) struct Observer {
    meters: Meters,
    /// What carries the messages, as spans name it.
    system: &'static str,
}

/// What a message says of itself, as far as a span wants to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) headers: &'a Headers,
}

impl Observer {
    pub(crate) fn new(system: &'static str) -> Self {
        Self { meters: Meters::new(), system }
    }

    /// Publishes one message.
    #[inline]
    pub(crate) fn publish(&self, template: &'static str) -> Option<Box<Observation>> {
        if !self.may_observe() {
            return None;
        }
        Observation::of(self.meters.publish(template), self.publishing(template))
    }

    /// Publishes one message, and waits until it is acknowledged.
    pub(crate) fn acknowledged(&self, template: &'static str) -> Option<Box<Observation>> {
        Observation::of(self.meters.request(template), self.publishing(template))
    }

    /// Sends a request, and waits for its answer.
    pub(crate) fn request(&self, template: &'static str) -> Option<Box<Observation>> {
        if !self.may_observe() {
            return None;
        }
        let span = sending!(
            REQUEST,
            "request",
            "client",
            self,
            "otel.name" = field::display(format_args!("request {template}")),
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = field::Empty,
            "messaging.message.conversation_id" = field::Empty
        );
        Observation::of(self.meters.request(template), span)
    }

    /// Enqueues one task.
    pub(crate) fn enqueue(&self, template: &'static str) -> Option<Box<Observation>> {
        if !self.may_observe() {
            return None;
        }
        let span = sending!(
            ENQUEUE,
            "enqueue",
            "producer",
            self,
            "otel.name" = field::display(format_args!("enqueue {template}")),
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = field::Empty
        );
        Observation::of(self.meters.publish(template), span)
    }

    /// Publishes many messages together.
    pub(crate) fn batch(&self) -> Option<Box<Observation>> {
        let span = sending!(
            "publish_batch",
            "publish",
            "producer",
            self,
            "otel.name" = "publish batch",
            "messaging.batch.message_count" = field::Empty
        );
        Observation::of(None, span)
    }

    /// Whether anybody records metrics.
    pub(crate) fn is_measured(&self) -> bool {
        self.meters.are_on()
    }

    /// How many tasks a queue has in each state, and how long the oldest of those that are due has waited.
    pub(crate) fn queue(&self, template: &'static str, states: &[(&'static str, u64)], oldest: Option<Duration>) {
        states.iter().for_each(|&(state, count)| self.meters.tasks(template, state, count));
        self.meters.oldest(template, oldest.unwrap_or_default());
    }

    /// Counts a message that was published with others.
    pub(crate) fn published(&self, template: &'static str, label: Label) {
        self.meters.published(template, label);
    }

    /// Handles one message of so many bytes: a part of the trace that its headers name. What it says of itself is asked only where a
    /// span wants to know.
    #[inline]
    pub(crate) fn process<'a>(
        &self,
        names: impl FnOnce() -> (&'static str, &'static str),
        size: usize,
        about: impl FnOnce() -> About<'a>,
    ) -> Option<Box<Observation>> {
        // This is all that most programs pay for each message.
        if !self.may_observe() {
            return None;
        }
        let (handler, template) = names();
        let observation = self.processing(handler, template, size)?;
        if !observation.span.is_disabled() {
            observation.belongs_to(&about());
        }
        Some(observation)
    }

    fn processing(&self, handler: &'static str, template: &'static str, size: usize) -> Option<Box<Observation>> {
        let span = tracing::debug_span!(
            target: TARGET,
            parent: None,
            "process",
            "otel.name" = field::display(format_args!("process {template}")),
            "otel.kind" = "consumer",
            "otel.status_code" = field::Empty,
            "error.type" = field::Empty,
            "messaging.system" = self.system,
            "messaging.operation.name" = "process",
            "messaging.operation.type" = "process",
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = size,
            "messaging.message.conversation_id" = field::Empty,
            "tidings.handler" = handler,
            "tidings.outcome" = field::Empty,
        );
        Observation::of(self.meters.handling(handler, template), span)
    }

    fn publishing(&self, template: &'static str) -> Span {
        sending!(
            PUBLISH,
            "publish",
            "producer",
            self,
            "otel.name" = field::display(format_args!("publish {template}")),
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = field::Empty,
            "messaging.message.conversation_id" = field::Empty
        )
    }

    /// Whether somebody may observe what the bus does.
    #[inline]
    fn may_observe(&self) -> bool {
        tracing::level_enabled!(Level::DEBUG) || self.meters.are_on()
    }
}

impl Observation {
    fn of(timer: Option<Timer>, span: Span) -> Option<Box<Self>> {
        (timer.is_some() || !span.is_disabled()).then(|| Box::new(Self { span, timer }))
    }

    /// Puts the span where the message says: before it begins.
    fn belongs_to(&self, about: &About<'_>) {
        trace_context::adopt(&self.span, about.headers);
        if let Some(id) = about.id {
            self.span.record("messaging.message.id", id);
        }
        if let Some(id) = about.correlation_id {
            self.span.record("messaging.message.conversation_id", id);
        }
    }

    /// Does something within the span.
    pub(crate) fn scope<T>(observation: Option<&Self>, work: impl FnOnce() -> T) -> T {
        match observation {
            Some(observation) => observation.span.in_scope(work),
            None => work(),
        }
    }

    pub(crate) fn counted(&self, messages: usize) {
        self.span.record("messaging.batch.message_count", messages);
    }

    /// It ended like this.
    pub(crate) fn ended<T: Observed>(&self, output: &T) {
        let label = output.label();
        if let Some(timer) = &self.timer {
            timer.ended(label);
        }
        self.span.record("tidings.outcome", label.text);
        if label.is_error {
            self.span.record("error.type", label.text);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// Tells the span of a publish or request what its message has become.
pub(crate) fn encoded(id: &str, size: usize, exchange: Option<&Exchange<'_>>) {
    if !tracing::level_enabled!(Level::DEBUG) {
        return;
    }
    let span = Span::current();
    // An answer is encoded within the span of its handler, and a batch has many messages.
    let takes = |metadata: &tracing::Metadata<'_>| {
        metadata.target() == TARGET && [PUBLISH, REQUEST, ENQUEUE].contains(&metadata.name())
    };
    if span.metadata().is_some_and(takes) {
        span.record("messaging.message.id", id);
        span.record("messaging.message.body.size", size);
        if let Some(exchange) = exchange {
            span.record("messaging.message.conversation_id", exchange.correlation_id);
        }
    }
}

pin_project! {
    /// An operation within its span, if it has one.
    pub(crate) struct Watched<F> {
        #[pin]
        operation: F,
        observation: Option<Box<Observation>>,
    }
}

/// Runs an operation within its span, and tells the span how it ended.
pub(crate) fn watch<F>(observation: Option<Box<Observation>>, operation: F) -> Watched<F> {
    Watched { operation, observation }
}

impl<F: Future<Output: Observed>> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let watched = self.project();
        let Some(observation) = watched.observation else { return watched.operation.poll(context) };
        let polled = observation.span.in_scope(|| watched.operation.poll(context));
        if let Poll::Ready(output) = &polled {
            observation.ended(output);
            // The span ends with its operation, not when the future is dropped.
            *watched.observation = None;
        }
        polled
    }
}

pin_project! {
    /// An operation within a span that goes on after it.
    pub(crate) struct Entered<F> {
        #[pin]
        operation: F,
        observation: Option<Box<Observation>>,
    }
}

/// Runs a part of an observed operation within its span, and gives the observation back for the rest.
pub(crate) fn enter<F>(observation: Box<Observation>, operation: F) -> Entered<F> {
    Entered { operation, observation: Some(observation) }
}

impl<F: Future> Future for Entered<F> {
    type Output = (F::Output, Option<Box<Observation>>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let entered = self.project();
        let operation = entered.operation;
        Observation::scope(entered.observation.as_deref(), || operation.poll(context))
            .map(|output| (output, entered.observation.take()))
    }
}
