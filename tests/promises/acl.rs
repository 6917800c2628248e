//! What the server's access rules refuse is a typed error that names the channel and the rule that would allow it.
//!
//! Only a real server has access rules. A test applies the rule that the error names, to see that it is the right one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, NoError, PublishError, Reconnect, RequestError, SubscribeError, router};
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
pub(crate) async fn apply(server: &RedisServer, rule: &str) {
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
    assert_eq!((channel.as_str(), rule.as_str()), ("news", "ACL SETUSER anna +subscribe +unsubscribe"));
    apply(&server, &rule).await;
    let (channel, rule) = refused(bus.subscribe(Step::any()).await.unwrap_err());
    assert_eq!((channel.as_str(), rule.as_str()), ("line:*", "ACL SETUSER anna +psubscribe +punsubscribe"));
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

/// Does what an error advises, to the letter, until the operation works.
pub(crate) async fn follow<T, E: std::error::Error + 'static>(
    server: &RedisServer,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut advice = Vec::new();
    for _ in 0..=ROUNDS {
        let error = match attempt().await {
            Ok(done) => return done,
            Err(error) => causes(&error),
        };
        let rule = error.split('`').find(|words| words.starts_with("ACL SETUSER ")).map(str::to_owned);
        let rule = rule.unwrap_or_else(|| panic!("{what}: no advice in {error}"));
        assert!(!advice.contains(&rule), "{what}: {rule} did not help");
        apply(server, &rule).await;
        advice.push(rule);
    }
    panic!("{what} is still refused after {advice:?}")
}

/// The words of an error and its causes.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    if let Some(source) = error.source() {
        words += ": ";
        words += &causes(source);
    }
    words
}

const ROUNDS: usize = 6;

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct Quote {
    sku: u64,
}

struct Desk;

#[router]
impl Desk {
    #[handler]
    async fn quote(&self, quote: Quote) -> Result<u64, NoError> {
        Ok(quote.sku)
    }
}

/// A user who may do nothing, and one who may do everything.
pub(crate) async fn nobody_and_root() -> (RedisServer, Bus, Bus) {
    let server = server("-@all").await;
    let _: String =
        server.command(&["ACL", "SETUSER", "anna", "reset", "on", ">secret", "resetchannels", "-@all"]).await;
    let anna = anna_in(&server, Some("shop")).await;
    let root = Bus::builder(server.url()).namespace("shop").connect().await.unwrap();
    (server, anna, root)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_publish_and_to_subscribe() {
    let (server, anna, root) = nobody_and_root().await;
    follow(&server, "publishing", async || News { n: 1 }.publish(&anna).await).await;
    let steps = [Step { line: 1, n: 1 }, Step { line: 2, n: 1 }];
    let batch = async || anna.publish_all(&steps).await.into_iter().collect::<Result<Vec<_>, _>>();
    assert_eq!(follow(&server, "a batch", batch).await.len(), 2);
    let mut news = follow(&server, "a channel", async || anna.subscribe(News::channel()).await).await;
    let mut steps = follow(&server, "a pattern", async || anna.subscribe(Step::any()).await).await;
    News { n: 2 }.publish(&root).await.unwrap();
    Step { line: 3, n: 3 }.publish(&root).await.unwrap();
    assert_eq!((message(&mut news).await.n, message(&mut steps).await.n), (2, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_serve() {
    let (server, anna, root) = nobody_and_root().await;
    let seen = Recorder::new();
    let _service = follow(&server, "serving", async || anna.serve(Listener { seen: seen.clone() }).await).await;
    News { n: 1 }.publish(&root).await.unwrap();
    Step { line: 1, n: 2 }.publish(&root).await.unwrap();
    assert_eq!(seen.wait_for(2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_ask() {
    let (server, anna, root) = nobody_and_root().await;
    let _service = root.serve(Desk).await.unwrap();
    let answer = follow(&server, "requesting", async || Quote { sku: 7 }.request(&anna).await).await;
    assert_eq!(answer, 7);
    // What allows one bus allows the next.
    let another = anna_in(&server, Some("shop")).await;
    assert_eq!(Quote { sku: 7 }.request(&another).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_publish_atomically_and_nothing_before() {
    let (server, anna, root) = nobody_and_root().await;
    let mut steps = root.subscribe(Step::any()).await.unwrap();
    let batch =
        async || (0..3).map(|n| Step { line: n, n }).fold(anna.batch(), |batch, step| batch.push(&step)).atomic().await;
    assert_eq!(follow(&server, "an atomic batch", batch).await.len(), 3);
    for n in 0..3 {
        assert_eq!(message(&mut steps).await.n, n);
    }
    Step { line: 9, n: 9 }.publish(&root).await.unwrap();
    assert_eq!(message(&mut steps).await.n, 9, "nothing was published before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_that_lacks_any_right_is_not_published_and_not_tried_again() {
    let server = server("&*").await;
    let (anna, root) = (anna(&server).await, Bus::connect(&server.url()).await.unwrap());
    let mut steps = root.subscribe(Step::any()).await.unwrap();
    let batch =
        async || (0..3).map(|n| Step { line: n, n }).fold(anna.batch(), |batch, step| batch.push(&step)).atomic().await;
    // The first one has a connection that later ones find.
    batch().await.unwrap();
    for n in 0..3 {
        assert_eq!(message(&mut steps).await.n, n);
    }
    for (taken, given) in [
        (&["-multi"][..], &["+multi"][..]),
        (&["-exec"], &["+exec"]),
        (&["-publish"], &["+publish"]),
        (&["-multi", "-exec"], &["+multi", "+exec"]),
        (&["resetchannels", "&line:0", "&line:1"], &["allchannels"]),
    ] {
        let _: String = server.command(&[&["ACL", "SETUSER", "anna"][..], taken].concat()).await;
        for _ in 0..2 {
            let error = batch().await.unwrap_err();
            assert!(matches!(error, PublishError::Refused { .. }) && !error.is_retryable(), "{taken:?}: {error}");
        }
        let _: String = server.command(&[&["ACL", "SETUSER", "anna"][..], given].concat()).await;
        batch().await.unwrap();
        for n in 0..3 {
            assert_eq!(message(&mut steps).await.n, n, "nothing was published without {taken:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_whose_answers_are_refused_are_not_sent_until_that_changes() {
    let server = server("&tidings:*").await;
    let (anna, root) = (anna(&server).await, Bus::connect(&server.url()).await.unwrap());
    let service = root.serve(Desk).await.unwrap();
    assert_eq!(Quote { sku: 7 }.request(&anna).await.unwrap(), 7);
    let _: String = server.command(&["ACL", "SETUSER", "anna", "resetchannels"]).await;
    let short = Duration::from_millis(200);
    let is_refused =
        async || matches!(Quote { sku: 7 }.request(&anna).timeout(short).await, Err(RequestError::Subscribe(_)));
    eventually(SOON, is_refused).await;
    let handled = service.stats().handlers[0].handled;
    for _ in 0..10 {
        let error = Quote { sku: 7 }.request(&anna).timeout(SOON).await.unwrap_err();
        let RequestError::Subscribe(error) = error else { panic!("{error}") };
        assert_eq!(refused(error).1, "ACL SETUSER anna &tidings:*");
    }
    assert_eq!(service.stats().handlers[0].handled, handled, "none of them was executed");
    let _: String = server.command(&["ACL", "SETUSER", "anna", "&tidings:*"]).await;
    eventually(SOON, async || Quote { sku: 7 }.request(&anna).await.is_ok()).await;
}
