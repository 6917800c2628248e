//! W5: what happens between the read buffer and the handler, in one thread and without a server.

use std::{
    collections::HashMap,
    hint::black_box,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidings::{
    __private::{HandlerLayer, Outcome, RouteTable, Routes},
    Bus, Delivery, Format, Message, Router, handler, routes,
    testing::Broker,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    column::{Limits, at_most},
    order::{Form, Order},
};

include!(concat!(env!("OUT_DIR"), "/handlers.rs"));

/// How many of the small messages the handlers have seen.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// What every handler does, ours and those by hand.
fn seen(id: u64) {
    black_box(id);
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// Best of several, as nothing but other work on the machine makes it slower.
fn nanos(turns: u64, mut run: impl FnMut(u64)) -> f64 {
    let turns = turns.max(1_000);
    let mut best = f64::MAX;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        (0..turns).for_each(&mut run);
        best = best.min(start.elapsed().as_nanos() as f64 / turns as f64);
    }
    best
}

const REPETITIONS: usize = 7;

/// What was timed, in nanoseconds, and what that must be.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub nanos: f64,
    pub limits: Option<Limits>,
}

const ROUTING: Limits = at_most(20.0, 15.0);
const WHOLE: Limits = at_most(100.0, 75.0);

/// As another process times it, whose memory has seen nothing else.
pub fn rows(divisor: u64) -> Vec<Row> {
    let own = std::env::current_exe().expect("a program has a path");
    let output = Command::new(own).args(["dispatch", &divisor.to_string()]).output().expect("the program starts");
    assert!(output.status.success(), "a program failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("rows")
}

/// Times everything, and prints it.
pub fn perform(divisor: &str) {
    let rows = timed(divisor.parse().expect("a number"));
    println!("{}", serde_json::to_string(&rows).expect("rows can be written"));
}

fn timed(divisor: u64) -> Vec<Row> {
    let turns = 1_000_000 / divisor;
    let mut rows = Vec::new();
    let mut add = |what: &str, nanos, limits| rows.push(Row { what: what.to_owned(), nanos, limits });
    routing(turns, &mut add);
    let decoding = decoding(turns / 4, &mut add);
    whole(turns, &decoding, &mut add);
    rows
}

fn routing(turns: u64, add: &mut impl FnMut(&str, f64, Option<Limits>)) {
    let channels: Vec<Vec<u8>> = (0..10_000).map(|number| format!("m{number}:{}", 100 + number % 100).into()).collect();
    let channel = |number: u64, routes: u64| &channels[(number % routes) as usize][..];
    for routes in [10, 1_000, 10_000] {
        let what = format!("routing by hand: `HashMap` of prefixes, {routes} routes");
        add(&what, by_map(turns, routes, channel), None);
    }
    let tables = [
        (10, RouteTable::build(crate::routes::Ten::ROUTES)),
        (100, RouteTable::build(crate::routes::Hundred::ROUTES)),
        (1_000, RouteTable::build(crate::routes::Thousand::ROUTES)),
        (10_000, RouteTable::build(crate::routes::TenThousand::ROUTES)),
    ];
    for (routes, table) in tables {
        let find = nanos(turns, |number| {
            assert!(black_box(table.find(black_box(channel(number, routes)))).is_some());
        });
        // The target speaks of 10 to 1,000 routes.
        add(&format!("tidings: table of {routes} routes"), find, (routes <= 1_000).then_some(ROUTING));
    }
}

fn by_map<'a>(turns: u64, routes: u64, channel: impl Fn(u64, u64) -> &'a [u8]) -> f64 {
    let map: HashMap<String, u64> = (0..routes).map(|number| (format!("m{number}"), number)).collect();
    nanos(turns, |number| {
        let name = str::from_utf8(black_box(channel(number, routes))).expect("text");
        let prefix = name.split(':').next().unwrap_or_default();
        assert!(black_box(map.get(prefix)).is_some());
    })
}

/// What decoding the small message alone takes, which the whole dispatch is told without: of so many types in turn.
struct Decoding {
    types: u64,
    from_slice: f64,
    from_text: f64,
}

fn decoding(turns: u64, add: &mut impl FnMut(&str, f64, Option<Limits>)) -> [Decoding; 3] {
    let orders: Vec<String> = (0..100).map(|number| Form::Plain.encode(&Order::new(number), number)).collect();
    let pings: Vec<String> = (0..100).map(|number| payload(100 + number)).collect();
    add("decoding the order alone: `serde_json::from_slice`", decoded(turns, &orders, &[from_slice::<Order>]), None);
    let order = decoded(turns, &orders, &[from_text::<Order>]);
    add("decoding the order alone: one UTF-8 check, `serde_json::from_str`", order, None);
    [1, 10, 100].map(|types| {
        let what = match types {
            1 => "decoding `{\"id\":100}` alone".to_owned(),
            _ => format!("decoding `{{\"id\":100}}` alone, {types} types in turn"),
        };
        let from_slice = decoded(turns, &pings, &FROM_SLICE[..types as usize]);
        add(&format!("{what}: `serde_json::from_slice`"), from_slice, None);
        let from_text = decoded(turns, &pings, &FROM_TEXT[..types as usize]);
        add(&format!("{what}: one UTF-8 check, `serde_json::from_str`"), from_text, None);
        Decoding { types, from_slice, from_text }
    })
}

fn payload(id: u64) -> String {
    format!("{{\"id\":{id}}}")
}

fn decoded(turns: u64, payloads: &[String], types: &[fn(&str)]) -> f64 {
    nanos(turns, |number| {
        let decode = black_box(types[(number % types.len() as u64) as usize]);
        decode(black_box(&payloads[(number % 100) as usize]));
    })
}

fn from_slice<T: DeserializeOwned>(payload: &str) {
    black_box(serde_json::from_slice::<T>(payload.as_bytes()).expect("valid"));
}

fn from_text<T: DeserializeOwned>(payload: &str) {
    let text = str::from_utf8(payload.as_bytes()).expect("text");
    black_box(serde_json::from_str::<T>(text).expect("valid"));
}

/// The whole dispatch of a small message, less its decoding: with nothing around it, and from the queue to the settled outcome.
fn whole(turns: u64, [one, many @ ..]: &[Decoding; 3], add: &mut impl FnMut(&str, f64, Option<Limits>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for decoding in many {
        let routes = decoding.types;
        let map = handlers(routes);
        let direct = runtime.block_on(by_hand(turns, &map));
        let what = format!("dispatch by hand: `HashMap` and boxed handler, {routes} routes");
        // One channel again and again, and so one type.
        add(&what, direct - one.from_slice, None);
        let direct = runtime.block_on(async {
            if routes == 10 { measured(ten(), turns).await } else { measured(hundred(), turns).await }
        });
        let what = format!("tidings: route table, address checked, handler called, {routes} routes");
        add(&what, direct - one.from_text, None);
        let queued = runtime.block_on(by_hand_from_a_queue(&map, routes, turns));
        let what = format!("dispatch by hand, from a queue, {routes} routes");
        add(&what, queued - decoding.from_slice, None);
        let queued = runtime.block_on(async {
            if routes == 10 { served(ten(), routes, turns).await } else { served(hundred(), routes, turns).await }
        });
        let what = format!("tidings: a service, from its inbox to the settled outcome, {routes} routes");
        add(&what, queued - decoding.from_text, Some(WHOLE));
    }
}

/// As a program written by hand does it: by prefix, boxed because each handler's future has a type of its own.
type Boxed = Box<dyn for<'a> Fn(&'a str, &'a [u8]) -> BoxFuture<'a, ()> + Send + Sync>;

/// What a handler by hand begins with.
type Start = for<'a> fn(&'a str, &'a [u8]) -> BoxFuture<'a, ()>;

trait Numbered: DeserializeOwned + Send {
    fn id(&self) -> u64;
}

fn start<'a, T: Numbered>(id: &'a str, payload: &'a [u8]) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        let ping: T = serde_json::from_slice(payload).expect("a ping");
        assert_eq!(id.parse(), Ok(ping.id()));
        seen(ping.id());
    })
}

fn handlers(routes: u64) -> HashMap<String, Boxed> {
    let handler = |number: u64| -> Boxed { Box::new(BY_HAND[number as usize]) };
    (0..routes).map(|number| (format!("m{number}"), handler(number))).collect()
}

async fn dispatch(map: &HashMap<String, Boxed>, channel: &[u8], payload: &[u8]) {
    let channel = str::from_utf8(channel).expect("text");
    let (prefix, id) = channel.split_once(':').expect("two segments");
    map[prefix](id, payload).await;
}

/// The channel that is dispatched again and again.
const CHANNEL: &str = "m7:142";

async fn by_hand(turns: u64, map: &HashMap<String, Boxed>) -> f64 {
    let payload = payload(142);
    best_of(turns, async || {
        dispatch(map, black_box(CHANNEL.as_bytes()), black_box(payload.as_bytes())).await;
    })
    .await
}

async fn best_of(turns: u64, mut run: impl AsyncFnMut()) -> f64 {
    let turns = turns.max(1_000);
    let mut best = f64::MAX;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        for _ in 0..turns {
            run().await;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / turns as f64);
    }
    best
}

/// A router around another, which is given one true delivery by a service and dispatches it over and over.
struct Probe<R> {
    inner: R,
    turns: u64,
    result: Mutex<Option<oneshot::Sender<f64>>>,
}

impl<R: Router> Router for Probe<R> {
    type Itself = Self;

    const ROUTES: Routes = R::ROUTES;

    fn itself(self) -> Self {
        self
    }

    fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
        R::layers()
    }

    async fn dispatch<'a>(&'a self, _route: usize, delivery: &'a mut Delivery, bus: &'a Bus) -> Outcome {
        let table = RouteTable::build(R::ROUTES);
        let mut best = f64::MAX;
        for _ in 0..REPETITIONS {
            let start = Instant::now();
            for _ in 0..self.turns {
                let route = table.find(black_box(delivery.channel().as_bytes())).unwrap_or_default();
                let outcome = self.inner.dispatch(route, black_box(&mut *delivery), bus).await;
                assert!(matches!(black_box(outcome), Outcome::Done));
            }
            best = best.min(start.elapsed().as_nanos() as f64 / self.turns as f64);
        }
        if let Some(result) = self.result.lock().await.take() {
            let _ = result.send(best);
        }
        Outcome::Done
    }
}

async fn measured(router: impl Router, turns: u64) -> f64 {
    let broker = Broker::new();
    let bus = Bus::builder(broker.url()).format(Format::Plain).connect().await.expect("a broker");
    let (sender, receiver) = oneshot::channel();
    let probe = Probe { inner: router, turns: turns.max(1_000), result: Mutex::new(Some(sender)) };
    let service = bus.serve(probe).await.expect("a service");
    broker.publish_raw(CHANNEL, payload(142).as_bytes());
    let nanos = receiver.await.expect("a result");
    service.shutdown().await.expect("nothing waits");
    nanos
}

/// So many messages wait when the time begins.
const WAITING: u64 = 1_000;

fn channels(routes: u64) -> Vec<(String, String)> {
    (0..WAITING)
        .map(|number| (format!("m{}:{}", number % routes, 100 + number % 100), payload(100 + number % 100)))
        .collect()
}

/// Waits until every waiting message has been seen; only this is timed, not what put them there.
async fn best_drain(turns: u64, mut fill: impl AsyncFnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..(turns / WAITING).max(10) {
        SEEN.store(0, Ordering::Relaxed);
        fill().await;
        let start = Instant::now();
        while SEEN.load(Ordering::Relaxed) < WAITING {
            tokio::task::yield_now().await;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / WAITING as f64);
    }
    best
}

async fn by_hand_from_a_queue(map: &HashMap<String, Boxed>, routes: u64, turns: u64) -> f64 {
    let channels: Vec<(Bytes, Bytes)> =
        channels(routes).into_iter().map(|(channel, payload)| (channel.into(), payload.into())).collect();
    let (sender, mut receiver) = mpsc::channel::<(Bytes, Bytes)>(WAITING as usize);
    let drain = best_drain(turns, async || {
        for message in &channels {
            sender.try_send(message.clone()).expect("room");
        }
    });
    let worker = async {
        while let Some((channel, payload)) = receiver.recv().await {
            dispatch(map, &channel, &payload).await;
        }
        f64::MAX
    };
    tokio::select! {
        nanos = drain => nanos,
        nanos = worker => nanos,
    }
}

async fn served(router: impl Router, routes: u64, turns: u64) -> f64 {
    let broker = Broker::new();
    let bus = Bus::builder(broker.url()).format(Format::Plain).connect().await.expect("a broker");
    let service = bus.serve(router).await.expect("a service");
    let channels = channels(routes);
    let nanos = best_drain(turns, async || {
        // Nothing here awaits, so the service does not run before the time begins.
        for (channel, payload) in &channels {
            assert_eq!(broker.publish_raw(channel, payload.as_bytes()), 1);
        }
    });
    let nanos = nanos.await;
    service.shutdown().await.expect("nothing waits");
    nanos
}
