//! Limits are checked before anything is sent, settings before anything is connected, and connections are shared.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    net::TcpListener,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bounds, Bus, BusBuilder, ConnectError, Message, PublishError, SubscribeError, router};
use tidings_tests::{Recorder, RedisServer, World, eventually, on_each};

use crate::support::{News, SOON, Step, message};

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("notes:<name>")]
#[message(format = "plain")]
struct Note {
    name: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("texts")]
struct Text {
    text: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tables")]
struct Table {
    cells: BTreeMap<Vec<u8>, u8>,
}

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }

    #[handler]
    async fn note(&self, note: Note) {
        self.seen.record(note.name.len() as u64);
    }
}

fn note(length: usize) -> Note {
    Note { name: "x".repeat(length) }
}

async fn setting_error(world: &World, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> String {
    match settings(world.builder()).connect().await {
        Err(ConnectError::InvalidConfig(reason)) => reason,
        other => panic!("expected an invalid configuration, not {other:?}"),
    }
}

on_each! {
    async fn a_payload_above_the_limit_is_refused_by_the_sender(world: World) {
        // A plain note is `{"name":"…"}`.
        let bus = world.bus_with(|builder| builder.payload_limit(111)).await;
        let mut notes = bus.subscribe(Note::any()).await.unwrap();
        let error = note(101).publish(&bus).await.unwrap_err();
        assert!(
            matches!(error, PublishError::PayloadTooLarge { template: "notes:<name>", size: 112, limit: 111, .. }),
            "{error}"
        );
        assert!(!error.is_retryable());
        note(100).publish(&bus).await.unwrap();
        assert_eq!(message(&mut notes).await, note(100));
    }

    async fn the_default_payload_limit_is_ten_mebibytes(world: World) {
        let bus = world.bus().await;
        let error = Text { text: "x".repeat(10 * 1024 * 1024) }.publish(&bus).await.unwrap_err();
        assert!(matches!(error, PublishError::PayloadTooLarge { limit: 10_485_760, .. }), "{error}");
    }

    async fn a_name_above_the_limit_is_refused_by_publish_subscribe_and_serve(world: World) {
        let longer = world.name("").len();
        let bus = world.bus_in("shop", |builder| builder.name_limit(20 + longer)).await;
        // `shop:notes:` has 11 characters; characters count, not bytes.
        let ten = Note { name: "\u{e9}".repeat(10) };
        let nine = Note { name: "\u{e9}".repeat(9) };
        let error = ten.publish(&bus).await.unwrap_err();
        assert!(
            matches!(error, PublishError::NameTooLong { template: "notes:<name>", length, limit, .. } if (length, limit) == (21 + longer, 20 + longer)),
            "{error}"
        );
        assert!(!error.is_retryable());
        let error = bus.subscribe(Note::channel(&ten.name)).await.unwrap_err();
        assert!(matches!(error, SubscribeError::NameTooLong { length, .. } if length == 21 + longer), "{error}");
        let mut notes = bus.subscribe(Note::channel(&nine.name)).await.unwrap();
        nine.publish(&bus).await.unwrap();
        assert_eq!(message(&mut notes).await, nine);
        drop(notes);

        let short = world.bus_with(|builder| builder.name_limit(6 + longer)).await;
        let error = short.serve(Listener { seen: Recorder::new() }).await.unwrap_err();
        assert!(matches!(error, SubscribeError::NameTooLong { length, .. } if length == 7 + longer), "{error}");
        assert_eq!(world.subscriptions("news").await, 0);
    }

    async fn the_default_name_limit_is_512_characters(world: World) {
        let bus = world.bus().await;
        let channel = world.name("notes:").len();
        note(512 - channel).publish(&bus).await.unwrap();
        let error = note(513 - channel).publish(&bus).await.unwrap_err();
        assert!(matches!(error, PublishError::NameTooLong { length: 513, limit: 512, .. }), "{error}");
    }

    /// Longer names were once sent and then, at the other end, cut or taken for a broken protocol.
    async fn the_longest_name_arrives_by_channel_and_by_pattern(world: World) {
        let bus = world.bus_with(|builder| builder.name_limit(16_384)).await;
        let name = "🦀".repeat(16_384 - world.name("notes:").len());
        let mut exact = bus.subscribe(Note::channel(&name)).await.unwrap();
        let mut any = bus.subscribe(Note::any()).await.unwrap();
        Note { name: name.clone() }.publish(&bus).await.unwrap();
        for notes in [&mut exact, &mut any] {
            assert!(message(notes).await.name == name);
        }
    }

    async fn a_message_that_cannot_be_encoded_is_not_published(world: World) {
        let bus = world.bus().await;
        let error = Table { cells: [(vec![1], 1)].into() }.publish(&bus).await.unwrap_err();
        assert!(matches!(error, PublishError::Encode { name: "Table", .. }), "{error}");
        assert!(!error.is_retryable());
    }

    async fn settings_out_of_their_range_are_refused_by_name(world: World) {
        let zero = Duration::ZERO;
        for (word, reason) in [
            ("payload_limit", setting_error(&world, |builder| builder.payload_limit(0)).await),
            ("payload_limit", setting_error(&world, |builder| builder.payload_limit(1 << 30)).await),
            ("name_limit", setting_error(&world, |builder| builder.name_limit(0)).await),
            ("name_limit", setting_error(&world, |builder| builder.name_limit(16_385)).await),
            ("connect", setting_error(&world, |builder| builder.connect_timeout(zero)).await),
            ("command", setting_error(&world, |builder| builder.command_timeout(zero)).await),
            ("ping", setting_error(&world, |builder| builder.ping_interval(zero).ping_deadline(SOON)).await),
            ("ping", setting_error(&world, |builder| builder.ping_interval(SOON).ping_deadline(zero)).await),
            ("subscription_buffer", setting_error(&world, |builder| builder.subscription_buffer(Bounds::messages(0).bytes(1))).await),
            ("handler_buffer", setting_error(&world, |builder| builder.handler_buffer(Bounds::messages(1).bytes(0))).await),
            ("namespace", setting_error(&world, |builder| builder.namespace("")).await),
            ("namespace", setting_error(&world, |builder| builder.namespace("a*")).await),
            ("namespace", setting_error(&world, |builder| builder.namespace("a b")).await),
        ] {
            assert!(reason.contains(word), "{reason}");
        }
    }

    async fn all_subscriptions_and_services_of_a_bus_share_one_connection(world: World) {
        let bus = world.bus().await;
        let mut channels = Vec::new();
        for line in 0..150 {
            channels.push(bus.subscribe(Step::channel(line)).await.unwrap());
        }
        let mut patterns = Vec::new();
        for _ in 0..50 {
            patterns.push(bus.subscribe(Step::any()).await.unwrap());
        }
        let mut services = Vec::new();
        let seen = Recorder::new();
        for _ in 0..3 {
            services.push(bus.serve(Listener { seen: seen.clone() }).await.unwrap());
        }
        // What a cluster asks of services goes to the nodes that have the slots of the questions.
        let most = if world.is_cluster() { 4 } else { 1 };
        assert!((1..=most).contains(&world.subscriber_connections().await));
        // What several of them want is subscribed once.
        assert_eq!(world.patterns().await, 2);
        assert_eq!(world.subscriptions("news").await, 1);
        for line in 0..150 {
            Step { line, n: line }.publish(&bus).await.unwrap();
        }
        News { n: 1 }.publish(&bus).await.unwrap();
        for (line, steps) in (0..150).zip(&mut channels) {
            assert_eq!(message(steps).await.n, line);
        }
        for steps in &mut patterns {
            for line in 0..150 {
                assert_eq!(message(steps).await.n, line);
            }
        }
        assert_eq!(seen.wait_for(3).await, [1, 1, 1]);
    }
}

/// The number that the server has given to the connection for commands of the only bus.
async fn connection(server: &RedisServer) -> String {
    let clients: String = server.command(&["CLIENT", "LIST"]).await;
    let client = clients.lines().find(|client| client.contains("name=tidings ")).unwrap();
    client.split(' ').next().unwrap().to_owned()
}

/// A message above the server's own limit, and what others publish meanwhile.
async fn too_large_for_the_server(bus: &Bus, server: &RedisServer) -> PublishError {
    let watcher = Bus::connect(&server.url()).await.unwrap();
    let mut news = watcher.subscribe(News::channel()).await.unwrap();
    let large = Text { text: "x".repeat(2 * 1024 * 1024) };
    let others = async {
        for n in 0..200 {
            News { n }.publish(bus).await.unwrap();
        }
    };
    let (error, ()) = tokio::join!(async { large.publish(bus).await.unwrap_err() }, others);
    for n in 0..200 {
        assert_eq!(message(&mut news).await.n, n, "nobody else is cut off");
    }
    let batch = bus.batch().push(&News { n: 7 }).push(&large).push(&News { n: 8 });
    let results = batch.await;
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok(), "{results:?}");
    assert!(bus.batch().push(&News { n: 9 }).push(&large).atomic().await.is_err());
    assert_eq!((message(&mut news).await.n, message(&mut news).await.n), (7, 8));
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_above_the_servers_limit_is_refused_before_it_is_sent() {
    let server = RedisServer::with_settings(&["proto-max-bulk-len 1mb"]).await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let before = connection(&server).await;
    let error = too_large_for_the_server(&bus, &server).await;
    assert!(
        matches!(error, PublishError::PayloadTooLarge { limit: 1_048_576, .. }) && !error.is_retryable(),
        "{error}"
    );
    eventually(SOON, async || connection(&server).await == before).await;
    // The limit is raised: it is asked for again.
    let _: String = server.command(&["CONFIG", "SET", "proto-max-bulk-len", "512mb"]).await;
    Text { text: "x".repeat(2 * 1024 * 1024) }.publish(&bus).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_above_a_limit_that_may_not_be_read_cuts_off_nobody_else() {
    let server = RedisServer::with_settings(&["proto-max-bulk-len 1mb", "user anna on >secret &* +@all -config"]).await;
    let url = server.url().replace("redis://", "redis://anna:secret@");
    let error = too_large_for_the_server(&Bus::connect(&url).await.unwrap(), &server).await;
    // The server closes the connection while it is sent to, so its words may be lost.
    assert!(
        matches!(error, PublishError::Server { .. } | PublishError::ConnectionLost { .. }) && !error.is_retryable(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_does_not_fill_the_memory() {
    let server = RedisServer::start().await;
    let bus = Bus::builder(server.url()).publish_buffer(256 * 1024).command_timeout(Duration::from_secs(2));
    let bus = bus.connect().await.unwrap();
    server.pause();
    // As much as the network takes, and the buffer, and much more.
    let text = Text { text: "x".repeat(64 * 1024) };
    for _ in 0..400 {
        let mut publish = pin!(text.publish(&bus).into_future());
        let polled = std::future::poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    let error = text.publish(&bus).await.unwrap_err();
    assert!(matches!(error, PublishError::Overloaded { .. } | PublishError::NotConnected { .. }), "{error}");
    assert!(error.is_retryable());
    server.resume();
    eventually(SOON, async || text.publish(&bus).await.is_ok()).await;
}

#[tokio::test]
async fn an_absent_server_is_a_clear_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    let error = Bus::connect(&format!("redis://127.0.0.1:{port}")).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_at_the_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let error = Bus::builder(url).connect_timeout(timeout).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::TimedOut { timeout: said, .. } if *said == timeout), "{error}");
    assert!((timeout..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_its_password() {
    for url in
        ["", "redis", "http://127.0.0.1", "redis://", "redis://anna:hunter2@host:port", "redis://anna:hunter2@:1"]
    {
        let error = Bus::connect(url).await.unwrap_err();
        assert!(matches!(&error, ConnectError::InvalidUrl { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_a_typed_error_without_the_password() {
    let server = RedisServer::with_settings(&["requirepass opensesame"]).await;
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    for error in [Bus::connect(&url).await.unwrap_err(), Bus::connect(&server.url()).await.unwrap_err()] {
        assert!(matches!(&error, ConnectError::Unauthorized { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let bus = Bus::builder(&url).credentials("default", "opensesame").connect().await.unwrap();
    News { n: 1 }.publish(&bus).await.unwrap();
}
