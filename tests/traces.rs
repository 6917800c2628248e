//! Publishing and handling are spans, and a trace goes from publisher to handler and on, in the headers of the messages.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    TraceId,
    trace::{SpanId, SpanKind, Status, TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Delivery, Format, Message, Publish, RequestError,
    codec::{Cbor, CloudEvents, Codec, DecodeError, Expected, Inbound, Json, MessagePack, Outbound},
    router,
};
use tidings_tests::{Recorder, eventually, on_each};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{filter::LevelFilter, prelude::*};

const SOON: Duration = Duration::from_secs(20);

/// Every span of this process that has ended.
static SPANS: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(LevelFilter::DEBUG));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    exporter
});

/// A trace of a test's own, and its spans.
struct Trace {
    root: Span,
    id: TraceId,
}

impl Trace {
    fn start() -> Self {
        LazyLock::force(&SPANS);
        let root = tracing::info_span!("root");
        let id = root.context().span().span_context().trace_id();
        assert_ne!(id, TraceId::INVALID);
        Self { root, id }
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        work.instrument(self.root.clone()).await
    }

    /// The spans of the trace that have ended, once there is one with each of these names.
    async fn spans(&self, names: &[&str]) -> Vec<SpanData> {
        spans_of(self.id, names).await
    }
}

async fn spans_of(trace: TraceId, names: &[&str]) -> Vec<SpanData> {
    let ended = || -> Vec<SpanData> {
        let mut spans = SPANS.get_finished_spans().unwrap();
        spans.retain(|span| span.span_context.trace_id() == trace);
        spans
    };
    eventually(SOON, async || {
        let spans = ended();
        names.iter().all(|name| spans.iter().any(|span| span.name == *name))
    })
    .await;
    ended()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|found| found.value.to_string())
}

fn assert_child(spans: &[SpanData], child: &str, parent: &str) {
    let (child, parent) = (named(spans, child), named(spans, parent));
    assert_eq!(child.parent_span_id, parent.span_context.span_id(), "{} of {}", child.name, parent.name);
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct Placed {
    id: u64,
    customer: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("bills:<id>")]
struct Billed {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shipments:<id>")]
struct Shipped {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct Quote {
    sku: String,
}

/// Orders are billed by the handler and shipped by what it returns.
struct Shop {
    headers: Recorder<Vec<(String, String)>>,
}

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: Placed, bus: &Bus) -> Result<Publish<Shipped>, String> {
        match order.id {
            13 => Err("unlucky".to_owned()),
            id => {
                Billed { id }.publish(bus).await.map_err(|error| error.to_string())?;
                Ok(Publish::new(Shipped { id }))
            }
        }
    }

    #[handler]
    async fn billed(&self, billed: Billed, delivery: &Delivery) {
        let _ = billed.id;
        self.headers.record(delivery.headers().iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    }

    #[handler(spawn)]
    async fn shipped(&self, shipped: Shipped) {
        let _ = shipped.id;
    }

    #[handler]
    async fn quote(&self, quote: Quote) -> Result<u64, String> {
        if quote.sku == "none" { Err("no such thing".to_owned()) } else { Ok(7) }
    }
}

fn shop() -> Shop {
    Shop { headers: Recorder::new() }
}

fn placed(id: u64) -> Placed {
    Placed { id, customer: "swordfish".to_owned() }
}

/// JSON, but for a function that panics.
struct WithoutMetadata;

impl Codec for WithoutMetadata {
    fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        Json::encode(outbound, message, payload)
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        Json::decode(expected, payload)
    }

    fn metadata<'de>(_expected: &Expected, _payload: &'de [u8]) -> Option<Inbound<'de>> {
        panic!("a codec of a test panics, as it should");
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("sealed:<id>")]
#[message(codec = WithoutMetadata)]
struct Sealed {
    id: u64,
}

struct Opener {
    opened: Recorder<u64>,
}

#[router]
impl Opener {
    #[handler]
    async fn sealed(&self, sealed: Sealed) {
        self.opened.record(sealed.id);
    }
}

on_each! {
    async fn a_codec_whose_metadata_panics_ends_no_service_that_makes_spans(world: World) {
        let trace = Trace::start();
        for layered in [false, true] {
            world.settle().await;
            let bus = world.bus().await;
            let opened = Recorder::new();
            let serving = bus.serve(Opener { opened: opened.clone() });
            let service =
                if layered { serving.layer(tower::layer::util::Identity::new()).await } else { serving.await }.unwrap();
            for id in 1..=3 {
                trace.within(async { Sealed { id }.publish(&bus).await.unwrap() }).await;
            }
            assert_eq!(opened.wait_for(3).await, [1, 2, 3]);
            service.shutdown().await.unwrap();
        }
    }

    async fn one_trace_goes_from_publisher_through_handlers_to_what_they_publish(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(shop()).await.unwrap();
        let trace = Trace::start();
        trace.within(async { placed(4_711).publish(&bus).await }).await.unwrap();
        let root = trace.root.context().span().span_context().span_id();
        let spans = trace.spans(&["process orders:<id>", "process bills:<id>", "process shipments:<id>"]).await;

        assert_eq!(named(&spans, "publish orders:<id>").parent_span_id, root);
        assert_child(&spans, "process orders:<id>", "publish orders:<id>");
        assert_child(&spans, "publish bills:<id>", "process orders:<id>");
        assert_child(&spans, "process bills:<id>", "publish bills:<id>");
        assert_child(&spans, "publish shipments:<id>", "process orders:<id>");
        assert_child(&spans, "process shipments:<id>", "publish shipments:<id>");
        assert_eq!(spans.len(), 6, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    }

    async fn spans_have_the_attributes_of_messaging_and_never_the_channel_or_the_payload(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(shop()).await.unwrap();
        let trace = Trace::start();
        trace.within(async { placed(4_711).publish(&bus).await }).await.unwrap();
        let spans = trace.spans(&["process orders:<id>", "process bills:<id>", "process shipments:<id>"]).await;

        let (publish, process) = (named(&spans, "publish orders:<id>"), named(&spans, "process orders:<id>"));
        let system = if world.transport() == "memory" { "memory" } else { "redis" };
        for span in [publish, process] {
            assert_eq!(attribute(span, "messaging.system").unwrap(), system);
            assert_eq!(attribute(span, "messaging.destination.template").unwrap(), "orders:<id>");
            assert!(attribute(span, "messaging.message.body.size").unwrap().parse::<u64>().unwrap() > 20);
            assert_eq!(attribute(span, "error.type"), None);
            assert_eq!(span.status, Status::Unset);
        }
        assert_eq!(publish.span_kind, SpanKind::Producer);
        assert_eq!(process.span_kind, SpanKind::Consumer);
        assert_eq!(attribute(publish, "messaging.operation.name").unwrap(), "publish");
        assert_eq!(attribute(publish, "messaging.operation.type").unwrap(), "send");
        assert_eq!(attribute(process, "messaging.operation.type").unwrap(), "process");
        assert_eq!(attribute(process, "tidings.handler").unwrap(), "placed");
        assert_eq!(attribute(process, "tidings.outcome").unwrap(), "handled");
        let id = attribute(publish, "messaging.message.id");
        assert!(id.is_some());
        assert_eq!(attribute(process, "messaging.message.id"), id);
        let shown = format!("{spans:?}");
        assert!(!shown.contains("orders:4711") && !shown.contains("swordfish"), "{shown}");
    }

    async fn a_request_is_a_span_around_that_of_its_handler(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(shop()).await.unwrap();
        let trace = Trace::start();
        let answer = trace.within(async { Quote { sku: "tea".to_owned() }.request(&bus).await }).await.unwrap();
        assert_eq!(answer, 7);
        let spans = trace.spans(&["request quotes:<sku>", "process quotes:<sku>"]).await;
        assert_child(&spans, "process quotes:<sku>", "request quotes:<sku>");
        let (request, process) = (named(&spans, "request quotes:<sku>"), named(&spans, "process quotes:<sku>"));
        assert_eq!(request.span_kind, SpanKind::Client);
        let conversation = attribute(request, "messaging.message.conversation_id");
        assert!(conversation.is_some());
        assert_eq!(attribute(process, "messaging.message.conversation_id"), conversation);
        assert_eq!(attribute(request, "messaging.message.id"), attribute(process, "messaging.message.id"));
    }

    async fn what_fails_is_an_error_of_its_span(world: World) {
        let bus = world.bus_with(|bus| bus.payload_limit(1_000)).await;
        let _service = bus.serve(shop()).await.unwrap();
        let trace = Trace::start();
        trace.within(async {
            let quote = Quote { sku: "none".to_owned() }.request(&bus).await;
            assert!(matches!(quote, Err(RequestError::Failed { .. })));
            Placed { id: 1, customer: "x".repeat(2_000) }.publish(&bus).await.unwrap_err();
            placed(13).publish(&bus).await.unwrap();
        }).await;
        let spans = trace.spans(&["request quotes:<sku>", "process quotes:<sku>", "process orders:<id>"]).await;
        for (name, error) in [
            ("request quotes:<sku>", "handler_failed"),
            ("process quotes:<sku>", "failed"),
            ("publish orders:<id>", "payload_too_large"),
            ("process orders:<id>", "failed"),
        ] {
            let span = spans.iter().find(|span| span.name == name && attribute(span, "error.type").is_some()).unwrap();
            assert_eq!(attribute(span, "error.type").unwrap(), error, "{name}");
            assert!(matches!(span.status, Status::Error { .. }), "{name}");
        }
    }

    async fn a_batch_is_one_span_for_all_of_its_messages(world: World) {
        let bus = world.bus().await;
        let shop = shop();
        let headers = shop.headers.clone();
        let _service = bus.serve(shop).await.unwrap();
        let trace = Trace::start();
        let results = trace.within(async {
            bus.batch().push(&Billed { id: 1 }).push(&Billed { id: 2 }).push(&Shipped { id: 3 }).await
        }).await;
        assert!(results.iter().all(Result::is_ok));
        headers.wait_for(2).await;
        let spans = trace.spans(&["publish batch", "process bills:<id>", "process shipments:<id>"]).await;
        assert_child(&spans, "process shipments:<id>", "publish batch");
        assert_child(&spans, "process bills:<id>", "publish batch");
        assert_eq!(attribute(named(&spans, "publish batch"), "messaging.batch.message_count").unwrap(), "3");
        assert!(!spans.iter().any(|span| span.name.starts_with("publish bills")));
    }

    async fn an_acknowledged_publish_is_a_span_until_it_is_acknowledged(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(shop()).await.unwrap();
        let trace = Trace::start();
        trace.within(async { Billed { id: 1 }.publish(&bus).acknowledged_within(SOON).await }).await.unwrap();
        let spans = trace.spans(&["publish bills:<id>", "process bills:<id>"]).await;
        assert_child(&spans, "process bills:<id>", "publish bills:<id>");
        let conversation = attribute(named(&spans, "publish bills:<id>"), "messaging.message.conversation_id");
        assert!(conversation.is_some());
    }

    async fn a_traceparent_of_the_program_wins(world: World) {
        let bus = world.bus().await;
        let shop = shop();
        let headers = shop.headers.clone();
        let _service = bus.serve(shop).await.unwrap();
        let trace = Trace::start();
        let (own, id) = traceparent(0xabc);
        trace.within(async { Billed { id: 1 }.publish(&bus).header("traceparent", own.clone()).await }).await.unwrap();
        let headers = headers.wait_for(1).await;
        assert_eq!(headers, [[("traceparent".to_owned(), own)]]);
        let spans = spans_of(id, &["process bills:<id>"]).await;
        assert_eq!(named(&spans, "process bills:<id>").parent_span_id, SpanId::from(0xabc_u64));
    }

    async fn no_header_is_added_outside_of_a_trace(world: World) {
        let bus = world.bus().await;
        let shop = shop();
        let headers = shop.headers.clone();
        let _service = bus.serve(shop).await.unwrap();
        // No span at all: this test's subscriber takes none on this thread.
        let _nobody = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        let publishing = Billed { id: 1 }.publish(&bus).into_future();
        publishing.await.unwrap();
        assert_eq!(headers.wait_for(1).await, [[]]);
    }
}

/// A header that no other test has, and its trace.
fn traceparent(span: u64) -> (String, TraceId) {
    let trace = u128::from(std::process::id()) << 64 | u128::from(rand_number());
    (format!("00-{trace:032x}-{span:016x}-01"), TraceId::from(trace))
}

fn rand_number() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() | 1
}

macro_rules! coded {
    ($name:ident, $channel:literal, $codec:ident) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(codec = $codec)]
        struct $name {
            id: u64,
        }
    };
}

coded!(AsEvent, "events:<id>", CloudEvents);
coded!(AsMessagePack, "packs:<id>", MessagePack);
coded!(AsCbor, "cbors:<id>", Cbor);

struct Formats;

#[router]
impl Formats {
    #[handler]
    async fn event(&self, message: AsEvent) {
        let _ = message.id;
    }

    #[handler]
    async fn pack(&self, message: AsMessagePack) {
        let _ = message.id;
    }

    #[handler]
    async fn cbor(&self, message: AsCbor) {
        let _ = message.id;
    }

    #[handler]
    async fn billed(&self, message: Billed) {
        let _ = message.id;
    }
}

on_each! {
    async fn every_format_with_headers_carries_the_trace(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Formats).await.unwrap();
        let trace = Trace::start();
        trace.within(async {
            AsEvent { id: 1 }.publish(&bus).await.unwrap();
            AsMessagePack { id: 1 }.publish(&bus).await.unwrap();
            AsCbor { id: 1 }.publish(&bus).await.unwrap();
        }).await;
        let spans = trace.spans(&["process events:<id>", "process packs:<id>", "process cbors:<id>"]).await;
        assert_child(&spans, "process events:<id>", "publish events:<id>");
        assert_child(&spans, "process packs:<id>", "publish packs:<id>");
        assert_child(&spans, "process cbors:<id>", "publish cbors:<id>");
    }

    async fn a_header_of_another_program_is_the_parent(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Formats).await.unwrap();
        let (header, id) = traceparent(0xdef);
        LazyLock::force(&SPANS);
        world.publish_raw("bills:7", format!(
            r#"{{"id":"a","type":"Billed","timestamp":1,"version":1,"headers":{{"traceparent":"{header}"}},"correlation_id":"c-7","data":{{"id":7}}}}"#
        )).await;
        world.publish_raw("events:7", format!(
            r#"{{"specversion":"1.0","id":"a","source":"/b","type":"AsEvent","traceparent":"{header}","data":{{"id":7}}}}"#
        )).await;
        let spans = spans_of(id, &["process bills:<id>", "process events:<id>"]).await;
        for span in &spans {
            assert_eq!(span.parent_span_id, SpanId::from(0xdef_u64));
            assert!(span.parent_span_is_remote);
        }
        // A conversation that wants no answer from here is one too.
        let conversation = attribute(named(&spans, "process bills:<id>"), "messaging.message.conversation_id");
        assert_eq!(conversation.as_deref(), Some("c-7"));
    }

    async fn a_message_without_a_place_for_headers_is_sent_without_them(world: World) {
        for format in [Format::Plain, Format::RedisToolkit] {
            world.settle().await;
            let bus = world.bus_with(|bus| bus.format(format)).await;
            let shop = shop();
            let headers = shop.headers.clone();
            let service = bus.serve(shop).await.unwrap();
            let trace = Trace::start();
            trace.within(async { Billed { id: 1 }.publish(&bus).await }).await.unwrap();
            assert_eq!(headers.wait_for(1).await, [[]]);
            trace.spans(&["publish bills:<id>"]).await;
            service.shutdown().await.unwrap();
        }
    }
}
