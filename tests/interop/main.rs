//! tidings and Python programs exchange messages, both ways, through a real redis-server: one with redis-toolkit 0.4.0 here, one with the libraries
//! of the other formats in `formats`, and one that asks and takes requests in `requests`, and one that adds and takes tasks in `tasks`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod formats;
mod peer;
mod requests;
mod tasks;

use std::{fmt::Debug, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Bus, Event, Format, Message, OwnedMessage, Publishing, RequestError, Subscription, codec::ToolkitBytes};
use tidings_tests::RedisServer;

use crate::peer::Peer;

/// A deadline for what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("interop:<side: String>:order")]
struct Order {
    id: u64,
    customer: String,
    items: Vec<String>,
    price: f64,
    raw: ToolkitBytes,
    note: Option<String>,
}

macro_rules! bare_values {
    ($($name:ident($type:ty): $channel:literal;)*) => {$(
        #[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
        #[channel($channel)]
        struct $name($type);
    )*};
}

bare_values! {
    List(Vec<u32>): "interop:<side: String>:list";
    Text(String): "interop:<side: String>:text";
    Integer(i64): "interop:<side: String>:integer";
    Real(f64): "interop:<side: String>:real";
    Flag(bool): "interop:<side: String>:flag";
    Nothing(()): "interop:<side: String>:nothing";
    Raw(ToolkitBytes): "interop:<side: String>:raw";
}

/// What Python says that it has received.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("interop:seen")]
struct Seen {
    channel: String,
    #[serde(rename = "type")]
    python_type: String,
    value: Value,
}

/// Asks Python to publish one value of each type.
#[derive(Message, Serialize, Deserialize)]
#[channel("interop:send")]
struct Send {
    everything: bool,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("interop:envelope")]
#[message(format = "envelope")]
struct Enveloped {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("interop:double")]
#[reply(u64, error = String)]
struct Double {
    n: u64,
}

fn order() -> Order {
    Order {
        id: 7,
        customer: "Ada \u{1f980}".into(),
        items: vec!["a".into(), "b".into()],
        price: 9.5,
        raw: ToolkitBytes(vec![0, 255]),
        note: None,
    }
}

async fn world() -> (RedisServer, Peer, Bus) {
    let server = RedisServer::start().await;
    let peer = Peer::start("peer.py", server.port());
    let bus = Bus::builder(server.url()).format(Format::RedisToolkit).connect().await.unwrap();
    (server, peer, bus)
}

async fn next<M: OwnedMessage + Debug>(subscription: &mut Subscription<M>) -> M {
    match tokio::time::timeout(SOON, subscription.next()).await {
        Ok(Some(Event::Message(received))) => received.message,
        other => panic!("on {}: expected a message, not {other:?}", subscription.selection()),
    }
}

/// Publishes a message to Python and checks as what it arrived.
async fn is_seen<M: Message>(bus: &Bus, publishing: Publishing<'_, M>, python_type: &str, value: Value) {
    let mut seen = bus.subscribe(Seen::channel()).await.unwrap();
    assert_eq!(publishing.await.unwrap().receivers, Some(1), "{python_type}");
    let seen = next(&mut seen).await;
    assert_eq!((seen.python_type.as_str(), seen.value), (python_type, value), "on {}", seen.channel);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_receives_what_tidings_publishes() {
    let (_server, _peer, bus) = world().await;
    let raw = |base64: &str| json!({"__type__": "bytes", "__data__": base64});
    let expected = json!({
        "id": 7, "customer": "Ada \u{1f980}", "items": ["a", "b"], "price": 9.5, "raw": raw("AP8="), "note": null,
    });
    is_seen(&bus, order().publish_to(Order::channel("rust"), &bus), "dict", expected).await;
    let list = List(vec![1, 2, 300]);
    is_seen(&bus, list.publish_to(List::channel("rust"), &bus), "list", json!([1, 2, 300])).await;
    let text = Text("a \"b\"\n\u{e9}".into());
    is_seen(&bus, text.publish_to(Text::channel("rust"), &bus), "str", json!("a \"b\"\n\u{e9}")).await;
    is_seen(&bus, Integer(-12).publish_to(Integer::channel("rust"), &bus), "int", json!(-12)).await;
    is_seen(&bus, Real(0.25).publish_to(Real::channel("rust"), &bus), "float", json!(0.25)).await;
    is_seen(&bus, Flag(true).publish_to(Flag::channel("rust"), &bus), "bool", json!(true)).await;
    is_seen(&bus, Nothing(()).publish_to(Nothing::channel("rust"), &bus), "NoneType", json!(null)).await;
    let bytes = Raw(ToolkitBytes(vec![0, 255, 7]));
    is_seen(&bus, bytes.publish_to(Raw::channel("rust"), &bus), "bytes", raw("AP8H")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidings_receives_what_python_publishes() {
    let (_server, _peer, bus) = world().await;
    let mut orders = bus.subscribe(Order::channel("python")).await.unwrap();
    let mut lists = bus.subscribe(List::channel("python")).await.unwrap();
    let mut texts = bus.subscribe(Text::channel("python")).await.unwrap();
    let mut integers = bus.subscribe(Integer::channel("python")).await.unwrap();
    let mut reals = bus.subscribe(Real::channel("python")).await.unwrap();
    let mut flags = bus.subscribe(Flag::channel("python")).await.unwrap();
    let mut nothings = bus.subscribe(Nothing::channel("python")).await.unwrap();
    let mut raws = bus.subscribe(Raw::channel("python")).await.unwrap();
    Send { everything: true }.publish(&bus).await.unwrap();
    assert_eq!(next(&mut orders).await, order());
    assert_eq!(next(&mut lists).await.0, [1, 2, 300]);
    assert_eq!(next(&mut texts).await.0, "a \"quoted\"\n\u{e9}");
    assert_eq!(next(&mut integers).await.0, -12);
    assert_eq!(next(&mut reals).await.0, 0.25);
    assert!(next(&mut flags).await.0);
    assert_eq!(next(&mut nothings).await, Nothing(()));
    assert_eq!(next(&mut raws).await.0, ToolkitBytes(vec![0, 255, 7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_the_standard_envelope_as_a_dict() {
    let (_server, _peer, bus) = world().await;
    let mut seen = bus.subscribe(Seen::channel()).await.unwrap();
    Enveloped { n: 7 }.publish(&bus).header("trace", "1").await.unwrap();
    let seen = next(&mut seen).await;
    assert_eq!(seen.python_type, "dict");
    assert_eq!((&seen.value["type"], &seen.value["data"]), (&json!("Enveloped"), &json!({"n": 7})));
    assert_eq!(seen.value["headers"], json!({"trace": "1"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_answers_a_request() {
    let (_server, _peer, bus) = world().await;
    assert_eq!(Double { n: 21 }.request(&bus).timeout(SOON).await.unwrap(), 42);
    let error = Double { n: 5000 }.request(&bus).timeout(SOON).await.unwrap_err();
    assert!(matches!(&error, RequestError::Answered(reason) if reason == "too large"), "{error}");
}
