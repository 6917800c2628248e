//! What a program shows of its messages: spans, the context of a trace, metrics.
//!
//! All three say templates, ids, sizes and outcomes, never a concrete channel, a namespace or a payload. What nobody observes costs
//! the check of a cached level.
//!
//! # Spans
//!
//! The target is `tidings` and the level DEBUG, so that a program which logs at INFO pays nothing: an OpenTelemetry layer wants a filter
//! such as `info,tidings=debug`. The fields are those of OpenTelemetry's semantic conventions for messaging.
//!
//! | span | `otel.name` | is |
//! |--|--|--|
//! | `publish` | `publish orders:<id>` | one message from encoding to the server's answer, or to its acknowledgement |
//! | `publish_batch` | `publish batch` | a batch as a whole, from its beginning on |
//! | `request` | `request quotes` | a request until it is answered |
//! | `process` | `process orders:<id>` | a handler's work on one message, with sending its answer |
//!
//! What goes wrong sets `error.type` and `otel.status_code`. A [`Subscription`](crate::Subscription) makes no spans: what it yields is handled
//! by the program.
//!
//! # The context of a trace
//!
//! With the feature `opentelemetry` a message's headers carry the context of the span that publishes it, as the process's propagator
//! (`opentelemetry::global::set_text_map_propagator`) writes it, and the span of its handler is a part of the same trace. Answers carry the
//! context of the handler. A `traceparent` that the program sets itself stays alone. Plain messages and those of
//! [`RedisToolkit`](crate::codec::RedisToolkit) have no place for headers and are sent as ever. Without the feature, `traceparent` is a
//! header like any other.
//!
//! # Metrics
//!
//! With the feature `metrics` these go to the recorder of the crate `metrics`. Install it before the bus connects.
//!
//! | name | kind | unit | labels |
//! |--|--|--|--|
//! | `tidings_published_messages_total` | counter | messages | `template`, `outcome` |
//! | `tidings_publish_duration_seconds` | histogram | seconds | `template` |
//! | `tidings_requests_total` | counter | requests and acknowledged publishes | `template`, `outcome` |
//! | `tidings_request_duration_seconds` | histogram | seconds | `template` |
//! | `tidings_handled_messages_total` | counter | messages | `handler`, `template`, `outcome` |
//! | `tidings_handling_duration_seconds` | histogram | seconds | `handler`, `template` |
//! | `tidings_unmatched_messages_total` | counter | messages of services | |
//! | `tidings_received_messages_total` | counter | messages of subscriptions | `template`, `outcome` |
//! | `tidings_lagged_messages_total` | counter | messages | `consumer`, and `template` of a subscription |
//! | `tidings_gaps_total` | counter | gaps | `consumer`, and `template` of a subscription |
//! | `tidings_reconnects_total` | counter | connections made anew | |
//! | `tidings_connections` | gauge | connections for subscriptions that are up | |
//!
//! The outcomes of handling are `handled`, `failed`, `panicked`, `timed_out`, `rejected`, `filtered`, `expired` and `dropped`; those of
//! publishing and of requests are `ok` or the kind of the error. `consumer` is `service` or `subscription`. Requests and answers are not among
//! the published messages, the messages of a batch have no duration, and what is dropped before it ended is not counted.

#[cfg_attr(not(feature = "metrics"), path = "observe/no_meters.rs")]
pub(crate) mod meters;
pub(crate) mod names;
pub(crate) mod outcome;
#[cfg_attr(not(feature = "opentelemetry"), path = "observe/no_trace_context.rs")]
pub(crate) mod trace_context;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::{Level, Span, field};

use crate::{
    bus::{handle::Bus, sending::Outgoing},
    codec::contract::Exchange,
    error::PublishError,
    message::delivery::Delivery,
    observe::{meters::Timer, outcome::Observed},
    route::entry::Route,
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

/// A span of an operation that sends. A field that is empty is recorded once it is known.
macro_rules! sending {
    ($name:expr, $operation:literal, $kind:literal, $bus:expr $(, $field:literal = $value:expr)*) => {
        tracing::debug_span!(
            target: TARGET,
            $name,
            "otel.kind" = $kind,
            "otel.status_code" = field::Empty,
            "error.type" = field::Empty,
            "messaging.system" = $bus.system(),
            "messaging.operation.name" = $operation,
            "messaging.operation.type" = "send",
            $($field = $value,)*
        )
    };
}

impl Observation {
    /// Publishes one message.
    #[inline]
    pub(crate) fn publish(bus: &Bus, template: &'static str) -> Option<Box<Self>> {
        if !may_observe(bus) {
            return None;
        }
        Self::of(bus.meters().publish(template), Self::publishing(bus, template))
    }

    /// Publishes one message, and waits until it is acknowledged.
    pub(crate) fn acknowledged(bus: &Bus, template: &'static str) -> Option<Box<Self>> {
        Self::of(bus.meters().request(template), Self::publishing(bus, template))
    }

    fn publishing(bus: &Bus, template: &'static str) -> Span {
        sending!(
            PUBLISH,
            "publish",
            "producer",
            bus,
            "otel.name" = field::display(format_args!("publish {template}")),
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = field::Empty,
            "messaging.message.conversation_id" = field::Empty
        )
    }

    /// Sends a request, and waits for its answer.
    pub(crate) fn request(bus: &Bus, template: &'static str) -> Option<Box<Self>> {
        let span = sending!(
            REQUEST,
            "request",
            "client",
            bus,
            "otel.name" = field::display(format_args!("request {template}")),
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = field::Empty,
            "messaging.message.conversation_id" = field::Empty
        );
        Self::of(bus.meters().request(template), span)
    }

    /// Publishes many messages together.
    pub(crate) fn batch(bus: &Bus) -> Option<Box<Self>> {
        let span = sending!(
            "publish_batch",
            "publish",
            "producer",
            bus,
            "otel.name" = "publish batch",
            "messaging.batch.message_count" = field::Empty
        );
        Self::of(None, span)
    }

    /// Handles one message: a part of the trace that its headers name.
    #[inline]
    pub(crate) fn process(bus: &Bus, route: &Route, delivery: &Delivery) -> Option<Box<Self>> {
        // This is all that most programs pay for each message.
        if may_observe(bus) { Self::processing(bus, route, delivery) } else { None }
    }

    fn processing(bus: &Bus, route: &Route, delivery: &Delivery) -> Option<Box<Self>> {
        let template = route.template().text();
        let span = tracing::debug_span!(
            target: TARGET,
            parent: None,
            "process",
            "otel.name" = field::display(format_args!("process {template}")),
            "otel.kind" = "consumer",
            "otel.status_code" = field::Empty,
            "error.type" = field::Empty,
            "messaging.system" = bus.system(),
            "messaging.operation.name" = "process",
            "messaging.operation.type" = "process",
            "messaging.destination.template" = template,
            "messaging.message.id" = field::Empty,
            "messaging.message.body.size" = delivery.payload().len(),
            "messaging.message.conversation_id" = field::Empty,
            "tidings.handler" = route.handler(),
            "tidings.outcome" = field::Empty,
        );
        let observation = Self::of(bus.meters().handling(route.handler(), template), span)?;
        if !observation.span.is_disabled() {
            observation.read(bus, route, delivery);
        }
        Some(observation)
    }

    fn of(timer: Option<Timer>, span: Span) -> Option<Box<Self>> {
        (timer.is_some() || !span.is_disabled()).then(|| Box::new(Self { span, timer }))
    }

    /// Reads the metadata before the handler does: its span must know where it belongs before it begins.
    fn read(&self, bus: &Bus, route: &Route, delivery: &Delivery) {
        let Some(inbound) = route.inbound(bus.config().format, delivery.payload()) else { return };
        trace_context::adopt(&self.span, &inbound.headers);
        if let Some(id) = inbound.id.as_deref() {
            self.span.record("messaging.message.id", id);
        }
        if let Some(id) = inbound.correlation_id.as_deref() {
            self.span.record("messaging.message.conversation_id", id);
        }
    }

    /// Encodes within the span, which from then on is the message's.
    pub(crate) fn encode(
        self: Box<Self>,
        encode: impl FnOnce() -> Result<Outgoing, PublishError>,
    ) -> Result<Outgoing, PublishError> {
        let encoded = self.span.in_scope(encode);
        match encoded {
            Ok(outgoing) => Ok(Outgoing { observation: Some(self), ..outgoing }),
            Err(error) => {
                self.ended(&Err::<(), _>(&error));
                Err(error)
            }
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

    fn ended<T: Observed>(&self, output: &T) {
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

/// Whether somebody may observe what the bus does.
#[inline]
fn may_observe(bus: &Bus) -> bool {
    tracing::level_enabled!(Level::DEBUG) || bus.meters().are_on()
}

/// Tells the span of a publish or request what its message has become.
pub(crate) fn encoded(id: &str, size: usize, exchange: Option<&Exchange<'_>>) {
    if !tracing::level_enabled!(Level::DEBUG) {
        return;
    }
    let span = Span::current();
    // An answer is encoded within the span of its handler, and a batch has many messages.
    let takes = |metadata: &tracing::Metadata<'_>| {
        metadata.target() == TARGET && (metadata.name() == PUBLISH || metadata.name() == REQUEST)
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
