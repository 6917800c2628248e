//! T24: whatever is stopped or dropped, wherever, what was accepted is finished and nothing stays behind.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Event, Message, NoError, Overflow, Publish, Subscription, router, testing::Broker};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};
use tokio::task::JoinSet;

use crate::{
    child::{self, Child},
    ledger::{Entry, SOON},
    outages::bus,
    report::Report,
    seed::{Random, sized},
};

struct Handling {
    started: Recorder<u64>,
    finished: Recorder<u64>,
}

impl Handling {
    fn new() -> Self {
        Self { started: Recorder::new(), finished: Recorder::new() }
    }
}

#[router]
impl Handling {
    #[handler(concurrency = 8)]
    async fn entry(&self, entry: Entry) {
        self.started.record(entry.n);
        tokio::task::yield_now().await;
        self.finished.record(entry.n);
    }
}

/// A service that takes longer than its publishers, so that much waits in it when the signal comes.
struct Slow;

#[router]
impl Slow {
    #[handler(concurrency = 64)]
    async fn entry(&self, entry: Entry) -> Publish<Finished> {
        tokio::time::sleep(Duration::from_millis(1 + entry.n % 2)).await;
        Publish::new(Finished { publisher: entry.publisher, n: entry.n })
    }

    /// Its answer proves that everything which was published before the question has arrived.
    #[handler(concurrency = 64)]
    async fn fence(&self, _fence: Fence) -> Result<(), NoError> {
        Ok(())
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("finished")]
struct Finished {
    publisher: u64,
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("fences:<publisher>")]
#[reply(())]
struct Fence {
    publisher: u64,
}

/// What the child is granted between the signal and its end.
const GRACE: Duration = Duration::from_secs(10);
const PUBLISHERS: u64 = 8;

/// Publishes until it is stopped, and notes how many of its entries the service is known to have accepted.
async fn load(bus: Bus, publisher: u64, accepted: Recorder<(u64, u64)>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for n in 0.. {
        ticks.tick().await;
        // Until the service has gone, and after that too.
        let _ = Entry::new(publisher, n).publish(&bus).await;
        let fence = Fence { publisher };
        if n % 10 == 9 && fence.request(&bus).timeout(Duration::from_millis(500)).await.is_ok() {
            accepted.record((publisher, n));
        }
    }
}

/// Follows what a service has finished. The subscription is shared by all services of the test: each has numbers of its own.
async fn follow(mut finished: Subscription<Finished>, seen: Recorder<(u64, u64)>) {
    while let Some(event) = finished.next().await {
        match event {
            Event::Message(finished) => seen.record((finished.publisher, finished.n)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_terminated_under_load_finishes_all_that_it_has_accepted() {
    if let Some(url) = child::argument() {
        let service = bus(url).await.serve(Slow).await.unwrap();
        println!("serving");
        return service.run_until_stopped_within(GRACE).await.unwrap();
    }
    let server = RedisServer::start().await;
    let from = bus(server.url()).await;
    let seen = Recorder::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(from.subscribe(Finished::channel()).await.unwrap(), seen.clone()));
    let mut random = Random::of("T24-signal");
    let rounds = sized(10, 100);
    let mut report = Report::new("T24-signal", "terminations", usize::try_from(rounds).unwrap());
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let (accepted, seen_before) = (Recorder::new(), seen.len());
        let mut child = Child::start(
            "shutdown::a_program_that_is_terminated_under_load_finishes_all_that_it_has_accepted",
            &server.url(),
        );
        child.says("serving").await;
        let mut loads = JoinSet::new();
        for publisher in round * PUBLISHERS..(round + 1) * PUBLISHERS {
            loads.spawn(load(from.clone(), publisher, accepted.clone()));
        }
        random.pause(20..400).await;
        child.signal("TERM");
        let start = Instant::now();
        let status = child.ended().await;
        assert!(status.success() && start.elapsed() < GRACE, "{status} after {:?}", start.elapsed());
        loads.shutdown().await;
        longest = longest.max(start.elapsed());
        nothing_is_left(&server, round * PUBLISHERS..(round + 1) * PUBLISHERS).await;
        let handled = settled(&from, &seen, seen_before).await;
        let accepted = accepted.all();
        let (due, wrong) = judge(&accepted, &handled);
        assert_eq!(wrong, 0, "round {round}: accepted {accepted:?}, finished {handled:?}");
        report = report.messages(due, due);
    }
    println!("T24-signal: the longest way from SIGTERM to the end took {longest:?}");
    report.close();
}

/// What was finished since then, once nothing more can come.
async fn settled(bus: &Bus, seen: &Recorder<(u64, u64)>, before: usize) -> Vec<(u64, u64)> {
    const END: (u64, u64) = (u64::MAX, u64::MAX);
    Finished { publisher: END.0, n: END.1 }.publish(bus).await.unwrap();
    let all = seen.wait_until("the end", |seen| seen.last() == Some(&END)).await;
    all[before..].to_vec()
}

/// How many entries were accepted, and how many of them were not finished, or not in their order, or twice.
fn judge(accepted: &[(u64, u64)], finished: &[(u64, u64)]) -> (u64, u64) {
    let (mut next, mut wrong) = (HashMap::new(), 0);
    for &(publisher, n) in finished.iter().filter(|(publisher, _)| *publisher != u64::MAX) {
        let next = next.entry(publisher).or_insert(0);
        // From the first to the last without a hole.
        wrong += u64::from(n != *next);
        *next = n + 1;
    }
    let mut last: HashMap<u64, u64> = HashMap::new();
    for &(publisher, n) in accepted {
        let last = last.entry(publisher).or_default();
        *last = n.max(*last);
    }
    for (publisher, n) in &last {
        wrong += (n + 1).saturating_sub(next.get(publisher).copied().unwrap_or(0));
    }
    (last.values().map(|n| n + 1).sum(), wrong)
}

async fn nothing_is_left(server: &RedisServer, channels: std::ops::Range<u64>) {
    eventually(SOON, async || server.numpat().await == 0).await;
    for channel in channels {
        eventually(SOON, async || server.numsub(&format!("ledger:{channel}")).await == 0).await;
    }
}

on_each! {
    async fn a_service_that_is_shut_down_under_load_finishes_what_it_started(world: World) {
        let (from, to) = (world.bus().await, world.bus().await);
        let mut random = Random::of("T24");
        let rounds = sized(20, 100);
        let mut published = 0;
        for _ in 0..rounds {
            let handling = Handling::new();
            let (started, finished) = (handling.started.clone(), handling.finished.clone());
            let service = to.serve(handling).await.unwrap();
            let mut load = JoinSet::new();
            for publisher in 0..4 {
                let from = from.clone();
                load.spawn(async move {
                    for n in 0.. {
                        Entry::new(publisher, n).publish(&from).await.unwrap();
                        // On memory a publish need not wait for anything.
                        tokio::task::yield_now().await;
                    }
                });
            }
            random.pause(5..40).await;
            service.shutdown_within(SOON).await.unwrap();
            load.shutdown().await;
            assert_eq!(started.len(), finished.len());
            published += started.len() as u64;
            // The server has been told when `shutdown` returns, and does it when it comes to it.
            eventually(SOON, async || world.patterns().await == 0).await;
        }
        Report::on(&world, "T24", "shutdowns", rounds).messages(published, published).close();
    }
}

const CHANNELS: u64 = 8;

/// Makes so many things on buses, most of them on one and some on buses of their own, and drops each at a random moment.
async fn drop_at_random(builder: impl Fn() -> BusBuilder, shared: &Bus, drops: u64) {
    let mut random = Random::of("T24-drops");
    let mut tasks = JoinSet::new();
    for n in 0..drops {
        let (builder, shared, channel) = (builder(), shared.clone(), random.within(0..CHANNELS));
        let (opening, open) = (random.within(1..3_000), random.within(1..3_000));
        tasks.spawn(async move {
            let opening = Duration::from_micros(opening);
            let bus = if n % 8 == 7 {
                let connected = tokio::time::timeout(opening, builder.connect()).await;
                let Ok(bus) = connected.map(Result::unwrap) else { return };
                bus
            } else {
                shared
            };
            make_and_drop(&bus, n, channel, opening, Duration::from_micros(open)).await;
        });
        if n % 16 == 0 {
            tokio::time::sleep(Duration::from_micros(open)).await;
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

async fn make_and_drop(bus: &Bus, n: u64, channel: u64, opening: Duration, open: Duration) {
    match n % 5 {
        0 => {
            let opened = tokio::time::timeout(opening, bus.subscribe(Entry::channel(channel))).await;
            if let Ok(mut subscription) = opened.map(Result::unwrap) {
                let _ = tokio::time::timeout(open, subscription.next()).await;
            }
        }
        1 => {
            let opened = tokio::time::timeout(opening, bus.serve(Handling::new())).await;
            if let Ok(service) = opened.map(Result::unwrap) {
                let _ = tokio::time::timeout(open, service.shutdown()).await;
            }
        }
        2 => {
            let entry = Entry::new(channel, n);
            let _ = tokio::time::timeout(opening, entry.publish(bus).into_future()).await;
        }
        3 => {
            let fence = Fence { publisher: channel };
            let _ = tokio::time::timeout(opening, fence.request(bus).into_future()).await;
        }
        _ => {
            // On Redis it has a connection of its own.
            let subscribing = bus.subscribe(Entry::any()).overflow(Overflow::BackPressure).into_future();
            if let Ok(subscription) = tokio::time::timeout(opening, subscribing).await {
                tokio::time::sleep(open).await;
                drop(subscription);
            }
        }
    }
}

on_each! {
    async fn whatever_is_dropped_at_a_random_moment_leaves_nothing_on_the_server(world: World) {
        let bus = world.bus().await;
        let drops = sized(400, 10_000);
        drop_at_random(|| world.builder(), &bus, drops).await;
        eventually(SOON, async || world.patterns().await == 0).await;
        for channel in 0..CHANNELS {
            eventually(SOON, async || world.subscriptions(&format!("ledger:{channel}")).await == 0).await;
        }
        assert_eq!(bus.stats().pending_requests, 0);
        // The bus still works, and its end closes its connections.
        let subscription = bus.subscribe(Entry::channel(0_u64)).await.unwrap();
        assert_eq!(Entry::new(0, 1).publish(&bus).await.unwrap().receivers, world.receivers(1));
        drop((subscription, bus));
        eventually(SOON, async || world.subscriber_connections().await == 0).await;
        Report::on(&world, "T24-drops", "cancellations", usize::try_from(drops).unwrap()).close();
    }
}

/// A process of its own makes and drops buses, services and subscriptions; files and tasks are then as many as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_dropped_leaves_no_open_file_and_no_task() {
    if let Some(url) = child::argument() {
        return count_leaks(&url).await;
    }
    let (server, drops) = (RedisServer::start().await, sized(600, 10_000));
    for (scenario, url) in [("T24-leaks/memory", "memory:".to_owned()), ("T24-leaks/redis", server.url())] {
        let mut child = Child::start("shutdown::whatever_is_dropped_leaves_no_open_file_and_no_task", &url);
        child.says("counted").await;
        assert!(child.ended().await.success());
        Report::new(scenario, "cancellations", drops).close();
    }
    eventually(SOON, async || server.subscriber_connections().await == 0).await;
}

async fn count_leaks(url: &str) {
    // A broker lives as long as somebody holds it; so does what it remembers of its buses.
    let broker = Broker::new();
    let url = if url == "memory:" { broker.url() } else { url.to_owned() };
    let rounds = |drops| {
        let url = url.clone();
        async move {
            let bus = bus(url.clone()).await;
            drop_at_random(|| Bus::builder(&url), &bus, drops).await;
        }
    };
    // Once, so that what is made once in a process is there.
    rounds(100).await;
    let no_tasks = async || child::tasks() == 0;
    eventually(SOON, no_tasks).await;
    let before = child::open_files();
    rounds(sized(600, 10_000)).await;
    eventually(SOON, no_tasks).await;
    assert_eq!(child::open_files(), before);
    println!("counted {before:?}");
}
