//! Requests between tidings and a Python program that does what docs/wire.md says, with the rights that it names.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Bus, Message, RequestError, Service, Subscription, router};
use tidings_tests::{Recorder, RedisServer, eventually};

use crate::{SOON, next, peer::Peer};

#[derive(Message, Serialize, Deserialize)]
#[channel("parts:<n>")]
#[reply(String, error = String)]
struct Part {
    n: u64,
}

#[derive(Clone)]
struct Shelf {
    me: &'static str,
    executed: Recorder<u64>,
}

impl Shelf {
    fn new(me: &'static str) -> Self {
        Self { me, executed: Recorder::new() }
    }
}

#[router]
impl Shelf {
    #[handler]
    async fn part(&self, part: Part) -> Result<String, String> {
        self.executed.record(part.n);
        if part.n % 10 == 3 { Err("broken".to_owned()) } else { Ok(self.me.to_owned()) }
    }
}

mod newer {
    use super::{Deserialize, Message, Serialize, router};

    #[derive(Message, Serialize, Deserialize)]
    #[channel("parts:<n>")]
    #[message(name = "Part", version = 2)]
    #[reply(String, error = String)]
    pub(super) struct Part {
        pub(super) n: u64,
    }

    pub(super) struct Shelf;

    #[router]
    impl Shelf {
        #[handler]
        async fn part(&self, _part: Part) -> Result<String, String> {
            Ok("newer".to_owned())
        }
    }
}

/// What has come of what Python was told to do.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("done")]
#[message(format = "plain")]
struct Done {
    result: Value,
}

/// The rights that docs/wire.md names, and nothing else.
const USERS: [&str; 4] = [
    "user requester on >secret resetchannels &shop:tidings:replies:* &shop:parts:* -@all +publish +subscribe +unsubscribe",
    "user responder on >secret resetchannels &shop:tidings:* -@all +publish +ssubscribe +sunsubscribe",
    "user harness-python on >secret &* -@all +publish +subscribe +unsubscribe",
    "user service on >secret ~shop:tidings:claims:* resetchannels &shop:tidings:* &shop:parts:* -@all \
     +publish +spublish +ssubscribe +sunsubscribe +subscribe +unsubscribe +psubscribe +punsubscribe +eval +set",
];

struct Shop {
    server: RedisServer,
    bus: Bus,
    done: Subscription<Done>,
    peer: Peer,
}

impl Shop {
    async fn open() -> Self {
        let server = RedisServer::with_settings(&USERS).await;
        let peer = Peer::start("requests.py", server.port());
        let bus = Bus::builder(server.url()).namespace("shop").connect().await.unwrap();
        let done = bus.subscribe(Done::channel()).await.unwrap();
        Self { server, bus, done, peer }
    }

    /// Tells Python to do something, and waits for what comes of it.
    async fn python(&mut self, what: &str, with: Value) -> Value {
        let words = json!({"do": what, "with": with}).to_string();
        assert_eq!(self.server.publish("control", words.as_bytes()).await, 1);
        next(&mut self.done).await.result
    }

    /// A bus of its own, with the rights of a service.
    async fn another(&self) -> Bus {
        let url = format!("redis://service:secret@127.0.0.1:{}", self.server.port());
        Bus::builder(url).namespace("shop").connect().await.unwrap()
    }

    async fn ask(&self, numbers: std::ops::Range<u64>) -> Vec<Result<String, RequestError<String>>> {
        let ask = async |n| Part { n }.request(&self.bus).timeout(SOON).await;
        join_all(numbers.map(ask)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_python_is_executed_by_one_of_two_instances() {
    let mut shop = Shop::open().await;
    let shelves = [Shelf::new("a"), Shelf::new("b")];
    let mut services: Vec<Service> = Vec::new();
    for shelf in &shelves {
        services.push(shop.another().await.serve(shelf.clone()).await.unwrap());
    }
    let answers = shop.python("ask", json!({"count": 50, "version": 1})).await;
    let answers: HashMap<String, Vec<Value>> = serde_json::from_value(answers).unwrap();
    assert_eq!(answers.len(), 50, "{answers:?}");
    for n in 0..50 {
        let [answer] = &answers[&format!("c{n}")][..] else { panic!("{answers:?}") };
        let is_right =
            if n % 10 == 3 { answer["error"] == "broken" } else { answer["ok"] == "a" || answer["ok"] == "b" };
        assert!(is_right, "{n}: {answer}");
    }
    let mut executed: Vec<u64> = shelves.iter().flat_map(|shelf| shelf.executed.all()).collect();
    executed.sort_unstable();
    assert_eq!(executed, (0..50).collect::<Vec<_>>());
    let sum = |count: fn(&tidings::HandlerStats) -> u64| {
        services.iter().map(|service| count(&service.stats().handlers[0])).sum::<u64>()
    };
    eventually(SOON, async || sum(|stats| stats.left_to_others) == 50).await;
    // Nobody could be told, so nobody executes it.
    assert_eq!(shop.python("nobody", json!({})).await, 2);
    eventually(SOON, async || sum(|stats| stats.rejected) == 2).await;
    assert_eq!(sum(|stats| stats.handled), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_python_is_executed_by_whoever_knows_its_version() {
    let mut shop = Shop::open().await;
    let old = Shelf::new("old");
    let _olds = [
        shop.another().await.serve(old.clone()).await.unwrap(),
        shop.another().await.serve(old.clone()).await.unwrap(),
    ];
    let _newer = shop.another().await.serve(newer::Shelf).await.unwrap();
    let answers = shop.python("ask", json!({"count": 30, "version": 2})).await;
    let answers: HashMap<String, Vec<Value>> = serde_json::from_value(answers).unwrap();
    assert_eq!(answers.len(), 30, "{answers:?}");
    assert!(answers.values().all(|answers| answers[..] == [json!({"ok": "newer"})]), "{answers:?}");
    assert_eq!(old.executed.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_takes_requests_beside_an_instance_of_tidings() {
    let mut shop = Shop::open().await;
    // Nobody is there yet.
    let error = Part { n: 1 }.request(&shop.bus).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
    shop.python("serve", json!({})).await;
    assert_eq!(Part { n: 1 }.request(&shop.bus).timeout(SOON).await.unwrap(), "python");
    let shelf = Shelf::new("rust");
    let _service = shop.another().await.serve(shelf.clone()).await.unwrap();
    for first in (0..100).step_by(10) {
        for (n, answer) in (first..first + 10).zip(shop.ask(first..first + 10).await) {
            let is_right = match answer {
                Err(RequestError::Answered(error)) => n % 10 == 3 && error == "broken",
                // What Python declines goes to the other one.
                Ok(by) => n % 10 != 3 && (by == "rust" || n % 10 != 7),
                Err(_) => false,
            };
            assert!(is_right, "{n}");
        }
    }
    let rust = shelf.executed.len();
    assert!((35..=70).contains(&rust), "both get work: {rust} of 100 went to tidings");
    // Another requester learns of both by its question.
    let asking = shop.another().await;
    let both = Part { n: 1 }.request(&asking).timeout(SOON).collect(3).await.unwrap();
    let mut both: Vec<String> = both.into_iter().map(Result::unwrap).collect();
    both.sort();
    assert_eq!(both, ["python", "rust"]);
    // It says that it stops, and gets nothing more.
    shop.python("stop", json!({})).await;
    let rust = async || shop.ask(0..10).await.into_iter().all(|answer| answer.map_or(true, |by| by == "rust"));
    eventually(SOON, rust).await;
    drop(shop.peer);
    assert_eq!(Part { n: 1 }.request(&asking).timeout(SOON).await.unwrap(), "rust");
}
