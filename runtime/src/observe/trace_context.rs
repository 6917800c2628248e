//! The context of a trace in the headers of a message, as the process's propagator writes it: [W3C trace
//! context](https://www.w3.org/TR/trace-context/), for one.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use serde::Serialize;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::codec::{
    contract::{Codec, Outbound},
    headers::Headers,
};

/// Encodes a message; the headers carry the context of the current span, if there is one and the codec has a place for it.
pub(crate) fn encode<C: Codec, T: Serialize>(
    outbound: &Outbound<'_>,
    message: &T,
    payload: &mut Vec<u8>,
) -> Result<(), String> {
    let context = if C::carries_context(outbound) { with_context(outbound.headers) } else { None };
    if let Some(headers) = context {
        let start = payload.len();
        if C::encode(&Outbound { headers: &headers, ..*outbound }, message, payload).is_ok() {
            return Ok(());
        }
        // A trace is no reason to lose a message: this codec takes no such header.
        payload.truncate(start);
    }
    C::encode(outbound, message, payload)
}

/// Puts a span where the headers of its message say. It must not have been entered yet.
pub(crate) fn adopt(span: &Span, headers: &Headers) {
    if headers.is_empty() {
        return;
    }
    let context = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Received(headers))
    });
    // Without a layer for OpenTelemetry there is nothing to be a part of.
    let _ = span.set_parent(context);
}

/// The headers with the context of the current span. What the program has set itself stays, and its `traceparent` leaves no room for
/// another.
fn with_context(headers: &Headers) -> Option<Headers> {
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
    let mut carried = headers.clone();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Sent { own: headers, carried: &mut carried });
    });
    Some(carried)
}

fn is_valid(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

struct Sent<'a> {
    own: &'a Headers,
    carried: &'a mut Headers,
}

impl Injector for Sent<'_> {
    fn set(&mut self, name: &str, value: String) {
        // A propagator writes `tracestate` and `baggage` also where there is nothing to say.
        if self.own.get(name).is_none() && !value.is_empty() {
            self.carried.set(name, value);
        }
    }
}

struct Received<'a>(&'a Headers);

impl Extractor for Received<'_> {
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
