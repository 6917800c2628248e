//! Messages in each format, to and from programs that use its best known libraries: cbor2, msgpack and the official SDK of CloudEvents in Python,
//! and what cbor-x and the official SDK write in JavaScript.

use std::{collections::HashMap, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Bus, Delivery, Event, Format, Message, Rejection, State, Subscription, handler, routes};
use tidings_tests::RedisServer;

use crate::{SOON, next, peer::Peer};

const FORMATS: [(&str, Format); 4] = [
    ("json", Format::Envelope),
    ("cbor", Format::Cbor),
    ("messagepack", Format::MessagePack),
    ("cloudevents", Format::CloudEvents),
];

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("formats:<form: String>:<side: String>")]
struct Sample {
    id: u64,
    customer: String,
    price: f64,
    paid: u64,
    note: Option<String>,
    extra: Value,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("formats:<form: String>:double")]
#[reply(u64)]
struct Double {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("formats:<form: String>:square")]
#[reply(u64)]
struct Square {
    n: u64,
}

#[handler]
async fn square(square: Square) -> u64 {
    square.n * square.n
}

/// Leaves the answer to what the SDK of CloudEvents has written.
#[handler]
async fn answered_by_the_sdk(_double: Double, delivery: &Delivery, State(server): State<Arc<RedisServer>>) -> u64 {
    let request: Value = serde_json::from_slice(delivery.payload()).unwrap();
    let text = String::from_utf8(fixture("cloudevents-answer.json")).unwrap();
    let text = text.replace("CORRELATION", request["correlation_id"].as_str().unwrap());
    server.publish(request["reply_to"].as_str().unwrap(), text.as_bytes()).await;
    std::future::pending().await
}

/// What Python says that it has received.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("formats:seen")]
#[message(format = "plain")]
struct Seen {
    form: String,
    value: Value,
    note: String,
}

fn sample() -> Sample {
    Sample {
        id: 7,
        customer: "Ada \u{1f980}".into(),
        price: 9.0,
        paid: 1_764_079_200_123,
        note: None,
        extra: json!({"tags": ["a", null]}),
    }
}

async fn bus(server: &RedisServer, format: Format) -> Bus {
    Bus::builder(server.url()).format(format).connect().await.unwrap()
}

/// The next delivery of a sample, as (message, id, milliseconds, header).
async fn delivered(samples: &mut Subscription<Sample>) -> (Sample, Option<String>, Option<u128>, Option<String>) {
    let event = tokio::time::timeout(SOON, samples.next()).await;
    let Ok(Some(Event::Message(received))) = event else { panic!("{event:?}") };
    let delivery = &received.delivery;
    let millis = delivery.timestamp().map(|time| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    let (id, trace) = (delivery.id().map(str::to_owned), delivery.headers().get("trace").map(str::to_owned));
    (received.message, id, millis, trace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_receives_each_format() {
    let server = RedisServer::start().await;
    let _peer = Peer::start("formats.py", server.port());
    for (form, format) in FORMATS {
        let bus = bus(&server, format).await;
        let mut seen = bus.subscribe(Seen::channel()).await.unwrap();
        sample().publish_to(Sample::channel(form, "rust"), &bus).await.unwrap();
        let seen = next(&mut seen).await;
        assert_eq!((seen.form.as_str(), seen.note.as_str()), (form, "Sample"));
        assert_eq!(seen.value, serde_json::to_value(sample()).unwrap(), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidings_receives_each_format_of_python() {
    let server = RedisServer::start().await;
    let _peer = Peer::start("formats.py", server.port());
    let mut subscriptions = HashMap::new();
    for (form, format) in FORMATS {
        let bus = bus(&server, format).await;
        subscriptions.insert(form, bus.subscribe(Sample::channel(form, "python")).await.unwrap());
    }
    server.publish("formats:send", b"").await;
    for (form, mut samples) in subscriptions {
        let (message, id, millis, trace) = delivered(&mut samples).await;
        assert_eq!(message, sample(), "{form}");
        assert_eq!((id.as_deref(), trace.as_deref()), (Some("python-1"), Some("1")), "{form}");
        assert_eq!(millis, Some(1_764_064_800_123), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_answers_in_each_format() {
    let server = RedisServer::start().await;
    let _peer = Peer::start("formats.py", server.port());
    for (form, format) in FORMATS {
        let bus = bus(&server, format).await;
        let doubled = Double { n: 21 }.request_to(Double::channel(form), &bus).timeout(SOON).await;
        assert_eq!(doubled.unwrap(), 42, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidings_answers_python_in_each_format() {
    let server = RedisServer::start().await;
    let _peer = Peer::start("formats.py", server.port());
    for (form, format) in FORMATS {
        let bus = bus(&server, format).await;
        let service = bus.serve(routes![square]).await.unwrap();
        let mut seen = bus.subscribe(Seen::channel()).await.unwrap();
        server.publish(&format!("formats:{form}:ask"), b"").await;
        let seen = next(&mut seen).await;
        assert_eq!((seen.form.as_str(), seen.note.as_str()), (form, "python-2"));
        assert_eq!(seen.value, json!({"ok": 144}), "{form}");
        service.shutdown().await.unwrap();
    }
}

/// What `javascript/make.js` has written.
fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/javascript").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidings_reads_what_javascript_writes() {
    let server = RedisServer::start().await;
    for (name, format, is_envelope) in [
        ("cbor-x-envelope.cbor", Format::Cbor, true),
        ("cbor-x-map.cbor", Format::Cbor, true),
        ("cbor-x-alone.cbor", Format::Cbor, false),
        ("cloudevents-event.json", Format::CloudEvents, true),
    ] {
        let bus = bus(&server, format).await;
        let mut samples = bus.subscribe(Sample::channel("x", "javascript")).await.unwrap();
        server.publish("formats:x:javascript", &fixture(name)).await;
        let (mut message, id, millis, _) = delivered(&mut samples).await;
        // What is undefined in JavaScript is left out of JSON, and nothing in CBOR.
        message.extra.as_object_mut().unwrap().remove("nothing");
        assert_eq!(message, sample(), "{name}");
        assert_eq!(id.as_deref(), is_envelope.then_some("js-1"), "{name}");
        assert_eq!(millis, is_envelope.then_some(1_764_079_200_123), "{name}");
    }
    let bus = bus(&server, Format::Cbor).await;
    let mut samples = bus.subscribe(Sample::channel("x", "javascript")).await.unwrap();
    server.publish("formats:x:javascript", &fixture("cbor-x-record.cbor")).await;
    let event = tokio::time::timeout(SOON, samples.next()).await.unwrap();
    let is_refused =
        matches!(&event, Some(Event::Invalid(invalid)) if matches!(invalid.rejection, Rejection::Undecodable { .. }));
    assert!(is_refused, "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_answers_of_javascript() {
    for (name, format) in [("cbor-x-request.cbor", Format::Cbor), ("cloudevents-request.json", Format::CloudEvents)] {
        // Both have the same correlation id, and would be taken for one and the same.
        let server = RedisServer::start().await;
        let bus = bus(&server, format).await;
        let service = bus.serve(routes![square]).await.unwrap();
        let mut answers = raw(&server, "tidings:replies:javascript").await;
        server.publish("formats:x:square", &fixture(name)).await;
        let answer: Value = serde_json::from_slice(&heard(&mut answers).await).unwrap();
        assert_eq!((&answer["correlation_id"], &answer["data"]), (&json!("js-2"), &json!({"ok": 144})), "{name}");
        service.shutdown().await.unwrap();
    }
    let server = RedisServer::start().await;
    let bus = bus(&server, Format::Envelope).await;
    let _service = bus.serve(routes![answered_by_the_sdk].with_state(Arc::new(server))).await.unwrap();
    assert_eq!(Double { n: 21 }.request_to(Double::channel("x"), &bus).timeout(SOON).await.unwrap(), 42);
}

async fn raw(server: &RedisServer, channel: &str) -> redis::aio::PubSub {
    let mut raw = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    raw.subscribe(channel).await.unwrap();
    raw
}

async fn heard(raw: &mut redis::aio::PubSub) -> Vec<u8> {
    use futures_util::StreamExt;
    let message = tokio::time::timeout(SOON, raw.on_message().next()).await.unwrap().unwrap();
    message.get_payload_bytes().to_vec()
}
