//! The envelope on the wire is exactly what the documentation says, and plain messages work in both directions.

use std::{collections::HashSet, time::SystemTime};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Bus, Format, Message, PublishError, Received};
use tidings_tests::{RedisServer, eventually, on_each};

use crate::support::{SOON, event, handler, message, received};

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

on_each! {
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
        let note = received(&mut notes).await;
        assert_eq!(note.delivery.payload(), br#"{"text":"plain"}"#);
        assert_eq!(note.text, "plain");
        Note { text: "enveloped".into() }.publish(&standard).await.unwrap();
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

/// All of its members may be absent: read from an envelope's own members, it would be empty.
#[derive(Clone, Debug, Default, PartialEq, Message, Serialize, Deserialize)]
#[channel("patches")]
#[serde(default)]
struct Patch {
    name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Message, Serialize, Deserialize)]
#[channel("plain-patches")]
#[message(name = "Patch", format = "plain")]
#[serde(default)]
struct PlainPatch {
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("events")]
#[serde(tag = "type", content = "data")]
enum Event {
    Joined { id: String },
}

/// A plain message whose own members are those of an envelope.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("records:<place: u8>")]
#[message(format = "plain")]
struct Record {
    id: String,
    r#type: String,
    data: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

/// The same, where the bus says how it is written.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("free")]
#[serde(transparent)]
struct Free(Value);

fn record(reply_to: Option<&str>) -> Record {
    Record { id: "a".into(), r#type: "b".into(), data: json!({"x": 1}), reply_to: reply_to.map(str::to_owned) }
}

fn is_refused_as_envelope<T>(result: Result<T, PublishError>) -> bool {
    matches!(result, Err(PublishError::Encode { reason, .. }) if reason.contains("rename one of these members"))
}

on_each! {
    async fn an_envelope_is_one_in_any_order_and_with_odd_metadata(world: World) {
        let bus = world.bus().await;
        let mut patches = bus.subscribe(Patch::channel()).await.unwrap();
        for (payload, unreadable) in [
            (r#"{"correlation_id":"c","data":{"name":"Ada"},"id":"a","reply_to":"answers","type":"Patch"}"#, 0),
            (r#"{"data":{"name":"Ada"},"id":"a","type":"Patch"}"#, 0),
            (r#"{"own":1,"type":"Patch","id":"a","data":{"name":"Ada"}}"#, 0),
            (r#"{"id":"a","type":"Patch","timestamp":{"seconds":1,"nanos":5},"data":{"name":"Ada"}}"#, 1),
            (r#"{"headers":[],"version":"x","id":"a","type":"Patch","data":{"name":"Ada"},"time_left":{}}"#, 3),
            (r#"{"id":"a","id":"b","type":"Patch","data":{"name":"Ada"}}"#, 1),
        ] {
            world.publish_raw("patches", payload).await;
            let patch = received(&mut patches).await;
            assert_eq!(patch.name.as_deref(), Some("Ada"), "{payload}");
            assert_eq!(patch.delivery.unreadable_metadata(), unreadable, "{payload}");
        }
        let headers: String = (0..300).map(|n| format!(",\"h{n}\":\"x\"")).collect();
        let payload = format!(r#"{{"id":"a","type":"Patch","data":{{"name":"Ada"}},"headers":{{"h":"x"{headers}}}}}"#);
        world.publish_raw("patches", payload).await;
        let patch = received(&mut patches).await;
        assert_eq!((patch.name.as_deref(), patch.delivery.unreadable_metadata()), (Some("Ada"), 1));
        assert!(patch.delivery.headers().is_empty());
    }

    async fn an_envelope_of_another_type_is_never_the_message(world: World) {
        let bus = world.bus().await;
        let mut patches = bus.subscribe(Patch::channel()).await.unwrap();
        for payload in [
            r#"{"data":{"name":"Ada"},"id":"a","type":"Invoice"}"#,
            r#"{"own":1,"id":"a","data":{"name":"Ada"},"type":"Invoice"}"#,
            r#"{"timestamp":{"seconds":1},"id":"a","data":{"name":"Ada"},"type":"Invoice"}"#,
        ] {
            world.publish_raw("patches", payload).await;
            let invalid = event(&mut patches).await;
            assert!(matches!(&invalid, tidings::Event::Invalid(invalid) if invalid.rejection.kind() == "wrong type"), "{invalid:?}");
        }
        for payload in [r#"{"id":"a","type":"Patch","data":{},"data":{}}"#, r#"{"id":"a","type":"Patch","type":"Patch","data":{}}"#] {
            world.publish_raw("patches", payload).await;
            let invalid = event(&mut patches).await;
            assert!(matches!(&invalid, tidings::Event::Invalid(invalid) if invalid.rejection.kind() == "undecodable payload"), "{invalid:?}");
        }
    }

    async fn a_message_declared_plain_is_itself_unless_somebody_waits(world: World) {
        let bus = world.bus().await;
        let mut patches = bus.subscribe(PlainPatch::channel()).await.unwrap();
        for (payload, name, has_id) in [
            (r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"name":"Eve"}"#, "Eve", false),
            (r#"{"id":"a","type":"Patch","data":{"name":"Ada"},"name":"Eve","correlation_id":"c"}"#, "Ada", true),
            (r#"{"reply_to":"c","name":"Eve","id":"a","type":"Patch","data":{"name":"Ada"}}"#, "Ada", true),
            (r#"{"reply_to":"c","correlation_id":"c","name":"Eve"}"#, "Eve", false),
        ] {
            world.publish_raw("plain-patches", payload).await;
            let patch = received(&mut patches).await;
            assert_eq!((patch.name.as_deref(), patch.delivery.id().is_some()), (Some(name), has_id), "{payload}");
        }
    }

    async fn a_plain_message_that_would_be_read_as_an_envelope_is_refused(world: World) {
        let bus = world.bus().await;
        let mut records = bus.subscribe(Record::any()).await.unwrap();
        record(None).publish_to(Record::channel(1), &bus).await.unwrap();
        assert_eq!(received(&mut records).await.message, record(None));
        assert!(is_refused_as_envelope(record(Some("x")).publish_to(Record::channel(1), &bus).await));
        for format in [Format::Plain, Format::RedisToolkit] {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut free = bus.subscribe(Free::channel()).await.unwrap();
            for (value, is_refused) in [
                (json!({"id": "a", "type": "b", "data": null}), true),
                (json!({"id": "a", "type": "b", "data": {"id": 1}, "more": 1}), true),
                (json!({"id": 1, "type": "b", "data": null}), false),
                (json!({"id": "a", "type": "b"}), false),
                (json!([{"id": "a", "type": "b", "data": null}]), false),
            ] {
                let published = Free(value.clone()).publish(&bus).await;
                assert_eq!(is_refused_as_envelope(published), is_refused, "{format:?}: {value}");
                if !is_refused {
                    assert_eq!(received(&mut free).await.message, Free(value));
                }
            }
        }
        world.settle().await;
        // In an envelope of its own everything travels.
        let mut free = bus.subscribe(Free::channel()).await.unwrap();
        let value = json!({"id": "a", "type": "b", "data": null, "reply_to": "x"});
        Free(value.clone()).publish(&bus).await.unwrap();
        assert_eq!(received(&mut free).await.message, Free(value));
        let mut events = bus.subscribe(Event::channel()).await.unwrap();
        let joined = Event::Joined { id: "a".into() };
        joined.publish(&bus).await.unwrap();
        assert_eq!(received(&mut events).await.message, joined);
    }

    async fn metadata_is_only_what_an_envelope_says(world: World) {
        let bus = world.bus().await;
        let mut inbox = bus.subscribe(Answers::any()).await.unwrap();
        let service = bus.serve(tidings::routes![patched]).await.unwrap();
        // It has an address for answers, and is no envelope: whoever reads there hears nothing.
        for payload in [
            r#"{"name":7,"reply_to":"answers:0","correlation_id":"c"}"#,
            r#"{"id":"a","type":"Patch","name":7,"reply_to":"answers:0","correlation_id":"c"}"#,
            r#"{"id":1,"type":"Patch","data":1,"name":7,"reply_to":"answers:0","correlation_id":"c"}"#,
        ] {
            world.publish_raw("patches", payload).await;
        }
        eventually(SOON, async || handler(&service, "patched").rejected == 3).await;
        service.shutdown().await.unwrap();
        world.publish_raw("answers:0", r#"{"text":"nothing came before"}"#).await;
        assert_eq!(message(&mut inbox).await.text.as_deref(), Some("nothing came before"));
    }

    async fn more_headers_than_a_message_carries_are_refused(world: World) {
        let bus = world.bus().await;
        let mut notes = bus.subscribe(Note::channel()).await.unwrap();
        let note = Note { text: "a".into() };
        let mut publish = note.publish(&bus);
        for n in 0..256 {
            publish = publish.header(format!("h{n}"), "x");
        }
        publish.await.unwrap();
        assert_eq!(received(&mut notes).await.delivery.headers().iter().count(), 256);
        let mut publish = note.publish(&bus);
        for n in 0..257 {
            publish = publish.header(format!("h{n}"), "x");
        }
        let error = publish.await.unwrap_err();
        assert!(matches!(&error, PublishError::Encode { reason, .. } if reason.contains("257 headers")), "{error}");
        assert!(!error.is_retryable());
    }

    async fn times_are_read_as_others_write_them(world: World) {
        let bus = world.bus().await;
        let mut notes = bus.subscribe(Note::channel()).await.unwrap();
        for (time, expected) in [
            (r#""2025-11-25T12:00:00+02:00""#, Some(1_764_064_800_000)),
            (r#""2025-11-25t10:00:00.123456789z""#, Some(1_764_064_800_123)),
            (r#""2025-11-25T10:00:00-00:00""#, Some(1_764_064_800_000)),
            (r#""2025-11-25 10:00:00.5+00:00""#, Some(1_764_064_800_500)),
            (r#""2025-11-25T10:00:00.123456""#, Some(1_764_064_800_123)),
            (r#""2016-12-31T23:59:60Z""#, Some(1_483_228_799_999)),
            ("1764079200", Some(1_764_079_200_000)),
            ("1764079200.123", Some(1_764_079_200_123)),
            ("1764079200123", Some(1_764_079_200_123)),
            ("1764079200123456", Some(1_764_079_200_123)),
            ("1764079200123456789", Some(1_764_079_200_123)),
            ("1.764079200123456e18", Some(1_764_079_200_123)),
            (r#"{"$serde_json::private::Number":"1764079200.123"}"#, Some(1_764_079_200_123)),
            (r#""yesterday""#, None),
            (r#""2025-02-30T10:00:00Z""#, None),
            ("-1", None),
            ("true", None),
        ] {
            world.publish_raw("notes", format!(r#"{{"id":"x","type":"Note","timestamp":{time},"data":{{"text":"a"}}}}"#)).await;
            let delivery = received(&mut notes).await.delivery;
            assert_eq!(delivery.timestamp().map(millis), expected, "{time}");
            assert_eq!(delivery.unreadable_metadata(), u32::from(expected.is_none()), "{time}");
        }
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("answers:<n: u8>")]
struct Answers {
    text: Option<String>,
}

#[tidings::handler]
async fn patched(_patch: Patch) {}

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
