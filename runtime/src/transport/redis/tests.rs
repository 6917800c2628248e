pub(crate) mod cluster;
mod cluster_queues;
mod connecting;
pub(crate) mod server;
pub(crate) mod shards;
#[cfg(feature = "tls")]
mod tls;
mod together;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use self::server::DEADLINE;
use self::server::Server;
use self::server::eventually;
use self::server::free_port;

use crate::{
    config::{Bounds, Reconnect},
    transport::{
        contract::{Name, Reach, ReceiptComes},
        frame::Origin,
        inbox::{Item, WhenFull},
        status::{Gap, GapCause, NameKind},
    },
};

use super::*;

fn config() -> Config {
    Config {
        reconnect: Reconnect::default()
            .first_pause(Duration::from_millis(10))
            .longest_pause(Duration::from_millis(100)),
        ..Config::default()
    }
}

fn channel(text: &str) -> Wanted {
    Wanted { name: Name { text: text.into(), kind: NameKind::Channel }, token: 1 }
}

fn pattern(text: &str) -> Wanted {
    Wanted { name: Name { text: text.into(), kind: NameKind::Pattern }, token: 2 }
}

/// A subscription as the floors above have one.
struct Reader {
    inbox: Arc<Inbox>,
    items: VecDeque<Item>,
    _attachment: Attachment,
}

impl Reader {
    async fn attach(redis: &Redis, names: Vec<Wanted>) -> Result<Self, SubscribeError> {
        Self::attach_with(redis, names, Bounds { messages: 100_000, bytes: 1 << 26 }, WhenFull::DropOldest).await
    }

    async fn attach_with(
        redis: &Redis,
        names: Vec<Wanted>,
        bounds: Bounds,
        overflow: WhenFull,
    ) -> Result<Self, SubscribeError> {
        let inbox = Arc::new(Inbox::new(bounds, overflow));
        let attachment = redis.attach(Arc::clone(&inbox), names).await?;
        Ok(Self { inbox, items: VecDeque::new(), _attachment: attachment })
    }

    /// The next item; nothing when the inbox has ended.
    async fn next(&mut self) -> Option<Item> {
        if self.items.is_empty() {
            let take = std::future::poll_fn(|context| self.inbox.poll_take(context, &mut self.items, 1_000));
            if !tokio::time::timeout(DEADLINE, take).await.expect("an item in time") {
                return None;
            }
        }
        self.items.pop_front()
    }

    async fn message(&mut self) -> (String, String, u32) {
        match self.next().await {
            Some(Item::Frame(frame)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let Origin::Broadcast { token } = frame.origin() else { panic!("it came to an inbox") };
                (text(frame.channel()), text(frame.payload()), token)
            }
            other => panic!("{other:?} is no message"),
        }
    }

    async fn gap(&mut self) -> Gap {
        match self.next().await {
            Some(Item::Gap(gap)) => gap,
            other => panic!("{other:?} is no gap"),
        }
    }
}

fn parcel(channel: &str, payload: &str) -> Parcel {
    let (channel, payload) = (channel.to_owned(), payload.as_bytes().to_vec());
    Parcel { template: "a", reach: Reach::Channel, channel, payload, expiry: None, receipt: ReceiptComes::Anytime }
}

async fn publish(redis: &Redis, channel: &str, payload: &str) -> Published {
    redis.publish(parcel(channel, payload)).await
}

async fn connected(server: &Server) -> Redis {
    Redis::connect(&server.url(), &config()).await.unwrap()
}

#[tokio::test]
async fn delivers_what_is_published_after_attach_returns() {
    let server = Server::start();
    let config = Config { namespace: Some("shop".into()), ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let mut exact = Reader::attach(&redis, vec![channel("shop:a")]).await.unwrap();
    let mut glob = Reader::attach(&redis, vec![pattern("shop:a*"), channel("shop:b")]).await.unwrap();
    assert_eq!(publish(&redis, "shop:a", "1").await.unwrap(), Some(2), "the connection counts once for each name");
    assert_eq!(publish(&redis, "shop:b", "2").await.unwrap(), Some(1));
    assert_eq!(publish(&redis, "shop:c", "3").await.unwrap(), Some(0));
    assert_eq!(exact.message().await, ("a".into(), "1".into(), 1));
    assert_eq!(glob.message().await, ("a".into(), "1".into(), 2));
    assert_eq!(glob.message().await, ("b".into(), "2".into(), 1));
    assert_eq!(redis.status(), Status::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_order_of_publishes_that_are_started_one_after_the_other() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    let publishes = (0..2_000).map(|number| redis.publish(parcel("a", &number.to_string())));
    for result in futures_util::future::join_all(publishes).await {
        assert_eq!(result.unwrap(), Some(1));
    }
    for number in 0..2_000 {
        assert_eq!(reader.message().await.1, number.to_string());
    }
}

#[tokio::test]
async fn serves_200_attachments_over_one_connection_and_unsubscribes_on_drop() {
    let server = Server::start();
    let redis = connected(&server).await;
    let attach = |number: usize| {
        let names = vec![channel("shared"), channel(&format!("own:{number}")), pattern(&format!("p:{number}:*"))];
        Reader::attach(&redis, names)
    };
    let readers = futures_util::future::join_all((0..200).map(attach)).await;
    let mut readers: Vec<_> = readers.into_iter().map(Result::unwrap).collect();
    let clients = server.text("CLIENT LIST");
    assert_eq!(clients.matches("name=tidings-sub ").count(), 1);
    assert_eq!(clients.matches("name=tidings ").count(), 1);
    assert_eq!(server.subscribers("shared"), 1);
    assert_eq!(server.patterns(), 200);
    assert_eq!(publish(&redis, "shared", "x").await.unwrap(), Some(1));
    for reader in &mut readers {
        assert_eq!(reader.message().await.0, "shared");
    }
    readers.truncate(1);
    eventually("all others are unsubscribed", || server.patterns() == 1 && server.subscribers("own:199") == 0).await;
    assert_eq!(server.subscribers("shared"), 1);
    drop(readers);
    eventually("the last is unsubscribed", || server.patterns() == 0 && server.subscribers("shared") == 0).await;
}

#[tokio::test]
async fn a_dropped_attach_leaves_nothing_behind() {
    let server = Server::start();
    let redis = connected(&server).await;
    for _ in 0..50 {
        let names = (0..20).map(|number| channel(&format!("a:{number}"))).collect();
        let attach = Reader::attach(&redis, names);
        let _ = tokio::time::timeout(Duration::from_micros(50), attach).await;
    }
    let _reader = Reader::attach(&redis, vec![channel("a:0")]).await.unwrap();
    eventually("the others are gone", || server.subscribers("a:7") == 0).await;
    assert_eq!(server.subscribers("a:0"), 1);
}

#[tokio::test]
async fn dropping_the_transport_ends_inboxes_and_connections() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    drop(redis);
    assert!(matches!(reader.next().await, Some(Item::Ended(_))));
    assert!(reader.next().await.is_none());
    eventually("both connections are closed", || !server.text("CLIENT LIST").contains("name=tidings")).await;
}

#[tokio::test]
async fn a_killed_connection_is_a_gap_and_everything_is_subscribed_again() {
    let server = Server::start();
    let redis = connected(&server).await;
    let names = (0..1_000).map(|number| channel(&format!("c:{number}"))).chain([pattern("p*")]).collect();
    let mut reader = Reader::attach(&redis, names).await.unwrap();
    for round in 0..5 {
        server.run("CLIENT KILL TYPE pubsub");
        let gap = reader.gap().await;
        assert!(matches!(gap.cause, GapCause::Disconnected(_)), "{gap:?}");
        eventually("all are back", || redis.status() == Status::Connected && server.patterns() == 1).await;
        for number in [0, 999] {
            assert_eq!(publish(&redis, &format!("c:{number}"), "x").await.unwrap(), Some(1), "round {round}");
        }
        // Names confirmed one read later are told as a further gap.
        let mut received = 0;
        while received < 2 {
            match reader.next().await {
                Some(Item::Frame(_)) => received += 1,
                Some(Item::Gap(_)) => assert_eq!(received, 0),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Messages are numbered; a number may be missing only where a gap is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_loss_is_unreported_while_connections_are_killed() {
    let server = Server::start();
    let redis = Arc::new(connected(&server).await);
    let mut reader = Reader::attach(&redis, vec![pattern("a*")]).await.unwrap();
    let publisher = Arc::clone(&redis);
    let mut tokio_tasks = tokio::task::JoinSet::new();
    tokio_tasks.spawn(async move {
        for number in 0_u64.. {
            // The command connection is not killed, so every publish succeeds.
            publisher.publish(parcel("a", &number.to_string())).await.unwrap();
        }
    });
    let (mut expected, mut gap, mut gaps) = (0, false, 0);
    let mut next_kill = 500;
    while gaps < 30 || gap {
        match reader.next().await.unwrap() {
            Item::Frame(frame) => {
                let number: u64 = std::str::from_utf8(frame.payload()).unwrap().parse().unwrap();
                assert!(number == expected || (gap && number > expected), "{number} after {expected}, gap: {gap}");
                (expected, gap) = (number + 1, false);
            }
            Item::Gap(_) => (gap, gaps) = (true, gaps + 1),
            other => panic!("{other:?}"),
        }
        if expected >= next_kill {
            server.run("CLIENT KILL TYPE pubsub");
            next_kill = expected + 500;
        }
    }
}

#[tokio::test]
async fn survives_a_restart_of_the_server() {
    let mut server = Server::start();
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![channel("a"), pattern("b*")]).await.unwrap();
    server.kill();
    eventually("the loss is noticed", || matches!(redis.status(), Status::Reconnecting { .. })).await;
    let lost = format!("127.0.0.1:{}", server.port);
    assert!(matches!(redis.status(), Status::Reconnecting { server: Some(server), .. } if server == lost));
    server.restart();
    let gap = reader.gap().await;
    assert!(gap.lasted > Duration::ZERO);
    assert_eq!(publish(&redis, "b1", "x").await.unwrap(), Some(1), "the publisher is back as well");
    loop {
        match reader.next().await {
            Some(Item::Frame(frame)) => break assert_eq!(frame.channel(), b"b1"),
            Some(Item::Gap(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(redis.status(), Status::Connected);
}

#[tokio::test]
async fn gives_up_when_it_is_told_to() {
    let mut server = Server::start();
    let reconnect = config().reconnect.give_up_after(Duration::from_millis(200));
    let redis = Redis::connect(&server.url(), &Config { reconnect, ..config() }).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    server.kill();
    assert!(matches!(reader.next().await, Some(Item::Ended(_))));
    assert!(reader.next().await.is_none());
    assert_eq!(redis.status(), Status::Closed);
    let refused = Reader::attach(&redis, vec![channel("a")]).await.err();
    assert!(matches!(refused, Some(SubscribeError::Closed { .. })));
}

#[tokio::test]
async fn a_stopped_server_is_noticed_and_no_call_waits_beyond_its_deadline() {
    let server = Server::start();
    let config = Config {
        ping_interval: Duration::from_millis(100),
        ping_deadline: Duration::from_millis(300),
        command_timeout: Duration::from_millis(500),
        ..config()
    };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    server.signal("STOP");
    let start = Instant::now();
    let (published, attached) = tokio::join!(publish(&redis, "a", "1"), Reader::attach(&redis, vec![channel("b")]));
    assert!(matches!(published, Err(PublishError::TimedOut { .. })), "{published:?}");
    assert!(matches!(attached.err(), Some(SubscribeError::TimedOut { channel, .. }) if channel == "b"));
    assert!(start.elapsed() < Duration::from_secs(5));
    eventually("the silence is noticed", || {
        matches!(redis.status(), Status::Reconnecting { cause: GapCause::Timeout, .. })
    })
    .await;
    server.signal("CONT");
    assert_eq!(reader.gap().await.cause, GapCause::Timeout);
    eventually("a publish arrives", || redis.status() == Status::Connected).await;
    assert_eq!(publish(&redis, "a", "2").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_publish_waits_for_the_connection_but_not_for_ever() {
    let mut server = Server::start();
    let config = Config { command_timeout: Duration::from_millis(300), ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    server.kill();
    eventually("the loss is noticed", || matches!(redis.status(), Status::Reconnecting { .. })).await;
    let start = Instant::now();
    let many = (0..100).map(|_| publish(&redis, "a", "x"));
    for failed in futures_util::future::join_all(many).await {
        assert!(
            matches!(failed, Err(PublishError::NotConnected { .. } | PublishError::ConnectionLost { .. })),
            "{failed:?}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    server.restart();
    let mut published = publish(&redis, "a", "x").await;
    while start.elapsed() < DEADLINE && published.is_err() {
        published = publish(&redis, "a", "x").await;
    }
    published.unwrap();
}

#[tokio::test]
async fn a_quiet_server_that_answers_is_kept() {
    let server = Server::start();
    let config =
        Config { ping_interval: Duration::from_millis(20), ping_deadline: Duration::from_secs(10), ..config() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    let pings = || server.text("INFO commandstats").contains("cmdstat_ping:calls=1");
    eventually("ten pings", || pings() && redis.status() == Status::Connected).await;
    publish(&redis, "a", "1").await.unwrap();
    assert_eq!(reader.message().await.1, "1");
}

#[tokio::test]
async fn one_refused_name_in_a_hundred_is_named_and_the_others_live() {
    let server = Server::start();
    server.run("ACL SETUSER shop on >secret +@all resetchannels &ok:*");
    let url = format!("redis://shop:secret@127.0.0.1:{}", server.port);
    let redis = Redis::connect(&url, &config()).await.unwrap();
    let (refused, live) = tokio::join!(
        Reader::attach(&redis, vec![channel("ok:a"), channel("private"), channel("ok:b")]),
        futures_util::future::join_all(
            (0..99).map(|number| Reader::attach(&redis, vec![channel(&format!("ok:{number}"))]))
        ),
    );
    assert!(live.iter().all(Result::is_ok));
    match refused.err() {
        Some(SubscribeError::Refused { channel, rule, .. }) => {
            assert_eq!((channel.as_str(), rule.as_str()), ("private", "ACL SETUSER shop &ok:a &private &ok:b"));
        }
        other => panic!("{other:?}"),
    }
    eventually("the rest of the attach is undone", || server.subscribers("ok:a") == 0).await;
    let refused = publish(&redis, "private", "x").await;
    assert!(matches!(&refused, Err(PublishError::Refused { rule, .. }) if rule == "ACL SETUSER shop &private"));
    assert_eq!(publish(&redis, "ok:7", "x").await.unwrap(), Some(1));
    server.run("ACL SETUSER shop -publish");
    let refused = publish(&redis, "ok:7", "x").await;
    assert!(matches!(&refused, Err(PublishError::Refused { rule, .. }) if rule == "ACL SETUSER shop +publish"));
}

#[tokio::test]
async fn a_name_revoked_during_life_is_reported_and_comes_back() {
    let server = Server::start();
    server.run("ACL SETUSER shop on nopass +@all resetchannels &a &b");
    let redis = Redis::connect(&format!("redis://shop:x@127.0.0.1:{}", server.port), &config()).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![channel("a"), channel("b")]).await.unwrap();
    server.run("ACL SETUSER shop resetchannels &a");
    let mut refused = None;
    while refused.is_none() {
        match reader.next().await {
            Some(Item::Refused(SubscribeError::Refused { channel, .. })) => refused = Some(channel),
            Some(Item::Gap(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused.as_deref(), Some("b"));
    eventually("the other name is back", || server.subscribers("a") == 1).await;
    server.run("ACL SETUSER shop &b");
    eventually("the name is back", || server.subscribers("b") == 1).await;
    publish(&redis, "b", "x").await.unwrap();
    loop {
        match reader.next().await {
            Some(Item::Frame(frame)) => break assert_eq!(frame.channel(), b"b"),
            Some(Item::Gap(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_skipped_and_reported() {
    let server = Server::start();
    let redis = Redis::connect(&server.url(), &Config { payload_limit: 1_000, ..config() }).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![pattern("a*")]).await.unwrap();
    publish(&redis, "a1", &"x".repeat(3_000_000)).await.unwrap();
    publish(&redis, "a2", &"y".repeat(1_000)).await.unwrap();
    match reader.next().await {
        Some(Item::Oversized { token: 2, channel, size: 3_000_000, .. }) => assert_eq!(channel, b"a1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(reader.message().await.0, "a2");
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    for size in [100_000, 130_000, 262_144, 3_000_000, 10, 10 * 1024 * 1024, 5] {
        publish(&redis, "a", &"z".repeat(size)).await.unwrap();
        let payload = reader.message().await.1;
        assert!(payload.len() == size && payload.bytes().all(|byte| byte == b'z'));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_reader_waits_for_a_slow_consumer() {
    let server = Server::start();
    let redis = connected(&server).await;
    let bounds = Bounds { messages: 100, bytes: 1 << 20 };
    let mut slow = Reader::attach_with(&redis, vec![channel("a")], bounds, WhenFull::Wait).await.unwrap();
    let all = async {
        for hundred in 0..200 {
            let numbers = hundred * 100..hundred * 100 + 100;
            let publishes = numbers.map(|number| redis.publish(parcel("a", &number.to_string())));
            futures_util::future::join_all(publishes).await;
        }
    };
    let received = async {
        for number in 0..20_000 {
            assert_eq!(slow.message().await.1, number.to_string());
        }
    };
    tokio::join!(all, received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stands_still_stalls_the_others_only_for_a_moment_and_learns_what_it_lost() {
    let server = Server::start();
    let redis = connected(&server).await;
    let bounds = Bounds { messages: 10, bytes: 1 << 20 };
    let mut stuck = Reader::attach_with(&redis, vec![channel("a")], bounds, WhenFull::Wait).await.unwrap();
    let mut other = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    for number in 0..500 {
        publish(&redis, "a", &number.to_string()).await.unwrap();
    }
    for number in 0..500 {
        assert_eq!(other.message().await.1, number.to_string());
    }
    let (mut received, mut lagged) = (0, 0);
    while received + lagged < 500 {
        match stuck.next().await {
            Some(Item::Frame(_)) => received += 1,
            Some(Item::Lagged(count)) => lagged += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received + lagged, 500);
    assert!(lagged > 0);
}

#[tokio::test]
async fn says_why_it_cannot_connect() {
    let server = Server::start();
    server.run("ACL SETUSER shop on >hunter2 +@all &*");
    let connect = |url: String| async move { Redis::connect(&url, &config()).await.unwrap_err() };

    let error = connect(format!("redis://shop:wrong-one@127.0.0.1:{}", server.port)).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("wrong-one"));

    let error = connect(format!("redis://127.0.0.1:{}", free_port())).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");

    let error = connect("redis://no-such-host.invalid".into()).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");

    let error = connect("redis://localhost/3".into()).await;
    assert!(matches!(error, ConnectError::InvalidUrl { .. }), "{error:?}");

    // What it says to write is tried.
    server.run("CONFIG SET requirepass hunter3");
    let error = connect(format!("redis://127.0.0.1:{}", server.port)).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
    assert!(error.to_string().contains("write it in the address, `redis://:password@host`"), "{error}");
    let url = format!("redis://:hunter3@127.0.0.1:{}", server.port);
    assert!(Redis::connect(&url, &config()).await.is_ok());

    #[cfg(not(feature = "tls"))]
    assert!(connect("rediss://localhost".into()).await.to_string().contains("feature `tls`"));
}

#[tokio::test]
async fn a_replica_is_refused() {
    let master = Server::start();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let error = Redis::connect(&replica.url(), &config()).await.unwrap_err();
    assert!(error.to_string().contains("connect to the master"), "{error}");
}

/// Accepts connections and answers each with the same bytes, or not at all.
async fn listener(answer: &'static [u8]) -> (String, tokio::task::JoinSet<()>) {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut tokio_task = tokio::task::JoinSet::new();
    tokio_task.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(answer).await;
            held.push(stream);
        }
    });
    (url, tokio_task)
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let (url, _tokio_task) = listener(b"").await;
    let config = Config { connect_timeout: Duration::from_millis(100), ..config() };
    let start = Instant::now();
    let error = Redis::connect(&url, &config).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_is_no_redis_is_said_to_be_none() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"-ERR unknown command 'HELLO', with args: 'hunter2'\r\n"]
    {
        let (url, _tokio_task) = listener(answer).await;
        let error = Redis::connect(&url, &config()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unusable { .. }), "{error:?}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
