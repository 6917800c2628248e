//! W4: from publishing to the handler, at 1,000 messages a second, both in one process on connections of their own.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Format, Message, handler, routes};

use crate::measure::{Begun, Report, percentiles};

#[derive(Message, Serialize, Deserialize)]
#[channel("ticks:<number>")]
#[message(format = "plain")]
struct Tick {
    number: u64,
    sent_nanos: u64,
    text: String,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static MICROS: std::sync::Mutex<Vec<f64>> = std::sync::Mutex::new(Vec::new());
static COUNT: AtomicU64 = AtomicU64::new(0);

fn nanos() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or_default()
}

fn tick(number: u64) -> Tick {
    Tick { number, sent_nanos: nanos(), text: "x".repeat(140) }
}

#[handler]
async fn take(tick: Tick) {
    let micros = (nanos() - tick.sent_nanos) as f64 / 1e3;
    MICROS.lock().expect("nobody panics").push(micros);
    COUNT.fetch_add(1, Ordering::Release);
}

pub async fn run(program: &str, url: &str, messages: u64) -> Report {
    LazyLock::force(&START);
    match program {
        "tidings" => {
            let bus = Bus::builder(url).format(Format::Plain).connect().await.expect("a connection");
            let service = bus.serve(routes![take]).await.expect("a service");
            let report = paced(messages, move |number| {
                let bus = bus.clone();
                async move {
                    tick(number).publish(&bus).await.expect("published");
                }
            });
            let report = report.await;
            service.shutdown().await.expect("nothing waits");
            report
        }
        "redis" => {
            let client = redis::Client::open(url).expect("an address");
            let mut pubsub = client.get_async_pubsub().await.expect("a connection");
            pubsub.psubscribe("ticks:*").await.expect("a subscription");
            let task = tokio::spawn(async move {
                let mut messages = pubsub.into_on_message();
                while let Some(message) = messages.next().await {
                    let number: u64 = message
                        .get_channel_name()
                        .strip_prefix("ticks:")
                        .and_then(|id| id.parse().ok())
                        .expect("a tick");
                    let tick: Tick = serde_json::from_slice(message.get_payload_bytes()).expect("a tick");
                    assert_eq!(tick.number, number);
                    take(tick).await;
                }
            });
            let connection = client.get_multiplexed_async_connection().await.expect("a connection");
            let report = paced(messages, move |number| {
                let mut connection = connection.clone();
                async move {
                    let payload = serde_json::to_string(&tick(number)).expect("a tick");
                    let _: u64 = connection.publish(format!("ticks:{number}"), payload).await.expect("published");
                }
            });
            let report = report.await;
            task.abort();
            report
        }
        other => panic!("no such program: {other}"),
    }
}

async fn paced<F: Future<Output = ()>>(messages: u64, publish: impl Fn(u64) -> F) -> Report {
    let begun = Begun::now();
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..messages {
        pace.tick().await;
        publish(number).await;
    }
    while COUNT.load(Ordering::Acquire) < messages {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut report = begun.report(messages);
    (report.median_micros, report.p99_micros) = percentiles(std::mem::take(&mut MICROS.lock().expect("nobody panics")));
    report
}
