//! The envelope on the wire is exactly what the documentation says, and plain messages work in both directions.

use std::{collections::HashSet, time::SystemTime};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Bus, Format, Message, PublishError, Received};
use tidings_tests::{RedisServer, on_both};

use crate::support::{message, received};

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "shop.order", version = 3)]
struct Order {
    id: u64,
    customer: String,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("readings:<sensor>")]
#[message(format = "plain")]
struct Reading {
    sensor: u32,
    celsius: f64,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("notes")]
struct Note {
    text: String,
}

fn order() -> Order {
    Order { id: 7, customer: "Ada \"the\" \u{1f980}".into() }
}

fn wire<M>(received: &Received<M>) -> Value {
    serde_json::from_slice(received.delivery.payload()).unwrap()
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Checks the members, all of them, of an order's envelope.
fn assert_envelope(envelope: &Value, from: SystemTime, headers: Option<Value>) {
    let mut expected = vec!["id", "type", "timestamp", "version", "data"];
    if headers.is_some() {
        expected.push("headers");
    }
    let members: HashSet<_> = envelope.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, expected.into_iter().collect());
    assert!(!envelope["id"].as_str().unwrap().is_empty());
    assert_eq!(envelope["type"], "shop.order");
    assert_eq!(envelope["version"], 3);
    assert_eq!(envelope["data"], json!({"id": 7, "customer": "Ada \"the\" \u{1f980}"}));
    assert_eq!(envelope.get("headers"), headers.as_ref());
    let timestamp = envelope["timestamp"].as_u64().unwrap();
    assert!((millis(from)..=millis(SystemTime::now())).contains(&timestamp), "{timestamp}");
}

on_both! {
    async fn an_envelope_has_the_documented_members(world: World) {
        let bus = world.bus().await;
        let mut orders = bus.subscribe(Order::any()).await.unwrap();
        let from = SystemTime::now();
        order().publish(&bus).await.unwrap();
        order().publish(&bus).header("trace", "a:b").header("empty", "").await.unwrap();
        assert_envelope(&wire(&received(&mut orders).await), from, None);
        let with_headers = received(&mut orders).await;
        assert_envelope(&wire(&with_headers), from, Some(json!({"trace": "a:b", "empty": ""})));
        assert_eq!(with_headers.message, order());
    }

    async fn no_two_messages_share_an_id(world: World) {
        let buses = [world.bus().await, world.bus().await];
        let mut notes = buses[0].subscribe(Note::channel()).await.unwrap();
        let mut ids = HashSet::new();
        for n in 0..200 {
            Note { text: "again".into() }.publish(&buses[n % 2]).await.unwrap();
            let id = received(&mut notes).await.delivery.id().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} twice");
        }
    }

    async fn a_plain_message_is_the_value_and_nothing_else(world: World) {
        let bus = world.bus().await;
        let mut readings = bus.subscribe(Reading::any()).await.unwrap();
        let sent = Reading { sensor: 4, celsius: 21.5 };
        sent.publish(&bus).await.unwrap();
        let reading = received(&mut readings).await;
        assert_eq!(reading.delivery.payload(), br#"{"sensor":4,"celsius":21.5}"#);
        assert_eq!(reading.message, sent);
        assert_eq!((reading.delivery.id(), reading.delivery.timestamp()), (None, None));
        assert!(reading.delivery.headers().is_empty());
    }

    async fn a_bus_chooses_the_format_of_messages_that_do_not(world: World) {
        let plain = world.bus_with(|builder| builder.format(Format::Plain)).await;
        let standard = world.bus().await;
        let mut notes = standard.subscribe(Note::channel()).await.unwrap();
        Note { text: "plain".into() }.publish(&plain).await.unwrap();
        Note { text: "enveloped".into() }.publish(&standard).await.unwrap();
        let note = received(&mut notes).await;
        assert_eq!(note.delivery.payload(), br#"{"text":"plain"}"#);
        assert_eq!(note.text, "plain");
        let note = received(&mut notes).await;
        assert_eq!(wire(&note)["data"]["text"], "enveloped");
    }

    async fn a_plain_message_carries_no_headers(world: World) {
        let bus = world.bus().await;
        let error = Reading { sensor: 4, celsius: 0.0 }.publish(&bus).header("trace", "1").await.unwrap_err();
        assert!(matches!(&error, PublishError::Encode { name: "Reading", reason, .. } if reason.contains("header")), "{error}");
        assert!(!error.is_retryable());
    }

    async fn messages_of_other_programs_are_understood(world: World) {
        let bus = world.bus().await;
        let mut orders = bus.subscribe(Order::any()).await.unwrap();
        let payloads = [
            r#"{"id":7,"customer":"Ada"}"#,
            " {\n \"customer\" : \"Ada\",\t\"id\":7, \"extra\": [null] } ",
            r#"{"id":"x","type":"shop.order","data":{"id":7,"customer":"Ada"}}"#,
            r#"{"data":{"customer":"Ada","id":7},"version":"1.0","timestamp":"2026-01-02T03:04:05Z","type":"shop.order","id":"x"}"#,
            r#"{"id":"x","type":"shop.order","version":1,"timestamp":1767323045,"headers":{"a":"b","n":1},"data":{"id":7,"customer":"Ada"},"specversion":"1.0"}"#,
        ];
        for payload in payloads {
            world.publish_raw("orders:7", payload).await;
            let order = received(&mut orders).await;
            assert_eq!((order.id, order.customer.as_str()), (7, "Ada"), "{payload}");
            let is_envelope = payload.contains("shop.order");
            assert_eq!(order.delivery.id(), is_envelope.then_some("x"), "{payload}");
            let timestamp = order.delivery.timestamp().map(millis);
            assert_eq!(timestamp, payload.contains("timestamp").then_some(1_767_323_045_000), "{payload}");
        }
    }
}

/// What another program sees that subscribes without tidings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_reads_the_documented_envelope() {
    let server = RedisServer::start().await;
    let mut raw = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    raw.subscribe("shop:orders:7").await.unwrap();
    let bus = Bus::builder(server.url()).namespace("shop").connect().await.unwrap();
    let from = SystemTime::now();
    let receipt = order().publish(&bus).await.unwrap();
    assert_eq!(receipt.receivers, Some(1));
    let text: String = raw.on_message().next().await.unwrap().get_payload().unwrap();
    assert_envelope(&serde_json::from_str(&text).unwrap(), from, None);
    // A receiver refuses by type and version before it comes to the data.
    let position = |member: &str| text.find(&format!("\"{member}\":")).unwrap();
    assert!(position("type") < position("version") && position("version") < position("data"), "{text}");
    // And the other way round: what another program publishes reaches the typed subscription.
    let mut orders = bus.subscribe(Order::channel(7_u64)).await.unwrap();
    assert_eq!(server.publish("shop:orders:7", text.as_bytes()).await, 2);
    assert_eq!(message(&mut orders).await, order());
}
