//! What the server's access rules refuse is a typed error that names the channel and the rule that would allow it.
//!
//! Only a real server has access rules. A test applies the rule that the error names, to see that it is the right one.

use std::time::Duration;

use tidings::{Bus, Event, PublishError, Reconnect, SubscribeError, router};
use tidings_tests::{Recorder, RedisServer, eventually};

use crate::support::{News, SOON, Step, event, message};

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn step(&self, step: Step) {
        self.seen.record(step.n);
    }

    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }
}

/// A server with a user `anna` who may do everything, on these channels only.
async fn server(channels: &str) -> RedisServer {
    RedisServer::with_settings(&[&format!("user anna on >secret ~* resetchannels {channels} +@all")]).await
}

async fn anna(server: &RedisServer) -> Bus {
    anna_in(server, None).await
}

async fn anna_in(server: &RedisServer, namespace: Option<&str>) -> Bus {
    let reconnect =
        Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(100));
    let builder = Bus::builder(format!("redis://anna:secret@127.0.0.1:{}", server.port())).reconnect(reconnect);
    let builder = match namespace {
        Some(namespace) => builder.namespace(namespace),
        None => builder,
    };
    builder.connect().await.unwrap()
}

/// Runs the command that an error names.
async fn apply(server: &RedisServer, rule: &str) {
    let words: Vec<_> = rule.split(' ').collect();
    let _: String = server.command(&words).await;
}

fn refused(error: SubscribeError) -> (String, String) {
    match error {
        SubscribeError::Refused { channel, rule, .. } => (channel, rule),
        other => panic!("expected a refusal, not {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_channel_is_named_with_the_rule_that_allows_it() {
    let server = server("&line:1").await;
    let bus = anna(&server).await;
    let mut allowed = bus.subscribe(Step::channel(1_u64)).await.unwrap();
    let (channel, rule) = refused(bus.subscribe(News::channel()).await.unwrap_err());
    assert_eq!((channel.as_str(), rule.as_str()), ("news", "ACL SETUSER anna &news"));
    apply(&server, &rule).await;
    let mut news = bus.subscribe(News::channel()).await.unwrap();
    News { n: 1 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut news).await.n, 1);
    // A refusal does not disturb what was there.
    Step { line: 1, n: 2 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut allowed).await.n, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_needs_a_rule_of_its_own_which_the_error_names() {
    let server = server("&shop:line:1").await;
    let bus = anna_in(&server, Some("shop")).await;
    let (channel, rule) = refused(bus.subscribe(Step::any()).await.unwrap_err());
    assert!(channel.ends_with("line:*"), "{channel}");
    assert_eq!(rule, "ACL SETUSER anna &shop:line:*");
    apply(&server, &rule).await;
    let mut steps = bus.subscribe(Step::any()).await.unwrap();
    Step { line: 5, n: 5 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut steps).await.n, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_is_all_or_nothing() {
    let server = server("&line:*").await;
    let bus = anna(&server).await;
    let seen = Recorder::new();
    let (channel, rule) = refused(bus.serve(Listener { seen: seen.clone() }).await.unwrap_err());
    assert_eq!(channel, "news");
    eventually(SOON, async || server.numpat().await == 0 && server.subscriber_connections().await == 0).await;
    apply(&server, &rule).await;
    let _service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
    News { n: 1 }.publish(&bus).await.unwrap();
    Step { line: 1, n: 2 }.publish(&bus).await.unwrap();
    assert_eq!(seen.wait_for(2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_publish_is_named_with_the_rule_that_allows_it() {
    let server = server("&line:1").await;
    let bus = anna_in(&server, Some("shop")).await;
    let error = Step { line: 7, n: 1 }.publish(&bus).await.unwrap_err();
    assert!(!error.is_retryable());
    let PublishError::Refused { channel, rule, .. } = error else { panic!("{error}") };
    assert!(channel.contains("line:7"), "the channel is line:7, not {channel}");
    assert_eq!(rule, "ACL SETUSER anna &shop:line:7");
    apply(&server, &rule).await;
    Step { line: 7, n: 1 }.publish(&bus).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_command_is_named_as_such() {
    let server = server("&*").await;
    let _: String = server.command(&["ACL", "SETUSER", "anna", "-publish", "-subscribe", "-psubscribe"]).await;
    let bus = anna(&server).await;
    let (channel, rule) = refused(bus.subscribe(News::channel()).await.unwrap_err());
    assert_eq!((channel.as_str(), rule.as_str()), ("news", "ACL SETUSER anna +subscribe"));
    apply(&server, &rule).await;
    let (channel, rule) = refused(bus.subscribe(Step::any()).await.unwrap_err());
    assert_eq!((channel.as_str(), rule.as_str()), ("line:*", "ACL SETUSER anna +psubscribe"));
    apply(&server, &rule).await;
    let PublishError::Refused { rule, .. } = News { n: 1 }.publish(&bus).await.unwrap_err() else { panic!("refused") };
    apply(&server, &rule).await;
    let mut news = bus.subscribe(News::channel()).await.unwrap();
    let _steps = bus.subscribe(Step::any()).await.unwrap();
    News { n: 2 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut news).await.n, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_revoked_while_connected_is_reported_and_comes_back() {
    let server = server("&line:* &line:1 &news").await;
    let bus = anna(&server).await;
    let publisher = Bus::builder(server.url()).connect().await.unwrap();
    let mut news = bus.subscribe(News::channel()).await.unwrap();
    let mut steps = bus.subscribe(Step::any()).await.unwrap();
    let seen = Recorder::new();
    let service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();

    let _: String = server.command(&["ACL", "SETUSER", "anna", "resetchannels", "&line:*"]).await;
    match event(&mut news).await {
        Event::Refused(error) => assert_eq!(refused(error).0, "news"),
        other => panic!("expected a refusal, not {other:?}"),
    }
    // The other subscription goes on, after the gap that the server made.
    assert!(matches!(event(&mut steps).await, Event::Gap(_)));
    eventually(SOON, async || service.stats().gaps > 0).await;
    Step { line: 1, n: 1 }.publish(&publisher).await.unwrap();
    assert_eq!(message(&mut steps).await.n, 1);
    seen.wait_for(1).await;

    let _: String = server.command(&["ACL", "SETUSER", "anna", "&news"]).await;
    assert!(matches!(event(&mut news).await, Event::Gap(_)));
    News { n: 2 }.publish(&publisher).await.unwrap();
    assert_eq!(message(&mut news).await.n, 2);
    assert_eq!(seen.wait_for(2).await, [1, 2]);
}
