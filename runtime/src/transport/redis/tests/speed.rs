//! Measurements, not tests: `cargo test --release -p tidings speed -- --ignored --nocapture --test-threads 1`.

use std::hint::black_box;

use bytes::BytesMut;
use futures_util::StreamExt;

use super::*;

use crate::transport::redis::resp::{Scanned, Scanner};

const MESSAGES: usize = 300_000;
/// What one run of the script publishes.
const BURST: usize = 10_000;

/// Messages of a measurement of latency.
const PACED: usize = 2_000;

fn payload() -> String {
    let text = r#"{"id":1234567,"customer":"Ada Lovelace","total_cents":123456,"note":""}"#;
    format!("{text}{}", " ".repeat(189 - text.len()))
}

fn server() -> Server {
    Server::start_with(&["--client-output-buffer-limit", "pubsub 0 0 0"])
}

/// Lets the server publish by itself, so that no publisher's time is counted.
fn publish_all(server: &Server) {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for _ in 0..MESSAGES / BURST {
        ::redis::cmd("EVAL")
            .arg("for i = 1, ARGV[1] do redis.call('PUBLISH', 'orders:' .. (i % 100), ARGV[2]) end")
            .arg(0)
            .arg(BURST)
            .arg(payload())
            .exec(&mut connection)
            .unwrap();
    }
}

/// Nanoseconds that the threads of this process have run.
fn cpu() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    times.map(|times| times.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Publishes from a thread of its own while `drain` runs; prints CPU and rate.
async fn measure(what: &str, server: &Server, drain: impl Future<Output = usize>) {
    let (cpu_before, start) = (cpu(), Instant::now());
    let bytes = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_all(server));
        (publisher, tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(drain))).1
    });
    let (cpu, time) = (cpu() - cpu_before, start.elapsed());
    let micros = cpu as f64 / 1e3 / MESSAGES as f64;
    let rate = MESSAGES as f64 / time.as_secs_f64() / 1e3;
    println!("{what}: {micros:.3} µs CPU a message, {rate:.0} thousand a second, {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_subscriptions() {
    let server = server();
    for _ in 0..5 {
        let redis = connected(&server).await;
        let bounds = Bounds { messages: 16_384, bytes: 16 << 20 };
        let mut reader = Reader::attach_with(&redis, vec![pattern("orders:*")], bounds, Overflow::Wait).await.unwrap();
        let drain = async move {
            let task = tokio::task::JoinSet::from_iter([async move {
                let (mut bytes, mut count) = (0, 0);
                while count < MESSAGES {
                    match reader.next().await {
                        Some(Item::Frame(frame)) => {
                            count += 1;
                            bytes += black_box(frame.payload()).len() + black_box(frame.channel()).len();
                        }
                        other => panic!("{other:?}"),
                    }
                }
                bytes
            }]);
            task.join_all().await.into_iter().sum()
        };
        measure("tidings", &server, drain).await;
        drop(redis);

        let client = ::redis::Client::open(server.url()).unwrap();
        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.psubscribe("orders:*").await.unwrap();
        let drain = async move {
            let task = tokio::task::JoinSet::from_iter([async move {
                let mut messages = pubsub.into_on_message();
                let (mut bytes, mut count) = (0, 0);
                while count < MESSAGES {
                    let message = messages.next().await.unwrap();
                    count += 1;
                    bytes += black_box(message.get_payload_bytes()).len() + black_box(message.get_channel_name()).len();
                }
                bytes
            }]);
            task.join_all().await.into_iter().sum()
        };
        measure("redis crate", &server, drain).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_publishing() {
    let server = server();
    let redis = Arc::new(connected(&server).await);
    let client = ::redis::Client::open(server.url()).unwrap();
    let config = ::redis::AsyncConnectionConfig::new();
    let plain = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    for (publishers, each) in [(64, 3_000), (1, 20_000)] {
        for _ in 0..5 {
            for ours in [true, false] {
                let (cpu_before, start) = (cpu(), Instant::now());
                let tasks =
                    (0..publishers).map(|_| {
                        let (redis, plain) = (Arc::clone(&redis), plain.clone());
                        async move {
                            if ours { publish_with(&redis, each).await } else { publish_plainly(plain, each).await }
                        }
                    });
                tokio::task::JoinSet::from_iter(tasks).join_all().await;
                let count = f64::from(publishers * each);
                let micros = (cpu() - cpu_before) as f64 / 1e3 / count;
                let rate = count / start.elapsed().as_secs_f64() / 1e3;
                let what = if ours { "tidings" } else { "redis crate" };
                println!("publish {publishers} at once, {what}: {micros:.3} µs CPU, {rate:.1} thousand a second");
            }
        }
    }
}

async fn publish_with(redis: &Redis, count: i32) {
    for number in 0..count {
        redis.publish(format!("orders:{}", number % 100), payload().into_bytes()).await.unwrap();
    }
}

async fn publish_plainly(mut plain: ::redis::aio::MultiplexedConnection, count: i32) {
    for number in 0..count {
        let channel = format!("orders:{}", number % 100);
        let _: i64 = ::redis::cmd("PUBLISH").arg(channel).arg(payload()).query_async(&mut plain).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn latency_at_1000_a_second() {
    let server = server();
    let client = ::redis::Client::open(server.url()).unwrap();
    for _ in 0..5 {
        let redis = Arc::new(connected(&server).await);
        let mut reader = Reader::attach(&redis, vec![pattern("orders:*")]).await.unwrap();
        let receiver = async move {
            let mut times = Vec::with_capacity(PACED);
            while times.len() < PACED {
                reader.message().await;
                times.push(Instant::now());
            }
            times
        };
        latency("tidings", receiver, async move || publish_with(&redis, 1).await).await;

        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.psubscribe("orders:*").await.unwrap();
        let receiver = async move {
            let mut messages = pubsub.into_on_message();
            let mut times = Vec::with_capacity(PACED);
            while times.len() < PACED {
                messages.next().await.unwrap();
                times.push(Instant::now());
            }
            times
        };
        let plain = client.get_multiplexed_async_connection().await.unwrap();
        latency("redis crate", receiver, async move || publish_plainly(plain.clone(), 1).await).await;
    }
}

async fn latency(what: &str, receiver: impl Future<Output = Vec<Instant>> + Send + 'static, publish: impl AsyncFn()) {
    let mut task = tokio::task::JoinSet::from_iter([receiver]);
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let mut sent = Vec::new();
    while sent.len() < PACED {
        pace.tick().await;
        sent.push(Instant::now());
        publish().await;
    }
    let received = task.join_next().await.unwrap().unwrap();
    let mut micros: Vec<_> = sent.iter().zip(received).map(|(sent, received)| (received - *sent).as_micros()).collect();
    micros.sort_unstable();
    println!("{what}: p50 {} µs, p99 {} µs", micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_subscribing_again() {
    let server = server();
    let redis = connected(&server).await;
    for count in [5_000, 20_000] {
        let start = Instant::now();
        let names = (0..count).map(|number| channel(&format!("c:{number}"))).collect();
        let mut reader = Reader::attach(&redis, names).await.unwrap();
        println!("{count} names: subscribed in {:?}", start.elapsed());
        let start = Instant::now();
        server.run("CLIENT KILL TYPE pubsub");
        reader.gap().await;
        println!("{count} names: the first is back after {:?}", start.elapsed());
        let last = format!("c:{}", count - 1);
        eventually("all are back", || redis.status() == Status::Connected && server.subscribers(&last) == 1).await;
        println!("{count} names: all are back after {:?}", start.elapsed());
        drop(reader);
        eventually("none is left", || server.subscribers("c:0") == 0 && server.subscribers(&last) == 0).await;
        println!("{count} names: subscribed, lost, back and unsubscribed after {:?}", start.elapsed());
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_scanning() {
    let bytes: BytesMut = (0..600)
        .flat_map(|number: usize| {
            let channel = format!("orders:{}", number % 100);
            format!(
                ">4\r\n$8\r\npmessage\r\n$8\r\norders:*\r\n${}\r\n{channel}\r\n$189\r\n{}\r\n",
                channel.len(),
                payload()
            )
            .into_bytes()
        })
        .collect();
    let time = |what: &str, mut scan: Box<dyn FnMut() -> usize + '_>| {
        let start = Instant::now();
        let count: usize = (0..2_000).map(|_| scan()).sum();
        println!("{what}: {:.1} ns a message", start.elapsed().as_nanos() as f64 / count as f64);
    };
    let mut scanner = Scanner::new(1 << 20);
    time(
        "this scanner",
        Box::new(|| {
            let (mut at, mut count) = (0, 0);
            while let Some((scanned, end)) = scanner.next(black_box(&bytes), at).unwrap() {
                assert!(matches!(black_box(scanned), Scanned::Message { .. }));
                (at, count) = (end, count + 1);
            }
            count
        }),
    );
    time(
        "parser of the redis crate",
        Box::new(|| {
            let mut parser = ::redis::Parser::new();
            let mut rest = &bytes[..];
            let mut count = 0;
            while !rest.is_empty() {
                black_box(parser.parse_value(&mut rest).unwrap());
                count += 1;
            }
            count
        }),
    );
}
