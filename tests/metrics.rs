//! What a bus does is measured for the recorder of the process, with templates for labels and never a channel.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, router};
use tidings_tests::{World, eventually};

const SOON: Duration = Duration::from_secs(20);

/// Every metric of this process, by `name{label="value",…}`.
static RECORDED: Recorded = Recorded { numbers: Mutex::new(BTreeMap::new()), durations: Mutex::new(BTreeMap::new()) };

struct Recorded {
    numbers: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    durations: Mutex<BTreeMap<String, Arc<Durations>>>,
}

#[derive(Default)]
struct Durations(Mutex<Vec<f64>>);

impl HistogramFn for Durations {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn named(key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Recorded {
    fn number(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.numbers.lock().unwrap().entry(named(key)).or_default())
    }

    fn snapshot(&self) -> Snapshot {
        let numbers = self.numbers.lock().unwrap();
        let durations = self.durations.lock().unwrap();
        Snapshot {
            numbers: numbers.iter().map(|(name, value)| (name.clone(), value.load(Ordering::SeqCst))).collect(),
            durations: durations
                .iter()
                .map(|(name, values)| (name.clone(), values.0.lock().unwrap().clone()))
                .collect(),
        }
    }
}

struct Installed;

impl Recorder for Installed {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(RECORDED.number(key))
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(RECORDED.number(key))
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(RECORDED.durations.lock().unwrap().entry(named(key)).or_default()))
    }
}

#[derive(Debug)]
struct Snapshot {
    numbers: BTreeMap<String, u64>,
    durations: BTreeMap<String, Vec<f64>>,
}

impl Snapshot {
    fn counted(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    fn connections(&self) -> f64 {
        f64::from_bits(self.counted("tidings_connections{}"))
    }

    fn measured(&self, name: &str) -> usize {
        self.durations.get(name).map_or(0, Vec::len)
    }
}

/// Waits until a counter has grown by so much since then.
async fn grows(before: &Snapshot, name: &str, by: u64) {
    let grown = || RECORDED.snapshot().counted(name) - before.counted(name);
    eventually(SOON, async || grown() >= by).await;
    assert_eq!(grown(), by, "{name}");
}

#[derive(Message, Serialize, Deserialize)]
#[channel("vaults:<vault>")]
struct Opened {
    vault: u64,
    code: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("codes:<vault>")]
#[reply(u64)]
struct Code {
    vault: u64,
}

struct Guard;

#[router]
impl Guard {
    #[handler(timeout = "50ms")]
    async fn opened(&self, opened: Opened) -> Result<(), String> {
        match opened.vault {
            1 => Err("the guard is asleep".to_owned()),
            2 => panic!("a handler of a test panics, as it should"),
            3 => std::future::pending().await,
            _ => Ok(()),
        }
    }

    #[handler]
    async fn code(&self, code: Code) -> Result<u64, String> {
        if code.vault == 1 { Err("no".to_owned()) } else { Ok(7) }
    }
}

fn opened(vault: u64) -> Opened {
    Opened { vault, code: "swordfish".to_owned() }
}

/// One test, because the recorder is the whole process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bus_does_is_measured_by_template_and_outcome() {
    metrics::set_global_recorder(Installed).unwrap();
    for world in [World::memory(), World::redis().await] {
        let before = RECORDED.snapshot();
        let bus = world.bus_in("bank", |bus| bus.payload_limit(1_000)).await;
        assert!((RECORDED.snapshot().connections() - before.connections() - 1.0).abs() < f64::EPSILON);
        messages(&bus).await;
        requests(&world, &bus).await;
        batches(&bus).await;
        gaps(&world, &bus).await;
        drop(bus);
        eventually(SOON, async || RECORDED.snapshot().connections() < 0.5).await;
    }
    let shown = format!("{:?}", RECORDED.snapshot());
    for secret in ["vaults:1", "codes:1", "swordfish", "bank"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

async fn messages(bus: &Bus) {
    let before = RECORDED.snapshot();
    let service = bus.serve(Guard).await.unwrap();
    let mut subscription = bus.subscribe(Opened::any()).await.unwrap();
    for vault in 0..=3 {
        opened(vault).publish(bus).await.unwrap();
    }
    Opened { vault: 9, code: "x".repeat(2_000) }.publish(bus).await.unwrap_err();
    for outcome in ["handled", "failed", "panicked", "timed_out"] {
        let name = format!(
            r#"tidings_handled_messages_total{{handler="opened",template="vaults:<vault>",outcome="{outcome}"}}"#
        );
        grows(&before, &name, 1).await;
    }
    for _ in 0..4 {
        assert!(matches!(subscription.next().await, Some(Event::Message(_))));
    }
    grows(&before, r#"tidings_published_messages_total{template="vaults:<vault>",outcome="ok"}"#, 4).await;
    let large = r#"tidings_published_messages_total{template="vaults:<vault>",outcome="payload_too_large"}"#;
    grows(&before, large, 1).await;
    grows(&before, r#"tidings_received_messages_total{template="vaults:<vault>",outcome="ok"}"#, 4).await;
    let after = RECORDED.snapshot();
    for (name, count) in [
        (r#"tidings_publish_duration_seconds{template="vaults:<vault>"}"#, 5),
        (r#"tidings_handling_duration_seconds{handler="opened",template="vaults:<vault>"}"#, 4),
    ] {
        assert_eq!(after.measured(name) - before.measured(name), count, "{name}");
        assert!(after.durations[name].iter().all(|seconds| (0.0..60.0).contains(seconds)));
    }
    service.shutdown().await.unwrap();
}

async fn requests(world: &World, bus: &Bus) {
    let before = RECORDED.snapshot();
    let service = bus.serve(Guard).await.unwrap();
    assert_eq!(Code { vault: 0 }.request(bus).await.unwrap(), 7);
    Code { vault: 1 }.request(bus).await.unwrap_err();
    opened(0).publish(bus).acknowledged_within(SOON).await.unwrap();
    service.shutdown().await.unwrap();
    eventually(SOON, async || world.patterns().await == 0).await;
    Code { vault: 0 }.request(bus).await.unwrap_err();
    for (template, outcome) in [
        ("codes:<vault>", "ok"),
        ("codes:<vault>", "handler_failed"),
        ("codes:<vault>", "nobody_listens"),
        ("vaults:<vault>", "ok"),
    ] {
        let name = format!(r#"tidings_requests_total{{template="{template}",outcome="{outcome}"}}"#);
        grows(&before, &name, 1).await;
    }
    let name = r#"tidings_request_duration_seconds{template="codes:<vault>"}"#;
    assert_eq!(RECORDED.snapshot().measured(name) - before.measured(name), 3);
}

async fn batches(bus: &Bus) {
    let before = RECORDED.snapshot();
    let large = Opened { vault: 9, code: "x".repeat(2_000) };
    let results = bus.batch().push(&opened(1)).push(&large).push(&opened(2)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    bus.batch().push(&opened(1)).push(&opened(2)).atomic().await.unwrap();
    grows(&before, r#"tidings_published_messages_total{template="vaults:<vault>",outcome="ok"}"#, 4).await;
    let large = r#"tidings_published_messages_total{template="vaults:<vault>",outcome="payload_too_large"}"#;
    grows(&before, large, 1).await;
}

async fn gaps(world: &World, bus: &Bus) {
    let before = RECORDED.snapshot();
    let service = bus.serve(Guard).await.unwrap();
    let mut subscription = bus.subscribe(Opened::any()).await.unwrap();
    world.disconnect().await;
    assert!(matches!(subscription.next().await, Some(Event::Gap(_))));
    grows(&before, r#"tidings_gaps_total{consumer="service"}"#, 1).await;
    grows(&before, r#"tidings_gaps_total{consumer="subscription",template="vaults:<vault>"}"#, 1).await;
    grows(&before, "tidings_reconnects_total{}", 1).await;
    assert!((RECORDED.snapshot().connections() - before.connections()).abs() < f64::EPSILON);
    service.shutdown().await.unwrap();
}
