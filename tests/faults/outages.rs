//! Connections are killed, servers die, hang and come back.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Event, Message, NoError, Reconnect, Status, Subscription, router};
use tidings_tests::{RedisServer, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::{Entry, Ledger, SOON},
    proxy::{Mode, Proxy},
    report::Report,
    seed::{Random, sized},
};

/// The longest pause between two attempts to reconnect.
const LONGEST: Duration = Duration::from_millis(200);
/// What a loaded machine may add to a deadline.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

/// A bus that reconnects quickly.
pub(crate) async fn bus(url: impl Into<String>) -> Bus {
    bus_with(url, |builder| builder).await
}

pub(crate) async fn bus_with(url: impl Into<String>, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
    let reconnect = Reconnect::default().pauses(Duration::from_millis(10), LONGEST);
    settings(Bus::builder(url).reconnect(reconnect)).connect().await.unwrap()
}

/// T3: subscribers are killed under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_subscribers_report_each_gap_and_nothing_else_is_lost() {
    let server = RedisServer::start().await;
    let mut random = Random::of("T3");
    let (from, to) = (bus(server.url()).await, bus(server.url()).await);
    let ledger = Ledger::open(&from, &to, 2, 1).await;
    ledger.under_way().await;
    let kills = sized(20, 200);
    for _ in 0..kills {
        random.pause(20..sized(100, 500)).await;
        let gaps = ledger.gaps();
        assert_eq!(server.kill_subscribers().await, 1);
        ledger.recovered(gaps + 1).await;
    }
    let mut report = Report::new("T3", "kills", kills);
    for verdict in ledger.close(&from).await {
        assert!(verdict.gaps.len() >= kills, "{verdict:?}");
        report.add(&verdict);
    }
    report.close();
}

/// The same through a network that closes and resets connections, and is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_cuts_and_resets_loses_nothing_in_silence() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let mut random = Random::of("cuts");
    let (from, to) = (bus(server.url()).await, bus(proxy.url()).await);
    let ledger = Ledger::open(&from, &to, 2, 1).await;
    ledger.under_way().await;
    let cuts = sized(20, 200);
    for cut in 0..cuts {
        random.pause(20..100).await;
        let gaps = ledger.gaps();
        proxy.set(if cut % 3 == 2 { Mode::Delay(Duration::from_millis(random.within(1..20))) } else { Mode::Pass });
        proxy.cut();
        ledger.recovered(gaps + 1).await;
    }
    proxy.set(Mode::Pass);
    let mut report = Report::new("T3-network", "cuts", cuts);
    for verdict in ledger.close(&from).await {
        report.add(&verdict);
    }
    report.close();
}

/// T4: the server dies and is away for a while; the subscriber sends no commands of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pure_subscriber_is_back_within_one_pause_of_the_server() {
    let server = RedisServer::start().await;
    let bus = bus(server.url()).await;
    let count: u64 = sized(500, 5_000);
    let mut subscriptions = subscribe_all(&bus, count).await;
    let outages: &[u64] = sized(&[100, 2_000], &[100, 2_000, 12_000, 60_000]);
    let mut report = Report::new("T4", "restarts", outages.len());
    for &outage in outages {
        server.kill();
        tokio::time::sleep(Duration::from_millis(outage)).await;
        server.restart().await;
        let start = Instant::now();
        for subscription in &mut subscriptions {
            expect_gap(subscription).await;
        }
        assert!(start.elapsed() < LONGEST + SLACK, "{:?} after an outage of {outage} ms", start.elapsed());
        report.recovered(start.elapsed());
        let received = all_live(&server, &mut subscriptions).await;
        report = report.messages(received, received);
    }
    report.close();
}

async fn subscribe_all(bus: &Bus, count: u64) -> Vec<Subscription<Entry>> {
    let mut subscriptions = Vec::new();
    for publisher in 0..count {
        subscriptions.push(bus.subscribe(Entry::channel(publisher)).await.unwrap());
    }
    subscriptions
}

async fn expect_gap(subscription: &mut Subscription<Entry>) {
    match tokio::time::timeout(SOON, subscription.next()).await.unwrap() {
        Some(Event::Gap(_)) => {}
        other => panic!("{}: expected a gap, not {other:?}", subscription.selection()),
    }
}

/// Publishes once on each channel: exactly one subscription each receives it, and it is the right one.
async fn all_live(server: &RedisServer, subscriptions: &mut [Subscription<Entry>]) -> u64 {
    let publisher = bus(server.url()).await;
    for (index, subscription) in (0..).zip(subscriptions.iter_mut()) {
        let receipt = Entry::new(index, 1).publish(&publisher).await.unwrap();
        assert_eq!(receipt.receivers, Some(1), "channel {index}");
        match tokio::time::timeout(SOON, subscription.next()).await.unwrap() {
            Some(Event::Message(entry)) => assert_eq!((entry.publisher, entry.n), (index, 1)),
            other => panic!("channel {index}: {other:?}"),
        }
    }
    subscriptions.len() as u64
}

#[derive(Message, Serialize, Deserialize)]
#[channel("echo")]
#[reply(u64)]
struct Echo {
    n: u64,
}

struct Echoing;

#[router]
impl Echoing {
    #[handler(concurrency = 64)]
    async fn echo(&self, echo: Echo) -> Result<u64, NoError> {
        Ok(echo.n)
    }
}

/// T5: many channels, and every connection of the bus is killed while it asks questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_reaches_another_question_while_many_channels_come_back() {
    let server = RedisServer::start().await;
    let (bus, answering) = (bus(server.url()).await, bus(server.url()).await);
    let _service = answering.serve(Echoing).await.unwrap();
    let mut subscriptions = subscribe_all(&bus, sized(2_000, 20_000)).await;
    let (kills, mut random) = (sized(3, 20), Random::of("T5"));
    let mut report = Report::new("T5", "kills", kills);
    for kill in 0..kills as u64 {
        let asking = ask(&bus, kill * 1_000, QUESTIONS);
        let killing = async {
            random.pause(50..150).await;
            server.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            server.kill_subscribers().await
        };
        let ((right, wrong), _) = tokio::join!(asking, killing);
        assert_eq!(wrong, 0);
        report = report.messages(QUESTIONS, right);
        for subscription in &mut subscriptions {
            expect_gap(subscription).await;
        }
    }
    eventually(SOON, async || bus.status() == Status::Connected && ask(&bus, 0, 1).await == (1, 0)).await;
    let received = all_live(&server, &mut subscriptions).await;
    report.messages(received, received).close();
}

/// Questions for each kill: one in a millisecond, so that connections are lost in their midst.
const QUESTIONS: u64 = 300;

/// Right and wrong answers to so many questions; the others failed, as they may.
async fn ask(bus: &Bus, first: u64, count: u64) -> (u64, u64) {
    let mut asking = JoinSet::new();
    for n in first..first + count {
        let bus = bus.clone();
        asking.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n - first)).await;
            (n, Echo { n }.request(&bus).timeout(Duration::from_secs(2)).await)
        });
    }
    let (mut right, mut wrong) = (0, 0);
    while let Some(result) = asking.join_next().await {
        match result.unwrap() {
            (n, Ok(answer)) if answer == n => right += 1,
            (_, Ok(_)) => wrong += 1,
            (_, Err(_)) => {}
        }
    }
    (right, wrong)
}

/// T6: the server is stopped, and then goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_and_blocks_no_call() {
    const PING: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(500);
    let server = RedisServer::start().await;
    let impatient = |builder: BusBuilder| builder.ping(PING, PING).command_timeout(TIMEOUT).connect_timeout(TIMEOUT);
    let (from, to) = (bus_with(server.url(), impatient).await, bus_with(server.url(), impatient).await);
    let ledger = Ledger::open(&from, &to, 2, 1).await;
    ledger.under_way().await;
    let stops: &[u64] = sized(&[1_500, 3_000], &[3_000, 10_000, 30_000]);
    let mut report = Report::new("T6", "stops", stops.len());
    for &stop in stops {
        let gaps = ledger.gaps();
        server.pause();
        let start = Instant::now();
        eventually(2 * PING + SLACK, async || to.status() != Status::Connected).await;
        let call = Instant::now();
        Entry::new(u64::MAX, 0).publish(&to).await.unwrap_err();
        assert!(call.elapsed() < TIMEOUT + SLACK, "{:?}", call.elapsed());
        tokio::time::sleep(Duration::from_millis(stop).saturating_sub(start.elapsed())).await;
        server.resume();
        let resumed = Instant::now();
        ledger.recovered(gaps + 1).await;
        report.recovered(resumed.elapsed());
    }
    for mut verdict in ledger.close(&from).await {
        // These gaps are as long as the server was stopped: how long it took after that is measured above.
        verdict.gaps.clear();
        report.add(&verdict);
    }
    report.close();
}
