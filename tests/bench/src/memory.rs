//! What one more subscription, service or waiting request takes.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    measure::{LIVE_BYTES, Report, resident_kib},
    order::Order,
    queue,
    request::{Ask, Client},
    subscriptions::Named,
};

/// What each is, and who does it.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("by hand: a subscription, a place in a map and a channel of 1,024 messages", "redis-subscriptions"),
    ("tidings: a subscription, with a name of its own", "tidings-subscriptions"),
    ("tidings: a service of one handler, on one bus with the others", "tidings-services"),
    ("tidings: a request that waits, with its task", "tidings-requests"),
    ("by hand: a request that waits, with its task", "redis-requests"),
];

pub async fn run(program: &str, url: &str, count: u64) -> Report {
    match program {
        "redis-subscriptions" => subscriptions_by_hand(url, count).await,
        "tidings-subscriptions" => subscriptions(url, count).await,
        "tidings-services" => services(url, count).await,
        "tidings-requests" => requests(url, count).await,
        "redis-requests" => requests_by_hand(url, count).await,
        waiting if queue::WAITING.iter().any(|(_, program)| *program == waiting) => {
            queue::wait(waiting, url, count).await
        }
        other => panic!("no such program: {other}"),
    }
}

struct Before {
    live_bytes: i64,
    resident_kib: u64,
}

impl Before {
    fn now() -> Self {
        Self { live_bytes: LIVE_BYTES.load(Ordering::Relaxed), resident_kib: resident_kib() }
    }

    fn report(&self, messages: u64) -> Report {
        Report {
            messages,
            live_bytes: LIVE_BYTES.load(Ordering::Relaxed) - self.live_bytes,
            growth_kib: resident_kib().saturating_sub(self.resident_kib),
            ..Report::default()
        }
    }
}

async fn subscriptions(url: &str, count: u64) -> Report {
    let bus = Bus::connect(url).await.expect("a connection");
    // The first one brings the connection that all share.
    let mut subscriptions = vec![bus.subscribe(Named::channel(count)).await.expect("a subscription")];
    subscriptions.reserve_exact(count as usize);
    let before = Before::now();
    for name in 0..count {
        subscriptions.push(bus.subscribe(Named::channel(name)).await.expect("a subscription"));
    }
    before.report(count)
}

async fn subscriptions_by_hand(url: &str, count: u64) -> Report {
    let client = redis::Client::open(url).expect("an address");
    let mut pubsub = client.get_async_pubsub().await.expect("a connection");
    let (mut senders, mut receivers) = (HashMap::new(), Vec::with_capacity(count as usize));
    pubsub.subscribe("names:none").await.expect("a subscription");
    let before = Before::now();
    for number in 0..count {
        let name = format!("names:{number}");
        pubsub.subscribe(&name).await.expect("a subscription");
        let (sender, receiver) = mpsc::channel::<redis::Msg>(1_024);
        senders.insert(name, sender);
        receivers.push(receiver);
    }
    before.report(count)
}

#[derive(Message, Serialize, Deserialize)]
#[channel("memory:<id>")]
struct Nothing {
    id: u64,
}

#[handler]
async fn ignore(nothing: Nothing) {
    std::hint::black_box(nothing.id);
}

async fn services(url: &str, count: u64) -> Report {
    let bus = Bus::connect(url).await.expect("a connection");
    let mut services = Vec::with_capacity(count as usize + 1);
    services.push(bus.serve(routes![ignore]).await.expect("a service"));
    let before = Before::now();
    for _ in 0..count {
        services.push(bus.serve(routes![ignore]).await.expect("a service"));
    }
    before.report(count)
}

/// Longer than any run.
const PATIENCE: Duration = Duration::from_secs(600);

/// A subscriber that never answers, nor reads: the server holds what it would. It takes requests by hand, and as an instance that says so.
async fn silence(url: &str) -> redis::Connection {
    let url = url.to_owned();
    let connect = move || {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_connection()?;
        // By hand: the crate's subscriber unsubscribes as soon as it is dropped.
        for (command, channel) in [("PSUBSCRIBE", "quotes:*"), ("SSUBSCRIBE", INBOX), ("SSUBSCRIBE", QUESTIONS)] {
            let command = redis::cmd(command).arg(channel).get_packed_command();
            redis::ConnectionLike::req_packed_command(&mut connection, &command)?;
        }
        Ok::<_, redis::RedisError>(connection)
    };
    tokio::task::spawn_blocking(connect).await.expect("a thread").expect("a subscription")
}

const INBOX: &str = "tidings:inbox:silent";
const QUESTIONS: &str = "tidings:questions:quotes:<>";

/// Says that the silent subscriber takes requests.
async fn announce(url: &str) {
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let takes = r#"[{"template":"quotes:<>","message":"Ask","version":1}]"#;
    let description = format!(r#"{{"inbox":"{INBOX}","group":"silent","state":"serving","requests":{takes}}}"#);
    let _: u64 = connection.publish("tidings:instances", description).await.expect("published");
}

async fn requests(url: &str, count: u64) -> Report {
    let listener = silence(url).await;
    let bus = Bus::connect(url).await.expect("a connection");
    // The first request opens the inbox for answers.
    let _ = Ask::new(0).request(&bus).timeout(Duration::from_millis(50)).await;
    announce(url).await;
    Order::new(0).publish(&bus).await.expect("published");
    let mut tasks = JoinSet::new();
    let before = Before::now();
    for number in 0..count {
        let bus = bus.clone();
        tasks.spawn(async move {
            let _ = Ask::new(number).request(&bus).timeout(PATIENCE).await;
        });
    }
    until(|| bus.stats().pending_requests as u64 == count).await;
    // Answers come in order: once this one is here, all requests have been sent.
    Order::new(0).publish(&bus).await.expect("published");
    settled().await;
    let report = before.report(count);
    drop(listener);
    report
}

async fn requests_by_hand(url: &str, count: u64) -> Report {
    let listener = silence(url).await;
    let client = Arc::new(Client::connect(url).await);
    let mut tasks = JoinSet::new();
    let before = Before::now();
    for number in 0..count {
        let client = Arc::clone(&client);
        tasks.spawn(async move {
            let ask = Ask::new(number);
            client.request_within(ask.name(), &ask, PATIENCE).await
        });
    }
    until(|| client.pending() as u64 == count).await;
    settled().await;
    let report = before.report(count);
    drop(listener);
    report
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until nothing is allocated or freed any more.
async fn settled() {
    let mut seen = i64::MAX;
    until(|| std::mem::replace(&mut seen, LIVE_BYTES.load(Ordering::Relaxed)) == seen).await;
}
