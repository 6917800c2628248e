//! What a service does and what goes wrong is logged with what is needed to find it, and the payload never is.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{error::Error, fmt, io, sync::LazyLock, time::Instant};

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, BusEvents, Event, Message, router};
use tidings_tests::{LogLines, RedisServer, Sentinels, World, eventually};
use tokio::time::Duration;

const SOON: Duration = Duration::from_secs(20);

const SECRET: &str = "swordfish";

#[derive(Message, Serialize, Deserialize)]
#[channel("vaults:<vault>")]
struct Opened {
    vault: u64,
    code: String,
}

/// An error with causes.
#[derive(Debug)]
struct Asleep(Night);

#[derive(Debug)]
struct Night(io::Error);

impl fmt::Display for Asleep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the guard is asleep")
    }
}

impl Error for Asleep {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Night {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it is night")
    }
}

impl Error for Night {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

struct Guard;

#[router]
impl Guard {
    #[handler(timeout = "50ms")]
    async fn opened(&self, opened: Opened) -> Result<(), Asleep> {
        match opened.vault {
            1 => Err(Asleep(Night(io::Error::other("it is dark")))),
            2 => panic!("a handler of a test panics, as it should"),
            3 => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

/// Every log line of this process.
static LINES: LazyLock<LogLines> = LazyLock::new(|| LogLines::of_this_process(false));

fn lines() -> Vec<String> {
    LINES.all()
}

/// The lines that hold all of these.
fn with(parts: &[&str]) -> Vec<String> {
    lines().into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}

/// Whatever was logged or told: nothing of it is a secret.
fn assert_no_secret(events: &[BusEvent]) {
    for secret in [SECRET, PASSWORD] {
        let found = with(&[secret]);
        assert!(found.is_empty(), "{secret}: {found:#?}");
        assert!(!format!("{events:?}").contains(secret), "{secret}: {events:#?}");
    }
}

fn told(events: &mut BusEvents) -> Vec<BusEvent> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

/// One test, because the subscriber is the whole process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_logs() {
    LazyLock::force(&LINES);
    for world in [World::memory(), World::redis().await] {
        trouble_is_logged_with_what_is_needed_to_find_it_and_without_the_payload(&world).await;
        lines_of_a_kind_are_one_each_second_and_none_is_left_out(&world).await;
        start_stop_and_drop_are_said(&world).await;
        requests_for_which_nobody_waits_are_logged(&world).await;
    }
    no_error_shows_a_password().await;
    whoever_follows_the_advice_of_the_log_gets_to_take_requests_of_other_programs().await;
    whoever_follows_the_advice_of_the_log_gets_to_hear_the_sentinels().await;
}

async fn trouble_is_logged_with_what_is_needed_to_find_it_and_without_the_payload(world: &World) {
    LINES.clear();
    let bus = world.bus_with(|builder| builder.payload_limit(300)).await;
    let mut events = bus.events();
    let service = bus.serve(Guard).await.unwrap();
    let mut subscription = bus.subscribe(Opened::any()).await.unwrap();
    for vault in 1..=3 {
        Opened { vault, code: SECRET.to_owned() }.publish(&bus).await.unwrap();
    }
    let bad = [
        format!(r#"{{"vault": "{SECRET}", "code": 1}}"#),
        format!(r#"{{"vault": 9, "code": "{SECRET}"}}"#),
        format!(r#"{{"id":"a","type":"{SECRET}","data":{{}}}}"#),
        format!(r#"{{"id":"the-\u001bid","type":"Opened","version":7,"data":{{"code":"{SECRET}"}}}}"#),
        SECRET.repeat(100),
        SECRET.to_owned(),
        format!(r#""{SECRET}""#),
        format!(r#"["{SECRET}"]"#),
        format!(r#"{{"vault":4,"code":{{"{SECRET}":"{SECRET}"}}}}"#),
        format!(r#"{{"id":"a","type":"Opened","data":{{"vault":"{SECRET}"}}}}"#),
    ];
    for payload in &bad {
        world.publish_raw("vaults:4", payload).await;
    }
    eventually(SOON, async || service.stats().handlers[0].rejected == bad.len() as u64).await;
    eventually(SOON, async || service.stats().handlers[0].timed_out == 1).await;
    for _ in 0..3 + bad.len() {
        subscription.next().await.unwrap();
    }
    service.shutdown().await.unwrap();
    for expected in [
        "a handler failed",
        "a handler panicked",
        "a handler ran past its timeout",
        "undecodable payload",
        "wrong type",
        "newer version",
        "address mismatch",
        "payload too large",
    ] {
        let logged = with(&[expected, "template=\"vaults:<vault>\"", "channel=\"vaults:"]);
        assert!(!logged.is_empty(), "{expected}: {:#?}", lines());
    }
    for expected in [
        "the guard is asleep: it is night: it is dark",
        "the field `vault` differs from the channel",
        "another type than Opened",
        "version 7 of Opened",
        "id=\"the-\u{FFFD}id\"",
    ] {
        assert!(!with(&[expected]).is_empty(), "{expected}: {:#?}", lines());
    }
    let events = told(&mut events);
    let rejected: u64 =
        events.iter().map(|event| if let BusEvent::Rejected { count, .. } = event { *count } else { 0 }).sum();
    assert_eq!(rejected, bad.len() as u64, "{events:#?}");
    assert_no_secret(&events);
}

async fn lines_of_a_kind_are_one_each_second_and_none_is_left_out(world: &World) {
    const FLOOD: u64 = 4_000;
    LINES.clear();
    let bus = world.bus().await;
    let mut events = bus.events();
    let service = bus.serve(Guard).await.unwrap();
    let start = Instant::now();
    for n in 0..FLOOD {
        world.publish_raw("vaults:4", format!(r#"{{"vault": {n}, "code": {n}}}"#)).await;
    }
    eventually(SOON, async || service.stats().handlers[0].rejected == FLOOD).await;
    // By its own timer: nothing comes after the flood.
    eventually(SOON, async || counted(&with(&["a message was rejected"])) == FLOOD).await;
    let seconds = start.elapsed().as_secs() as usize;
    world.publish_raw("vaults:4", "nothing").await;
    world.publish_raw("vaults:4", "nothing").await;
    eventually(SOON, async || service.stats().handlers[0].rejected == FLOOD + 2).await;
    service.shutdown().await.unwrap();
    let rejected = with(&["a message was rejected"]);
    assert_eq!(counted(&rejected), FLOOD + 2, "{rejected:#?}");
    assert!(rejected.len() <= seconds + 5, "{rejected:#?}");
    let events = told(&mut events);
    assert!(events.len() <= seconds + 5, "{events:#?}");
    assert!(!events.iter().any(|event| matches!(event, BusEvent::Missed(_))), "{events:#?}");
}

/// How many events these lines stand for.
fn counted(lines: &[String]) -> u64 {
    let count = |line: &String| match line.split_once(" count=") {
        Some((_, rest)) => rest.split(' ').next().unwrap().parse().unwrap(),
        None => 1,
    };
    lines.iter().map(count).sum()
}

async fn start_stop_and_drop_are_said(world: &World) {
    LINES.clear();
    let bus = world.bus().await;
    let _ = bus.serve(Guard);
    assert_eq!(with(&["WARN", "dropped before it was awaited", "nothing is served"]).len(), 1, "{:#?}", lines());
    drop(bus);
    LINES.clear();
    let bus = world.bus().await;
    let connected = with(&["INFO", "connected"]);
    assert_eq!(connected.len(), 1, "{connected:#?}");
    if world.transport() == "redis" {
        assert!(connected[0].contains("server=127.0.0.1:") && connected[0].contains("version="), "{connected:#?}");
    }
    let service = bus.serve(Guard).await.unwrap();
    assert_eq!(with(&["INFO", "a service is live", "opened (vaults:<vault>)"]).len(), 1, "{:#?}", lines());
    service.shutdown().await.unwrap();
    assert_eq!(with(&["INFO", "a service stops", "outstanding=0", "deadline=30s"]).len(), 1, "{:#?}", lines());
    assert_eq!(with(&["INFO", "a service has stopped"]).len(), 1, "{:#?}", lines());
    assert!(
        with(&["dropped"]).is_empty() && with(&["WARN"]).is_empty() && with(&["ERROR"]).is_empty(),
        "{:#?}",
        lines()
    );
    let _ = bus.serve(Guard).await.unwrap();
    assert_eq!(with(&["INFO", "a service was dropped", "bind what `serve` returned"]).len(), 1, "{:#?}", lines());
}

const PASSWORD: &str = "hunter2";

async fn no_error_shows_a_password() {
    LINES.clear();
    let server = RedisServer::start().await;
    let place = server.url().strip_prefix("redis://").unwrap().to_owned();
    for url in [
        format!("redis://user:{PASSWORD}@{place}"),
        format!("redis://:{PASSWORD}@{place}"),
        format!("redis://user:{PASSWORD}@{place}/x"),
        format!("redis://user:{PASSWORD}@"),
    ] {
        // A server without a password takes any.
        let told = match Bus::connect(&url).await {
            Ok(bus) => format!("{bus:?} {:?}", bus.stats()),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!told.contains(PASSWORD), "{told}");
    }
    assert_no_secret(&[]);
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct Quote {
    sku: u64,
}

struct Desk;

#[router]
impl Desk {
    #[handler(concurrency = 1)]
    async fn quote(&self, quote: Quote) -> u64 {
        if quote.sku == 0 { std::future::pending().await } else { quote.sku }
    }
}

async fn requests_for_which_nobody_waits_are_logged(world: &World) {
    LINES.clear();
    let bus = world.bus().await;
    let service = bus.serve(Desk).await.unwrap();
    let ask = async |sku| Quote { sku }.request(&bus).timeout(Duration::from_millis(200)).await;
    let behind = async {
        eventually(SOON, async || service.stats().handlers[0].running == 1).await;
        Quote { sku: 1 }.request(&bus).timeout(Duration::from_millis(20)).await
    };
    let (hangs, waits) = tokio::join!(ask(0), behind);
    assert!(hangs.is_err() && waits.is_err(), "{hangs:?} {waits:?}");
    let counted = async || {
        let stats = &service.stats().handlers[0];
        (stats.cancelled, stats.expired) == (1, 1)
    };
    eventually(SOON, counted).await;
    service.shutdown().await.unwrap();
    for expected in [["a handler was cancelled", "channel=\"quotes:0\""], ["was not handled", "channel=\"quotes:1\""]] {
        let logged = with(&[&expected[..], &["stopped waiting", "template=\"quotes:<sku>\""]].concat());
        assert_eq!(logged.len(), 1, "{expected:?}: {:#?}", lines());
    }
}

/// An answer, as another program sees it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tidings:replies:foreign")]
#[message(name = "reply")]
struct Answer {
    ok: Option<u64>,
    failure: Option<String>,
}

/// They are claimed, and only the service can say what it lacks for that. Does what it says, to the letter, until they are answered.
async fn whoever_follows_the_advice_of_the_log_gets_to_take_requests_of_other_programs() {
    let may_all_else = "user anna on >secret ~* resetchannels &quotes:* &tidings:* +@all";
    for lacks in [&["-eval", "-set", "resetkeys"][..], &["-eval"], &["-set"], &["resetkeys"]] {
        LINES.clear();
        let server = RedisServer::with_settings(&[may_all_else]).await;
        let root = Bus::connect(&server.url()).await.unwrap();
        let anna = Bus::connect(&format!("redis://anna:secret@127.0.0.1:{}", server.port())).await.unwrap();
        let _service = anna.serve(Desk).await.unwrap();
        let _: String = server.command(&[&["ACL", "SETUSER", "anna"][..], lacks].concat()).await;
        let mut answers = root.subscribe(Answer::channel()).await.unwrap();
        let mut advice: Vec<String> = Vec::new();
        for n in 0.. {
            let exchange = format!(r#""correlation_id":"c{n}","reply_to":"tidings:replies:foreign""#);
            let request = format!(r#"{{"id":"a","type":"Quote",{exchange},"data":{{"sku":7}}}}"#);
            assert_eq!(server.publish("quotes:7", request.as_bytes()).await, 1);
            let answer = tokio::time::timeout(SOON, answers.next()).await.unwrap();
            let Some(Event::Message(answer)) = answer else { panic!("{answer:?}") };
            if answer.message.ok == Some(7) {
                break;
            }
            assert!(answer.message.failure.is_some() && n < 3, "{lacks:?}: still refused after {advice:?}");
            let rule = || {
                let lines = lines().join("\n");
                let mut rules = lines.split('`').filter(|words| words.starts_with("ACL SETUSER ")).map(str::to_owned);
                rules.rfind(|rule| !advice.contains(rule))
            };
            // The line of another refusal of the same handler comes a second later.
            eventually(SOON, async || rule().is_some()).await;
            let rule = rule().unwrap();
            let words: Vec<&str> = rule.split(' ').collect();
            let _: String = server.command(&words).await;
            advice.push(rule);
        }
        assert!(!advice.is_empty(), "{lacks:?}");
    }
}

/// Where they may be asked and not be heard, the bus is connected, and finds a failover later.
async fn whoever_follows_the_advice_of_the_log_gets_to_hear_the_sentinels() {
    LINES.clear();
    let rights = "user watcher on >eyes resetchannels -@all +sentinel|master +sentinel|get-master-addr-by-name";
    let sentinels = Sentinels::with_settings(&[], &[rights]).await;
    let _bus = Bus::builder(sentinels.url()).sentinel_credentials("watcher", "eyes").connect().await.unwrap();
    for part in ["+subscribe", "&+switch-master"] {
        let rule = || {
            let lines = with(&["a Sentinel is not heard", part]).pop()?;
            lines.split('`').find(|words| words.starts_with("ACL SETUSER watcher ")).map(str::to_owned)
        };
        eventually(SOON, async || rule().is_some()).await;
        let rule = rule().unwrap();
        for sentinel in sentinels.sentinels() {
            let _: String = sentinel.command(&rule.split(' ').collect::<Vec<_>>()).await;
        }
    }
    let heard = async || {
        let mut clients = String::new();
        for sentinel in sentinels.sentinels() {
            clients += &sentinel.command::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        }
        clients.contains("user=watcher")
    };
    eventually(SOON, heard).await;
}
