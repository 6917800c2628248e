//! The context of a trace in the headers of a message, as the process's propagator writes it: [W3C trace
//! context](https://www.w3.org/TR/trace-context/), for one.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::codec::headers::Headers;

/// Puts a span where the headers of its message say. It must not have been entered yet.
pub(crate) fn adopt(span: &Span, headers: &Headers) {
    if headers.is_empty() {
        return;
    }
    let context = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &ReceivedHeaders(headers))
    });
    // Without a layer for OpenTelemetry there is nothing to be a part of.
    let _ = span.set_parent(context);
}

/// The headers with the context of the current span, if there is one. What the program has set itself stays, and its `traceparent` leaves
/// no room for another.
pub(crate) fn carried(headers: &Headers) -> Option<Headers> {
    let span = Span::current();
    // Where no subscriber is interested, this is a look at memory of this thread.
    if span.is_disabled() && !Context::map_current(Context::has_active_span) {
        return None;
    }
    if headers.get("traceparent").is_some() {
        return None;
    }
    let of_span = span.context();
    let context = if is_valid(&of_span) { of_span } else { Context::current() };
    if !is_valid(&context) {
        return None;
    }
    let mut both = headers.clone();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut SentHeaders { own: headers, carried: &mut both });
    });
    Some(both)
}

fn is_valid(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

struct SentHeaders<'a> {
    own: &'a Headers,
    carried: &'a mut Headers,
}

impl Injector for SentHeaders<'_> {
    fn set(&mut self, name: &str, value: String) {
        // A propagator writes `tracestate` and `baggage` also where there is nothing to say.
        if self.own.get(name).is_none() && !value.is_empty() {
            self.carried.set(name, value);
        }
    }
}

struct ReceivedHeaders<'a>(&'a Headers);

impl Extractor for ReceivedHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).or_else(|| {
            // Other programs may write names as HTTP does: in any case.
            self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}
