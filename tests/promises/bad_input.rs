//! What is no message of the type is a typed event and a counter, and the next message is handled.

use serde::{Deserialize, Serialize};
use tidings::{AddressError, Event, Message, Rejection, Service, Subscription, router};
use tidings_tests::{Recorder, RedisServer, World, eventually, on_each};

use crate::support::{SOON, event, handler, message};

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("accounts:<id>")]
#[message(version = 2)]
struct Account {
    id: u64,
    owner: String,
}

/// Limits of the receiving bus in these tests.
const PAYLOAD_LIMIT: usize = 1_000;

struct Accounts {
    seen: Recorder<u64>,
}

#[router]
impl Accounts {
    #[handler]
    async fn account(&self, account: Account) {
        self.seen.record(account.id);
    }
}

/// Payloads on `accounts:1` that are no account, with the kind of their rejection.
fn bad_payloads() -> Vec<(Vec<u8>, &'static str)> {
    let deep = "[".repeat(500);
    let large = format!(r#"{{"id":1,"owner":"{}"}}"#, "x".repeat(PAYLOAD_LIMIT));
    let texts = [
        ("", "undecodable payload"),
        ("no json", "undecodable payload"),
        ("null", "undecodable payload"),
        ("[]", "undecodable payload"),
        (r#"{"id":1}"#, "undecodable payload"),
        (r#"{"id":"1","owner":"Ada"}"#, "undecodable payload"),
        (r#"{"id":1,"owner":"Ada"} x"#, "undecodable payload"),
        (r#"{"id":1,"owner":"Ada""#, "undecodable payload"),
        (deep.as_str(), "undecodable payload"),
        (r#"{"id":"m","type":"Account","data":{"id":1}}"#, "undecodable payload"),
        (r#"{"id":"m","type":"Invoice","data":{"id":1,"owner":"Ada"}}"#, "wrong type"),
        (r#"{"id":"m","type":"Account","version":3,"data":{"id":1,"owner":"Ada"}}"#, "newer version"),
        (r#"{"id":2,"owner":"Ada"}"#, "address mismatch"),
        (r#"{"id":"m","type":"Account","data":{"id":2,"owner":"Ada"}}"#, "address mismatch"),
        (large.as_str(), "payload too large"),
    ];
    let mut payloads: Vec<_> = texts.into_iter().map(|(text, kind)| (text.as_bytes().to_vec(), kind)).collect();
    payloads.push((b"\xff\xfe{}".to_vec(), "undecodable payload"));
    payloads.push((b"{\"id\":1,\"owner\":\"\xc3\"}".to_vec(), "undecodable payload"));
    payloads
}

async fn rejection(accounts: &mut Subscription<Account>) -> (String, Vec<u8>, Rejection) {
    match event(accounts).await {
        Event::Invalid(invalid) => (invalid.channel, invalid.payload, invalid.rejection),
        other => panic!("expected an invalid message, not {other:?}"),
    }
}

async fn served(world: &World) -> (Service, Recorder<u64>) {
    let bus = world.bus_with(|builder| builder.payload_limit(PAYLOAD_LIMIT)).await;
    let seen = Recorder::new();
    (bus.serve(Accounts { seen: seen.clone() }).await.unwrap(), seen)
}

on_each! {
    async fn each_bad_payload_is_an_event_and_the_next_message_follows(world: World) {
        let bus = world.bus_with(|builder| builder.payload_limit(PAYLOAD_LIMIT)).await;
        let mut accounts = bus.subscribe(Account::channel(1_u64)).await.unwrap();
        let payloads = bad_payloads();
        for (payload, kind) in &payloads {
            world.publish_raw("accounts:1", payload).await;
            world.publish_raw("accounts:1", r#"{"id":1,"owner":"Ada"}"#).await;
            let (channel, bytes, rejection) = rejection(&mut accounts).await;
            assert_eq!(rejection.kind(), *kind, "{rejection}");
            assert_eq!(channel, "accounts:1");
            // The bytes of what was too large were never kept.
            assert!(bytes == *payload || (bytes.is_empty() && *kind == "payload too large"));
            assert_eq!(message(&mut accounts).await.owner, "Ada");
        }
        let stats = accounts.stats();
        assert_eq!((stats.invalid, stats.messages), (payloads.len() as u64, payloads.len() as u64));
    }

    async fn each_bad_payload_is_counted_by_a_service_and_the_next_message_handled(world: World) {
        let (service, seen) = served(&world).await;
        for (count, (payload, _)) in (1..).zip(bad_payloads()) {
            world.publish_raw("accounts:1", payload).await;
            world.publish_raw("accounts:7", r#"{"id":7,"owner":"Ada"}"#).await;
            seen.wait_for(count).await;
            assert_eq!(handler(&service, "account").rejected, count as u64);
        }
        assert_eq!(service.stats().unmatched, 0);
        assert_eq!(handler(&service, "account").failed, 0);
    }

    async fn a_rejection_says_what_was_found_and_what_was_expected(world: World) {
        let bus = world.bus_with(|builder| builder.payload_limit(PAYLOAD_LIMIT)).await;
        let mut accounts = bus.subscribe(Account::channel(1_u64)).await.unwrap();
        world.publish_raw("accounts:1", r#"{"id":"m","type":"Invoice","data":{}}"#).await;
        let (_, _, found) = rejection(&mut accounts).await;
        assert!(matches!(&found, Rejection::WrongType { name: "Account", found, .. } if found == "Invoice"), "{found}");
        world.publish_raw("accounts:1", r#"{"id":"m","type":"Account","version":9,"data":{}}"#).await;
        let (_, _, found) = rejection(&mut accounts).await;
        assert!(matches!(found, Rejection::NewerVersion { name: "Account", found: 9, known: 2, .. }), "{found}");
        world.publish_raw("accounts:1", r#"{"id":5,"owner":"Ada"}"#).await;
        let (_, _, found) = rejection(&mut accounts).await;
        let Rejection::Address { template: "accounts:<id>", source, .. } = &found else { panic!("{found}") };
        assert!(matches!(source, AddressError::Disagrees { parameter: "id", .. }), "{found}");
        world.publish_raw("accounts:1", vec![b' '; PAYLOAD_LIMIT + 1]).await;
        let (_, payload, found) = rejection(&mut accounts).await;
        assert!(matches!(found, Rejection::TooLarge { size: 1_001, limit: PAYLOAD_LIMIT, .. }), "{found}");
        assert!(payload.is_empty());
        world.publish_raw("accounts:1", r#"{"id":1,"owner":5}"#).await;
        let (_, _, found) = rejection(&mut accounts).await;
        assert!(matches!(&found, Rejection::Undecodable { name: "Account", .. }), "{found}");
    }

    async fn a_rejection_quotes_nothing_of_the_payload(world: World) {
        let bus = world.bus().await;
        let mut accounts = bus.subscribe(Account::channel(1_u64)).await.unwrap();
        for payload in [
            r#"{"id":"hunter2","owner":"Ada"}"#,
            r#"{"id":1,"owner":["hunter2"]}"#,
            r#"{"id":"m","type":"Account","data":{"id":"hunter2"}}"#,
            r#"{"data":{"id":"hunter2"},"id":"m","type":"Account"}"#,
            r#"{"id":1,"owner":"hunter2"} hunter2"#,
            r#"{"id":1,"owner":"hunter2"#,
            r#""hunter2""#,
        ] {
            world.publish_raw("accounts:1", payload).await;
            let (_, _, rejection) = rejection(&mut accounts).await;
            assert_eq!(rejection.kind(), "undecodable payload");
            let words = format!("{rejection} {rejection:?}");
            assert!(!words.contains("hunter2") && words.contains("at line 1 column"), "{words}");
        }
    }

    async fn a_channel_that_is_no_address_is_an_event(world: World) {
        let bus = world.bus().await;
        let mut accounts = bus.subscribe(Account::any()).await.unwrap();
        let no_addresses = ["accounts:", "accounts:x", "accounts:01", "accounts:-1", "accounts:1 ",
            "accounts:%31", "accounts:18446744073709551616", "accounts:\u{e9}"];
        for channel in no_addresses {
            world.publish_raw(channel, r#"{"id":1,"owner":"Ada"}"#).await;
            world.publish_raw("accounts:1", r#"{"id":1,"owner":"Ada"}"#).await;
            let (found, _, rejection) = rejection(&mut accounts).await;
            assert_eq!(found, channel);
            assert_eq!(rejection.kind(), "address mismatch", "{rejection}");
            assert_eq!(message(&mut accounts).await.id, 1);
        }
        // Deeper channels are not of this template at all.
        for channel in ["accounts:1:2", "accounts::"] {
            world.publish_raw(channel, r#"{"id":1,"owner":"Ada"}"#).await;
            world.publish_raw("accounts:1", r#"{"id":1,"owner":"Ada"}"#).await;
            assert_eq!(message(&mut accounts).await.id, 1);
        }
        assert_eq!((accounts.stats().unmatched, accounts.stats().invalid), (2, no_addresses.len() as u64));
    }

    async fn a_channel_that_is_no_address_is_counted_by_a_service(world: World) {
        let (service, seen) = served(&world).await;
        for channel in ["accounts:", "accounts:x", "accounts:01", "accounts:1:2", "accounts:\u{e9}"] {
            world.publish_raw(channel, r#"{"id":1,"owner":"Ada"}"#).await;
        }
        world.publish_raw("accounts:1", r#"{"id":1,"owner":"Ada"}"#).await;
        seen.wait_for(1).await;
        assert_eq!(service.stats().unmatched, 5);
        // Only its spelling is a number's: it is too large for the type.
        world.publish_raw("accounts:18446744073709551616", r#"{"id":1,"owner":"Ada"}"#).await;
        eventually(SOON, async || handler(&service, "account").rejected == 1).await;
        assert_eq!(seen.len(), 1);
    }

    async fn a_payload_of_just_the_limit_is_taken(world: World) {
        let bus = world.bus_with(|builder| builder.payload_limit(PAYLOAD_LIMIT)).await;
        let mut accounts = bus.subscribe(Account::channel(1_u64)).await.unwrap();
        let empty = r#"{"id":1,"owner":""}"#.len();
        let payload = format!(r#"{{"id":1,"owner":"{}"}}"#, "x".repeat(PAYLOAD_LIMIT - empty));
        assert_eq!(payload.len(), PAYLOAD_LIMIT);
        world.publish_raw("accounts:1", &payload).await;
        assert_eq!(message(&mut accounts).await.owner.len(), PAYLOAD_LIMIT - empty);
    }
}

/// Only a server takes channels that are no UTF-8: the memory transport is spoken to in text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_no_text_is_an_event_and_a_counter() {
    let server = RedisServer::start().await;
    let bus = tidings::Bus::connect(&server.url()).await.unwrap();
    let mut accounts = bus.subscribe(Account::any()).await.unwrap();
    let seen = Recorder::new();
    let service = bus.serve(Accounts { seen: seen.clone() }).await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let payload = r#"{"id":1,"owner":"Ada"}"#;
    for channel in [&b"accounts:\xff"[..], b"accounts:\x00\r\n", b"accounts:1"] {
        let mut publish = redis::cmd("PUBLISH");
        let _: u64 = publish.arg(channel).arg(payload).query_async(&mut connection).await.unwrap();
    }
    for expected in ["accounts:\u{fffd}", "accounts:\0\r\n"] {
        let (channel, _, rejection) = rejection(&mut accounts).await;
        assert_eq!(channel, expected);
        assert_eq!(rejection.kind(), "address mismatch");
    }
    assert_eq!(message(&mut accounts).await.id, 1);
    seen.wait_for(1).await;
    assert_eq!(service.stats().unmatched, 2);
}
