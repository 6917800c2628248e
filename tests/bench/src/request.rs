//! W3 in one process, on a hundred channels, each end on connections of its own; and what it shares with two processes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::AsyncCommands;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidings::{Bus, Message, handler, routes};
use tokio::sync::oneshot;

use crate::{
    by_hand::{Connection, Subscription},
    measure::{Begun, Report, percentiles},
    publish::spread,
};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<id>")]
#[reply(Quote)]
pub struct Ask {
    id: u64,
    customer: String,
    text: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    id: u64,
    cents: u64,
}

impl Ask {
    pub fn new(number: u64) -> Self {
        Self { id: 100 + number % 100, customer: "Ada Lovelace".to_owned(), text: "x".repeat(130) }
    }

    pub fn name(&self) -> String {
        format!("quotes:{}", self.id)
    }

    fn quote(&self) -> Quote {
        Quote::new(self.id, &self.text)
    }
}

impl Quote {
    pub fn new(id: u64, text: &str) -> Self {
        Self { id, cents: id * 100 + text.len() as u64 }
    }
}

#[handler]
async fn quote(ask: Ask) -> Quote {
    ask.quote()
}

pub async fn run(program: &str, url: &str, messages: u64, tasks: u64) -> Report {
    let expected = |number| Ask::new(number).quote();
    match program {
        "tidings" => {
            let server = Bus::connect(url).await.expect("a connection");
            let service = server.serve(routes![quote]).await.expect("a service");
            let bus = Bus::connect(url).await.expect("a connection");
            // The first request opens the inbox for answers.
            let first = Ask::new(0).request(&bus).await.expect("a quote");
            assert_eq!(first.id, 100);
            let request = move |number| {
                let bus = bus.clone();
                async move { Ask::new(number).request(&bus).await.expect("a quote") }
            };
            let report = timed(messages, tasks, request, expected).await;
            service.shutdown().await.expect("nothing waits");
            report
        }
        "redis" => {
            let check = |channel: &str, ask: &Ask| assert_eq!(channel, ask.name());
            let server = by_hand(url, "quotes:*", check, quote).await;
            let client = Arc::new(Client::connect(url).await);
            let request = move |number| {
                let client = Arc::clone(&client);
                async move {
                    let ask = Ask::new(number);
                    client.request(ask.name(), &ask).await
                }
            };
            let report = timed(messages, tasks, request, expected).await;
            server.abort();
            report
        }
        other => panic!("no such program: {other}"),
    }
}

/// Makes the requests in so many tasks, and times each.
pub async fn timed<F: Future<Output = Quote> + Send>(
    messages: u64,
    tasks: u64,
    request: impl Fn(u64) -> F + Send + Sync + 'static,
    expected: fn(u64) -> Quote,
) -> Report {
    let micros = Arc::new(Mutex::new(Vec::with_capacity(messages as usize)));
    let (request, times) = (Arc::new(request), Arc::clone(&micros));
    let begun = Begun::now();
    let spent = spread(messages, tasks, move |number| {
        let (request, times) = (Arc::clone(&request), Arc::clone(&times));
        async move {
            let start = Instant::now();
            let quote = request(number).await;
            assert_eq!(quote, expected(number));
            times.lock().expect("nobody panics").push(start.elapsed().as_nanos() as f64 / 1e3);
        }
    });
    spent.await;
    let mut report = begun.report(messages);
    (report.median_micros, report.p99_micros) = percentiles(std::mem::take(&mut micros.lock().expect("nobody panics")));
    report
}

/// The request as it travels in the program written by hand.
#[derive(Serialize, Deserialize)]
struct Envelope<'a, T> {
    #[serde(borrow)]
    correlation_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    reply_to: std::borrow::Cow<'a, str>,
    data: T,
}

/// Answers what comes on a channel, or on those of a pattern.
pub async fn by_hand<A: DeserializeOwned + Send + 'static, F: Future<Output = Quote> + Send + 'static>(
    url: &str,
    channels: &str,
    check: fn(&str, &A),
    answer: fn(A) -> F,
) -> tokio::task::JoinHandle<()> {
    let mut messages = Subscription::open(url, channels).await;
    let connection = messages.connection(url).await;
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            // A handler that waits must not hold up the next request, so each has a task.
            let mut connection = connection.clone();
            tokio::spawn(async move {
                let asked: Envelope<A> = serde_json::from_slice(message.get_payload_bytes()).expect("a request");
                check(message.get_channel_name(), &asked.data);
                let data = answer(asked.data).await;
                let answer = Envelope { correlation_id: asked.correlation_id, reply_to: "".into(), data };
                let payload = serde_json::to_string(&answer).expect("an answer");
                let _: u64 = connection.publish(&*asked.reply_to, payload).await.expect("published");
            });
        }
    })
}

pub struct Client {
    connection: Connection,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Quote>>>>,
    next: AtomicU64,
    task: tokio::task::JoinHandle<()>,
}

const INBOX: &str = "replies:0123456789abcdef";

impl Client {
    pub async fn connect(url: &str) -> Self {
        let mut messages = Subscription::open(url, INBOX).await;
        let connection = messages.connection(url).await;
        let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Quote>>>> = Arc::default();
        let waiters = Arc::clone(&waiting);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let answer: Envelope<Quote> = serde_json::from_slice(message.get_payload_bytes()).expect("an answer");
                let waiter = waiters.lock().expect("nobody panics").remove(&*answer.correlation_id);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(answer.data);
                }
            }
        });
        Self { connection, waiting, next: AtomicU64::new(0), task }
    }

    /// How many requests wait for their answer.
    pub fn pending(&self) -> usize {
        self.waiting.lock().expect("nobody panics").len()
    }

    pub async fn request(&self, channel: String, data: &impl Serialize) -> Quote {
        self.request_within(channel, data, Duration::from_secs(5)).await
    }

    pub async fn request_within(&self, channel: String, data: &impl Serialize, limit: Duration) -> Quote {
        let correlation_id = format!("{:016x}", self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().expect("nobody panics").insert(correlation_id.clone(), sender);
        let envelope = Envelope { correlation_id: correlation_id.into(), reply_to: INBOX.into(), data };
        let payload = serde_json::to_string(&envelope).expect("a request");
        let exchange = async {
            let mut connection = self.connection.clone();
            let _: u64 = connection.publish(channel, payload).await.expect("published");
            receiver.await.expect("an answer")
        };
        tokio::time::timeout(limit, exchange).await.expect("in time")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}
