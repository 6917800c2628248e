//! T6, T16 and T17 on a Redis Cluster: slots move, connections are killed, masters stand still and die, and whoever takes requests is found again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Event, Message, NoError, RequestError, Subscription, router};
use tidings_tests::{Cluster, Recorder, RedisServer, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::SOON,
    outages::{SLACK, bus, bus_with},
    report::Report,
    seed::{Random, sized},
};

/// A shard channel is subscribed on the new owner of its slot within this.
const MOVED: Duration = Duration::from_secs(1);
/// After another master was elected.
const BACK: Duration = Duration::from_secs(2);

#[derive(Message, Serialize, Deserialize)]
#[channel("triples:<n>")]
#[reply(u64)]
struct Triple {
    n: u64,
}

/// What every instance says of itself: when it starts, stops, or may have missed something.
#[derive(Message, Serialize, Deserialize)]
#[channel("tidings:instances")]
struct Announced {}

#[derive(Clone)]
struct Triples {
    ran: Recorder<u64>,
}

#[router]
impl Triples {
    #[handler(concurrency = 64)]
    async fn triple(&self, triple: Triple) -> Result<u64, NoError> {
        self.ran.record(triple.n);
        Ok(triple.n * 3)
    }
}

/// Asks all the time, until it is told to stop.
struct Askers {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    ends: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    tokio_tasks: JoinSet<()>,
}

impl Askers {
    fn start(bus: &Bus, count: usize) -> Self {
        let mut askers =
            Self { stop: Arc::default(), next: Arc::default(), ends: Arc::default(), tokio_tasks: JoinSet::new() };
        for _ in 0..count {
            let (bus, stop) = (bus.clone(), Arc::clone(&askers.stop));
            let (next, ends) = (Arc::clone(&askers.next), Arc::clone(&askers.ends));
            askers.tokio_tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let end = match (Triple { n }).request(&bus).timeout(Duration::from_millis(500)).await {
                        Ok(answer) if answer == 3 * n => "answered",
                        Ok(_) | Err(RequestError::InvalidAnswer { .. }) => "wrong",
                        Err(_) => "failed",
                    };
                    *ends.lock().unwrap_or_else(PoisonError::into_inner).entry(end).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        askers
    }

    fn ended(&self, how: &str) -> u64 {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(how).copied().unwrap_or_default()
    }

    /// One that begins from now on is answered.
    async fn are_answered(&self) {
        let (first, answered) = (self.next.load(Ordering::Relaxed), self.ended("answered"));
        // Those that were under way when this began may be answered still.
        let under_way = self.tokio_tasks.len() as u64;
        eventually(SOON, async || {
            self.next.load(Ordering::Relaxed) > first + under_way && self.ended("answered") > answered + under_way
        })
        .await;
    }

    async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tokio_tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// The shard channels that match.
async fn shard_channels(cluster: &Cluster, pattern: &str) -> Vec<String> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        let names = node.try_command::<Vec<String>>(&["PUBSUB", "SHARDCHANNELS", pattern]).await;
        all.extend(names.unwrap_or_default());
    }
    all
}

async fn shard_subscribers(node: &RedisServer, names: &[&str]) -> HashMap<String, u64> {
    let words: Vec<&str> = ["PUBSUB", "SHARDNUMSUB"].into_iter().chain(names.iter().copied()).collect();
    node.try_command(&words).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_follows_its_slot_under_requests() {
    let cluster = Cluster::start().await;
    let (to, from) = (bus(cluster.url()).await, bus(cluster.url()).await);
    let triples = Triples { ran: Recorder::new() };
    let service = to.serve(triples.clone()).await.unwrap();
    let mut announced = from.subscribe(Announced::any()).await.unwrap();
    let inbox = shard_channels(&cluster, "tidings:inbox:*").await.pop().unwrap();
    let slot = cluster.slot(&inbox).await;
    let mut askers = Askers::start(&from, 4);
    askers.are_answered().await;
    let (mut random, moves) = (Random::of("T16"), sized(5, 50));
    let mut report = Report::new("T16", "migrations", moves);
    let home = cluster.owner(slot).await;
    let away = cluster.nodes()[..3].iter().find(|node| node.port() != home.port()).unwrap();
    for number in 0..moves {
        random.pause(10..200).await;
        let target = if number % 2 == 0 { away } else { home };
        cluster.migrate(slot, target).await;
        let moved = Instant::now();
        eventually(SOON, async || shard_subscribers(target, &[&inbox]).await.get(&inbox) == Some(&1)).await;
        assert!(moved.elapsed() < MOVED + SLACK, "subscribed there after {:?}", moved.elapsed());
        report.recovered(moved.elapsed());
        // The gap: the instance tells of itself again, as somebody may have taken it for gone.
        tokio::time::timeout(SOON, announced.next()).await.expect("it was told of the gap");
        askers.are_answered().await;
    }
    askers.stop().await;
    let ran = triples.ran.all();
    let distinct: std::collections::HashSet<u64> = ran.iter().copied().collect();
    assert_eq!(ran.len(), distinct.len(), "no request was executed twice");
    assert_eq!(askers.ended("wrong"), 0);
    println!("T16: {} requests failed with an error around {moves} migrations", askers.ended("failed"));
    assert!(distinct.len() as u64 >= askers.ended("answered"));
    service.shutdown().await.unwrap();
    report.messages(askers.ended("answered"), askers.ended("answered")).close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_inboxes_are_back_after_connections_were_killed_and_a_master_died() {
    let count = sized(60, 300);
    let cluster = Cluster::start().await;
    let (to, from) = (bus(cluster.url()).await, bus(cluster.url()).await);
    let triples = Triples { ran: Recorder::new() };
    let mut services = Vec::new();
    for number in 0..count {
        services.push(to.serve(triples.clone()).group(format!("group-{number}")).await.unwrap());
    }
    let names = shard_channels(&cluster, "tidings:inbox:*").await;
    assert_eq!(names.len(), count);
    let mut report = Report::new("T17", "faults", 2);

    for node in cluster.nodes() {
        node.kill_subscribers().await;
    }
    let cut = Instant::now();
    are_back(&cluster, &names).await;
    assert!(cut.elapsed() < BACK + SLACK, "back after {:?}", cut.elapsed());
    report.recovered(cut.elapsed());
    let all = Triple { n: 1 }.request(&from).timeout(SOON).collect(count).await.unwrap();
    assert_eq!(all.len(), count);

    let slot = cluster.slot(&names[0]).await;
    let master = cluster.owner(slot).await;
    master.kill();
    cluster.another_than(master.port(), slot).await;
    let elected = Instant::now();
    are_back(&cluster, &names).await;
    assert!(elected.elapsed() < BACK + SLACK, "back after {:?}", elected.elapsed());
    report.recovered(elected.elapsed());
    eventually(SOON, async || {
        let collected = Triple { n: 2 }.request(&from).timeout(SOON).collect(count).await;
        collected.is_ok_and(|all| all.len() == count)
    })
    .await;
    let connections = async || {
        let mut sum = 0;
        for node in cluster.nodes().iter().filter(|node| node.port() != master.port()) {
            sum += node.subscriber_connections().await;
        }
        sum
    };
    // One for what is on any node, for each of two; one for each master that has inboxes; and one for answers, of who asks.
    eventually(SOON, async || connections().await == 6).await;
    report.messages(count as u64, count as u64).close();
}

/// Waits until each is subscribed once, on the node that has its slot.
async fn are_back(cluster: &Cluster, names: &[String]) {
    let mut by_owner: HashMap<u16, Vec<&str>> = HashMap::new();
    for name in names {
        let owner = cluster.owner(cluster.slot(name).await).await.port();
        by_owner.entry(owner).or_default().push(name);
    }
    assert_eq!(by_owner.len(), 3, "they are spread over all masters");
    for (owner, names) in by_owner {
        let node = cluster.nodes().iter().find(|node| node.port() == owner).unwrap();
        eventually(SOON, async || {
            let counts = shard_subscribers(node, &names).await;
            names.iter().all(|name| counts.get(*name) == Some(&1))
        })
        .await;
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("pulses")]
struct Pulse {
    n: u64,
}

/// How long a call may take while a node stands still.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Publishes and asks until it is heard and answered. No call takes longer than it may.
async fn goes_on(from: &Bus, pulses: &mut Subscription<Pulse>, n: u64) {
    eventually(SOON, async || {
        let asked = Instant::now();
        let published = Pulse { n }.publish(from).await.is_ok();
        assert!(asked.elapsed() < TIMEOUT + SLACK, "publishing took {:?}", asked.elapsed());
        let asked = Instant::now();
        let answered = Triple { n }.request(from).timeout(TIMEOUT).await.is_ok_and(|answer| answer == 3 * n);
        assert!(asked.elapsed() < TIMEOUT + SLACK, "a request took {:?}", asked.elapsed());
        let heard = async {
            while let Some(event) = pulses.next().await {
                if matches!(event, Event::Message(pulse) if pulse.n == n) {
                    return;
                }
            }
        };
        published && answered && tokio::time::timeout(TIMEOUT, heard).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_stands_still_blocks_no_call_and_is_replaced() {
    const PING: Duration = Duration::from_millis(300);
    let impatient = |builder: BusBuilder| {
        builder.ping_interval(PING).ping_deadline(PING).command_timeout(TIMEOUT).connect_timeout(TIMEOUT)
    };
    let cluster = Cluster::start().await;
    let (to, from) = (bus_with(cluster.url(), impatient).await, bus_with(cluster.url(), impatient).await);
    let service = to.serve(Triples { ran: Recorder::new() }).await.unwrap();
    let mut pulses = to.subscribe(Pulse::channel()).await.unwrap();
    let slot = cluster.slot(&shard_channels(&cluster, "tidings:inbox:*").await[0]).await;
    let stops = sized(1, 5);
    let mut report = Report::new("T6", "stops", stops);
    for round in 0..stops as u64 {
        goes_on(&from, &mut pulses, 3 * round).await;
        let master = cluster.owner(slot).await;
        master.pause();
        let stopped = Instant::now();
        goes_on(&from, &mut pulses, 3 * round + 1).await;
        report.recovered(stopped.elapsed());
        cluster.another_than(master.port(), slot).await;
        master.resume();
        eventually(SOON, async || {
            let role: String = master.try_command(&["INFO", "replication"]).await.unwrap_or_default();
            role.contains("role:slave") && role.contains("master_link_status:up")
        })
        .await;
        goes_on(&from, &mut pulses, 3 * round + 2).await;
    }
    service.shutdown().await.unwrap();
    report.close();
}

/// A master that has handed over is a replica: it counts those who listen there still, which is nobody, and passes on what it is sent to those who listen to
/// its master. Whoever has heard nothing of it takes it for the master for up to a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_runs_once_where_a_master_has_handed_over() {
    const INSTANCES: usize = 4;
    let cluster = Cluster::start().await;
    let triples = Triples { ran: Recorder::new() };
    let (mut services, mut askers) = (Vec::new(), Vec::new());
    for _ in 0..INSTANCES {
        services.push(bus(cluster.url()).await.serve(triples.clone()).await.unwrap());
    }
    // Some of them have all their connections elsewhere.
    for n in 0..8 {
        let asker = bus(cluster.url()).await;
        assert_eq!(Triple { n }.request(&asker).timeout(SOON).await.unwrap(), 3 * n);
        askers.push(asker);
    }
    let mut numbers = 100..;
    // Each once: masters vote for no other successor of the same one for a while.
    for master in cluster.masters() {
        let heir = cluster.replica_of(master).await;
        heir.command::<String>(&["CLUSTER", "FAILOVER"]).await;
        eventually(SOON, async || {
            let info: String = heir.command(&["INFO", "replication"]).await;
            info.contains("role:master") && masters_have(&cluster, "tidings:inbox:*", INSTANCES).await
        })
        .await;
        for (asker, n) in askers.iter().cycle().take(INSTANCES * askers.len()).zip(&mut numbers) {
            let asked = Triple { n }.request(asker).timeout(SLACK).await;
            let ran = triples.ran.all().into_iter().filter(|&ran| ran == n).count();
            match &asked {
                Ok(_) => assert_eq!(ran, 1, "{n} was answered"),
                Err(error) => assert!(ran <= usize::from(!error.is_retryable()), "{n} ran {ran} times: {error}"),
            }
        }
    }
    for service in services {
        service.shutdown().await.unwrap();
    }
}

/// Whether so many shard channels that match are subscribed, and all of them on masters.
async fn masters_have(cluster: &Cluster, pattern: &str, count: usize) -> bool {
    let mut there = 0;
    for node in cluster.nodes() {
        let names: Vec<String> = node.command(&["PUBSUB", "SHARDCHANNELS", pattern]).await;
        let info: String = node.command(&["INFO", "replication"]).await;
        if !names.is_empty() && !info.contains("role:master") {
            return false;
        }
        there += names.len();
    }
    there == count
}
