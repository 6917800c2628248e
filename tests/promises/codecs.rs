//! A codec is chosen for a message or for a bus, carries what requests and acknowledgements need, and refuses bad payloads with a type.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{
    Delivery, Event, Format, Message, PublishError, Rejection, RequestError,
    codec::{Cbor, CloudEvents, MessagePack, Plain, RedisToolkit, ToolkitBytes},
    router,
};
use tidings_tests::{Recorder, World, on_each};

use crate::support::{SOON, event, patience, received, refusals};

macro_rules! messages_with_codecs {
    ($($name:ident, $channel:literal, $codec:ident;)*) => {$(
        #[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(name = "reading", codec = $codec)]
        struct $name {
            sensor: u32,
            celsius: f64,
            note: Option<String>,
        }

        impl $name {
            fn new() -> Self {
                Self { sensor: 4, celsius: 21.5, note: Some("a\n\u{1f980}".into()) }
            }
        }
    )*};
}

messages_with_codecs! {
    InPlain, "plain:<sensor>", Plain;
    InEvents, "events:<sensor>", CloudEvents;
    InToolkit, "toolkit:<sensor>", RedisToolkit;
    InMessagePack, "messagepack:<sensor>", MessagePack;
    InCbor, "cbor:<sensor>", Cbor;
}

/// Leaves the choice to the bus.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("notes")]
struct Note {
    text: String,
    raw: ToolkitBytes,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("anything")]
#[serde(transparent)]
struct Anything(Value);

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("double:<n>")]
#[reply(u64, error = String)]
struct Double {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("half:<n>")]
#[message(codec = Cbor)]
#[reply(u64, error = String)]
struct Half {
    n: u64,
}

struct Arithmetic;

#[router]
impl Arithmetic {
    #[handler]
    async fn double(&self, request: Double) -> Result<u64, String> {
        request.n.checked_mul(2).ok_or_else(|| "too large".to_owned())
    }

    #[handler]
    async fn half(&self, request: Half) -> Result<u64, String> {
        if request.n.is_multiple_of(2) { Ok(request.n / 2) } else { Err("odd".to_owned()) }
    }

    #[handler]
    async fn note(&self, note: Note) -> Result<(), String> {
        if note.text.is_empty() { Err("empty".to_owned()) } else { Ok(()) }
    }
}

fn note() -> Note {
    Note { text: "a".into(), raw: ToolkitBytes(vec![0, 200, 7]) }
}

const FORMATS: [Format; 6] =
    [Format::Envelope, Format::Plain, Format::CloudEvents, Format::RedisToolkit, Format::MessagePack, Format::Cbor];

/// What is on the wire for a message of each codec, for those that are text.
async fn texts(world: &World) -> [Value; 3] {
    let bus = world.bus_with(|builder| builder.source("/lab")).await;
    let mut plain = bus.subscribe(InPlain::any()).await.unwrap();
    let mut events = bus.subscribe(InEvents::any()).await.unwrap();
    let mut toolkit = bus.subscribe(InToolkit::any()).await.unwrap();
    InPlain::new().publish(&bus).await.unwrap();
    InEvents::new().publish(&bus).header("traceparent", "00-1").await.unwrap();
    InToolkit::new().publish(&bus).await.unwrap();
    let plain = received(&mut plain).await;
    let event = received(&mut events).await;
    let toolkit = received(&mut toolkit).await;
    assert_eq!((&*plain, &*event, &*toolkit), (&InPlain::new(), &InEvents::new(), &InToolkit::new()));
    assert_eq!(event.delivery.headers().get("traceparent"), Some("00-1"));
    assert!(event.delivery.id().is_some() && event.delivery.timestamp().is_some());
    [plain.delivery.payload(), event.delivery.payload(), toolkit.delivery.payload()]
        .map(|payload| serde_json::from_slice(payload).unwrap())
}

on_each! {
    async fn a_message_chooses_its_codec(world: World) {
        let data = json!({"sensor": 4, "celsius": 21.5, "note": "a\n\u{1f980}"});
        let [plain, event, toolkit] = texts(&world).await;
        assert_eq!(plain, data);
        assert_eq!(toolkit, json!({"__type__": "dict", "__data__": data}));
        assert_eq!(event["specversion"], "1.0");
        assert_eq!((&event["type"], &event["source"]), (&"reading".into(), &"/lab".into()));
        assert_eq!(event["data"], data);
        // The binary ones choose the same on a bus that says something else.
        let bus = world.bus_with(|builder| builder.format(Format::Plain)).await;
        let mut packed = bus.subscribe(InMessagePack::any()).await.unwrap();
        let mut cbor = bus.subscribe(InCbor::any()).await.unwrap();
        InMessagePack::new().publish(&bus).header("a", "b").await.unwrap();
        InCbor::new().publish(&bus).header("a", "b").await.unwrap();
        let (packed, cbor) = (received(&mut packed).await, received(&mut cbor).await);
        assert_eq!((packed.delivery.payload()[0], cbor.delivery.payload()[0]), (0x86, 0xa6));
        assert_eq!((&*packed, &*cbor), (&InMessagePack::new(), &InCbor::new()));
        for delivery in [packed.delivery, cbor.delivery] {
            assert_eq!(delivery.headers().get("a"), Some("b"));
            assert!(delivery.id().is_some() && delivery.timestamp().is_some());
        }
    }

    async fn a_bus_chooses_for_all_other_messages(world: World) {
        for format in FORMATS {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut notes = bus.subscribe(Note::channel()).await.unwrap();
            note().publish(&bus).await.unwrap();
            let received = received(&mut notes).await;
            assert_eq!(*received, note(), "{format:?}");
            let has_id = !matches!(format, Format::Plain | Format::RedisToolkit);
            assert_eq!(received.delivery.id().is_some(), has_id, "{format:?}");
        }
    }

    async fn a_bus_of_json_text_understands_the_envelope_and_plain_messages(world: World) {
        for format in [Format::Envelope, Format::Plain, Format::CloudEvents, Format::RedisToolkit] {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut notes = bus.subscribe(Note::channel()).await.unwrap();
            for other in [Format::Envelope, Format::Plain, format] {
                let publisher = world.bus_with(|builder| builder.format(other)).await;
                note().publish(&publisher).await.unwrap();
                assert_eq!(*received(&mut notes).await, note(), "{other:?} on {format:?}");
            }
        }
    }

    async fn requests_and_acknowledgements_travel_in_every_format(world: World) {
        for format in FORMATS {
            let (asking, answering) = (world.bus_with(|builder| builder.format(format)).await, world.bus_with(|builder| builder.format(format)).await);
            let service = answering.serve(Arithmetic).await.unwrap();
            assert_eq!(Double { n: 21 }.request(&asking).timeout(SOON).await.unwrap(), 42, "{format:?}");
            let error = Double { n: u64::MAX }.request(&asking).timeout(SOON).await.unwrap_err();
            assert!(matches!(&error, RequestError::Answered(reason) if reason == "too large"), "{format:?}: {error}");
            assert_eq!(Half { n: 8 }.request(&asking).timeout(SOON).await.unwrap(), 4, "{format:?}");
            let acknowledged = note().publish(&asking).acknowledged_within(SOON).await.unwrap();
            assert_eq!(acknowledged.handlers, 1, "{format:?}");
            let empty = Note { text: String::new(), ..note() };
            let refused = empty.publish(&asking).acknowledged_within(patience(&world)).await.unwrap_err();
            assert_eq!(refusals(&world, refused), ["empty"], "{format:?}");
            service.shutdown().await.unwrap();
        }
    }

    async fn a_request_that_no_instance_knows_is_not_handled_in_any_format(world: World) {
        /// What a newer program would ask.
        #[derive(Message, Serialize, Deserialize)]
        #[channel("double:<n>")]
        #[message(name = "Double", version = 2)]
        #[reply(u64, error = String)]
        struct NewerDouble {
            n: u64,
        }

        for format in FORMATS {
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let service = bus.serve(Arithmetic).await.unwrap();
            let error = NewerDouble { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
            let is_unknown = matches!(&error, RequestError::NotHandled { reason, .. } if reason.contains("version"));
            assert!(is_unknown, "{format:?}: {error}");
            service.shutdown().await.unwrap();
        }
    }

    async fn a_request_says_how_much_time_is_left_in_every_format(world: World) {
        struct Overhears {
            deadlines: Recorder<Instant>,
        }

        #[router]
        impl Overhears {
            #[handler]
            async fn double(&self, double: Double, delivery: &Delivery) -> Result<u64, String> {
                self.deadlines.record(delivery.deadline().ok_or("a request has a deadline")?);
                Ok(2 * double.n)
            }
        }

        for format in FORMATS {
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let deadlines = Recorder::new();
            let service = bus.serve(Overhears { deadlines: deadlines.clone() }).await.unwrap();
            let before = Instant::now();
            assert_eq!(Double { n: 1 }.request(&bus).timeout(SOON).await.unwrap(), 2, "{format:?}");
            // It is counted from the arrival, which is later than the requester's own.
            let deadline = deadlines.all()[0];
            assert!((before..Instant::now() + SOON).contains(&deadline), "{format:?}");
            service.shutdown().await.unwrap();
        }
    }

    async fn headers_that_a_format_cannot_carry_are_refused(world: World) {
        let bus = world.bus().await;
        let error = InPlain::new().publish(&bus).header("a", "b").await.unwrap_err();
        assert!(matches!(&error, PublishError::Encode { name: "reading", .. }), "{error}");
        let error = InEvents::new().publish(&bus).header("X-Trace", "b").await.unwrap_err();
        assert!(matches!(&error, PublishError::Encode { reason, .. } if reason.contains("X-Trace")), "{error}");
        let mut toolkit = bus.subscribe(InToolkit::any()).await.unwrap();
        InToolkit::new().publish(&bus).header("X-Trace", "b").await.unwrap();
        let received = received(&mut toolkit).await;
        assert_eq!(received.delivery.headers().get("X-Trace"), Some("b"));
        let wire: Value = serde_json::from_slice(received.delivery.payload()).unwrap();
        assert_eq!((&wire["__type__"], &wire["__data__"]["data"]["sensor"]), (&"dict".into(), &4.into()));
    }

    async fn bad_payloads_of_every_format_are_events(world: World) {
        let deep = |byte: u8| vec![byte; 100_000];
        let bad: [&[u8]; 12] = [
            b"", b"{", b"\xff", b"{\"id\":\"x\",\"type\":\"Note\"}", b"{\"__type__\": \"dict\"}", b"{\"specversion\":\"1.0\"}",
            &[0xc1], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &deep(0x91), &deep(0x81), &deep(b'['),
        ];
        for format in FORMATS {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut notes = bus.subscribe(Note::channel()).await.unwrap();
            for payload in bad {
                world.publish_raw("notes", payload).await;
                let found = event(&mut notes).await;
                let rejection = match found {
                    Event::Invalid(invalid) => invalid.rejection,
                    other => panic!("{format:?}: expected an invalid message, not {other:?}"),
                };
                assert!(matches!(rejection, Rejection::Undecodable { name: "Note", .. }), "{format:?}: {rejection}");
            }
            note().publish(&bus).await.unwrap();
            assert_eq!(*received(&mut notes).await, note());
        }
    }

    async fn bad_envelopes_have_typed_outcomes(world: World) {
        let bus = world.bus().await;
        let mut notes = bus.subscribe(Note::channel()).await.unwrap();
        let data = serde_json::to_string(&note()).unwrap();
        let deep = |length: usize| "[".repeat(length) + &"]".repeat(length);
        let undecodable = [
            format!(r#"{{"type":"Note","data":{data}}}"#),
            format!(r#"{{"id":"x","data":{data}}}"#),
            r#"{"id":"x","type":"Note"}"#.to_owned(),
            format!(r#"{{"id":"x","type":"Note","data":{data},"type":"Note"}}"#),
            format!(r#"{{"id":"x","type":"Note","data":{data},"data":{data}}}"#),
            format!(r#"{{"id":"x","type":"Note","data":{}}}"#, deep(1_000)),
            format!(r#"{{"id":7,"type":"Note","data":{data}}}"#),
        ];
        for payload in undecodable {
            world.publish_raw("notes", &payload).await;
            let Event::Invalid(invalid) = event(&mut notes).await else { panic!("{payload}") };
            assert!(matches!(invalid.rejection, Rejection::Undecodable { name: "Note", .. }), "{payload:.200}");
        }
        // A foreign name is shown without its line breaks, and not at length.
        let name = format!("a\\u0000\\n{}", "b".repeat(1_000_000));
        world.publish_raw("notes", format!(r#"{{"id":"x","type":"{name}","data":{data}}}"#)).await;
        let Event::Invalid(invalid) = event(&mut notes).await else { panic!("a foreign name") };
        let expected = format!("a\u{fffd}\u{fffd}{}", "b".repeat(61));
        assert!(matches!(&invalid.rejection, Rejection::WrongType { found, .. } if *found == expected), "{}", invalid.rejection);
    }

    async fn odd_members_that_mean_nothing_lose_no_message(world: World) {
        let bus = world.bus().await;
        let mut notes = bus.subscribe(Note::channel()).await.unwrap();
        let data = serde_json::to_string(&note()).unwrap();
        let (long, deep) = ("x".repeat(1_000_000), "[".repeat(100) + &"]".repeat(100));
        for odd in [
            format!(r#""own":"{long}""#),
            format!(r#""own":{deep},"own":{deep}"#),
            r#""timestamp":"yesterday","version":null,"headers":null"#.to_owned(),
            r#""headers":{"a\u0000\n":"b\u0000\n","n":7,"o":{"p":[]}}"#.to_owned(),
            r#""timestamp":-1,"reply_to":null,"correlation_id":null,"time_left":null"#.to_owned(),
        ] {
            world.publish_raw("notes", format!(r#"{{"id":"{long}",{odd},"type":"Note","data":{data}}}"#)).await;
            let received = received(&mut notes).await;
            assert_eq!((&*received, received.delivery.id()), (&note(), Some(long.as_str())));
            let has_header = received.delivery.headers().get("a\0\n") == Some("b\0\n");
            assert_eq!(has_header, odd.contains("u0000"), "{odd:.100}");
        }
    }

    async fn null_comes_back_as_null_in_every_format(world: World) {
        for format in FORMATS {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut anything = bus.subscribe(Anything::channel()).await.unwrap();
            for value in [json!(null), json!([null]), json!({"a": null, "b": {"c": [null, 1, 2.5]}})] {
                Anything(value.clone()).publish(&bus).await.unwrap();
                assert_eq!(received(&mut anything).await.message, Anything(value), "{format:?}");
            }
        }
    }

    async fn cbor_of_other_programs_is_read_as_its_standard_says(world: World) {
        let bus = world.bus().await;
        let mut readings = bus.subscribe(InCbor::any()).await.unwrap();
        // {"sensor": 4, "celsius": 9 (a whole number), "note": "a" "b" (in pieces, behind the tag of an URI)}, behind the tag of CBOR.
        let alone = b"\xd9\xd9\xf7\xa3\x66sensor\x04\x67celsius\x09\x64note\xd8\x20\x7f\x61a\x61b\xff";
        world.publish_raw("cbor:4", alone).await;
        let reading = received(&mut readings).await;
        assert_eq!((reading.celsius, reading.note.as_deref()), (9.0, Some("ab")));
        let mut envelope = b"\xa4\x64data".to_vec();
        envelope.extend_from_slice(alone);
        envelope.extend_from_slice(b"\x62id\x7f\x61x\xff\x69timestamp\xc1\x1a\x51\x4b\x67\xb0\x64type\x67reading");
        world.publish_raw("cbor:4", envelope).await;
        let reading = received(&mut readings).await;
        assert_eq!((reading.celsius, reading.delivery.id()), (9.0, Some("x")));
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_363_896_240);
        assert_eq!(reading.delivery.timestamp(), Some(time));
    }
}
