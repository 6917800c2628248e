//! Connections are killed, servers die, hang and come back.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Event, Message, NoError, Reconnect, Status, Subscription, router};
use tidings_tests::{RedisServer, World, eventually, on_each};
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

/// How long a subscription may be away when only its connection was cut (99 of 100), where the scenario has the machine to itself.
const RESUBSCRIBED: Duration = Duration::from_millis(100);

/// A bus that reconnects quickly.
pub(crate) async fn bus(url: impl Into<String>) -> Bus {
    bus_with(url, |builder| builder).await
}

pub(crate) async fn bus_with(url: impl Into<String>, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
    let reconnect = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(LONGEST);
    settings(Bus::builder(url).reconnect(reconnect)).connect().await.unwrap()
}

on_each! {
    /// T3: subscribers are killed under load.
    #[one_server("a promise in reconnect.rs does it on a cluster")]
    async fn killed_subscribers_report_each_gap_and_nothing_else_is_lost(world: World) {
        let mut random = Random::of("T3");
        let (from, to) = (world.bus().await, world.bus().await);
        // 5,000 messages a second.
        let ledger = Ledger::open(&from, &to, 5, 1).await;
        ledger.under_way().await;
        let kills = sized(20, 200);
        for _ in 0..kills {
            random.pause(sized(20..100, 50..500)).await;
            let gaps = ledger.gaps();
            world.disconnect().await;
            ledger.recovered(gaps + 1).await;
        }
        let mut report = Report::on(&world, "T3", "kills", kills);
        for verdict in ledger.close(&from).await {
            assert!(verdict.gaps.len() >= kills, "{verdict:?}");
            report.add(&verdict);
        }
        assert!(report.p99() < sized(SLACK, RESUBSCRIBED), "resubscribed after {:?} (p99)", report.p99());
        report.close();
    }

    /// T4: the server dies and is away for a while; the subscriber sends no commands of its own.
    #[one_server("it is stopped")]
    async fn a_pure_subscriber_is_back_within_one_pause_of_the_server(world: World) {
        let bus = world.bus().await;
        let count: u64 = sized(500, 5_000);
        let mut subscriptions = subscribe_all(&bus, count).await;
        let outages: &[u64] = sized(&[100, 2_000], &[100, 2_000, 12_000, 60_000]);
        let mut report = Report::on(&world, "T4", "restarts", outages.len());
        for &outage in outages {
            world.stop();
            tokio::time::sleep(Duration::from_millis(outage)).await;
            world.start().await;
            let start = Instant::now();
            for subscription in &mut subscriptions {
                expect_gap(subscription).await;
            }
            assert!(start.elapsed() < LONGEST + SLACK, "{:?} after an outage of {outage} ms", start.elapsed());
            report.recovered(start.elapsed());
            let received = all_live(&world, &mut subscriptions).await;
            report = report.messages(received, received);
        }
        report.close();
    }

    /// The ledger over outages of the server: what was published in them failed, and what was lost is in gaps.
    #[one_server("it is stopped")]
    async fn a_server_that_comes_and_goes_loses_nothing_in_silence(world: World) {
        let mut random = Random::of("T4-ledger");
        let (from, to) = (world.bus().await, world.bus().await);
        let ledger = Ledger::open(&from, &to, 2, 1).await;
        ledger.under_way().await;
        let restarts = sized(5, 100);
        for _ in 0..restarts {
            random.pause(20..100).await;
            let gaps = ledger.gaps();
            world.stop();
            random.pause(0..100).await;
            world.start().await;
            ledger.recovered(gaps + 1).await;
        }
        let mut report = Report::on(&world, "T4-ledger", "restarts", restarts);
        for mut verdict in ledger.close(&from).await {
            // These gaps are as long as the server was away.
            verdict.gaps.clear();
            report.add(&verdict);
        }
        report.close();
    }

    /// T5: many channels, and every connection of the bus is killed while it asks questions.
    async fn no_answer_reaches_another_question_while_many_channels_come_back(world: World) {
        let (bus, answering) = (world.bus().await, world.bus().await);
        let _service = answering.serve(Echoing).await.unwrap();
        let mut subscriptions = subscribe_all(&bus, sized(2_000, 20_000)).await;
        let (kills, mut random) = (sized(3, 20), Random::of("T5"));
        let mut report = Report::on(&world, "T5", "kills", kills);
        for kill in 0..kills as u64 {
            let asking = ask(&bus, kill * 1_000, QUESTIONS);
            let killing = async {
                random.pause(50..150).await;
                world.disconnect_everything().await;
            };
            let ((right, wrong), ()) = tokio::join!(asking, killing);
            assert_eq!(wrong, 0);
            report = report.messages(QUESTIONS, right);
            for subscription in &mut subscriptions {
                expect_gap(subscription).await;
            }
        }
        eventually(SOON, async || bus.status() == Status::Connected && ask(&bus, 0, 1).await == (1, 0)).await;
        let received = all_live(&world, &mut subscriptions).await;
        report.messages(received, received).close();
    }

    /// T6: the server is stopped, and then goes on.
    #[one_server("it is frozen")]
    async fn a_server_that_hangs_is_noticed_and_blocks_no_call(world: World) {
        const PING: Duration = Duration::from_millis(300);
        const TIMEOUT: Duration = Duration::from_millis(500);
        let impatient = |builder: BusBuilder| builder.ping_interval(PING).ping_deadline(PING).command_timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let (from, to) = (world.bus_with(impatient).await, world.bus_with(impatient).await);
        let ledger = Ledger::open(&from, &to, 2, 1).await;
        ledger.under_way().await;
        let stops: &[u64] = sized(&[1_500, 3_000], &[3_000, 10_000, 30_000]);
        let mut report = Report::on(&world, "T6", "stops", stops.len());
        for &stop in stops {
            let gaps = ledger.gaps();
            world.freeze();
            let start = Instant::now();
            eventually(2 * PING + SLACK, async || to.status() != Status::Connected).await;
            no_call_blocks(&to, TIMEOUT).await;
            tokio::time::sleep(Duration::from_millis(stop).saturating_sub(start.elapsed())).await;
            world.thaw();
            let resumed = Instant::now();
            ledger.recovered(gaps + 1).await;
            report.recovered(resumed.elapsed());
        }
        let verdicts = ledger.close(&from).await;
        assert!(verdicts.iter().all(|verdict| verdict.timeouts >= stops.len()), "{verdicts:?}");
        for mut verdict in verdicts {
            // These gaps are as long as the server was stopped: how long it took after that is measured above.
            verdict.gaps.clear();
            report.add(&verdict);
        }
        report.close();
    }
}

/// Each call of a bus whose server hangs ends in time, with an error.
async fn no_call_blocks(bus: &Bus, timeout: Duration) {
    let start = Instant::now();
    let (entry, echo) = (Entry::new(u64::MAX, 0), Echo { n: 0 });
    let (published, subscribed, asked, health) = tokio::join!(
        entry.publish(bus).into_future(),
        bus.subscribe(Entry::channel(u64::MAX)).into_future(),
        echo.request(bus).timeout(timeout).into_future(),
        bus.health(),
    );
    assert!(start.elapsed() < timeout + SLACK, "{:?}", start.elapsed());
    assert!(published.is_err() && subscribed.is_err() && asked.is_err() && health.is_err());
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

/// The network swallows what the connections carry, and everybody who waits gives up early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swallowed_connection_is_given_up_although_nobody_waits_for_long() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let answering = bus(server.url()).await;
    let _service = answering.serve(Echoing).await.unwrap();
    let patient = |builder: BusBuilder| builder.command_timeout(Duration::from_secs(1));
    let pinging = |builder: BusBuilder| patient(builder).ping_interval(TIMEOUT).ping_deadline(TIMEOUT);
    let (publishing, asking) = (bus_with(proxy.url(), patient).await, bus_with(proxy.url(), pinging).await);
    assert_eq!(Echo { n: 1 }.request(&asking).await.unwrap(), 1);
    Entry::new(1, 1).publish(&publishing).await.unwrap();
    proxy.swallow();
    let (mut published, mut answered) = (0, 0);
    for n in 0..50 {
        let (entry, echo) = (Entry::new(1, n), Echo { n });
        let publish = tokio::time::timeout(TIMEOUT, entry.publish(&publishing).into_future());
        let (publish, answer) = tokio::join!(publish, echo.request(&asking).timeout(TIMEOUT).into_future());
        published += usize::from(matches!(publish, Ok(Ok(_))));
        answered += usize::from(answer.is_ok_and(|answer| answer == n));
    }
    assert!(published > 20 && answered > 20, "{published} published and {answered} answered of 50");
    assert_eq!(asking.status(), Status::Connected);
    Report::new("T7-swallowed", "swallowed", 1).close();
}

/// New connections are swallowed too: nothing is published, and the status says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_tells_of_a_connection_for_publishing_that_cannot_be_made_anew() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let short = Duration::from_millis(200);
    let bus = bus_with(proxy.url(), |builder| builder.command_timeout(short).connect_timeout(short)).await;
    proxy.set(Mode::Blackhole);
    assert!(Entry::new(1, 1).publish(&bus).await.is_err());
    eventually(SOON, async || matches!(bus.status(), Status::Reconnecting { .. })).await;
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    proxy.set(Mode::Pass);
    eventually(SOON, async || bus.status() == Status::Connected).await;
    Entry::new(1, 1).publish(&bus).await.unwrap();
}

/// A master becomes a replica while a bus publishes on it, and a master again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_demoted_is_noticed() {
    let (server, master) = (RedisServer::start().await, RedisServer::start().await);
    let short = Duration::from_millis(200);
    let bus = bus_with(server.url(), |builder| builder.command_timeout(short).ping_interval(short)).await;
    let batch = async || bus.batch().push(&Entry::new(1, 1)).atomic().await;
    Entry::new(1, 1).publish(&bus).await.unwrap();
    batch().await.unwrap();
    let port = master.port().to_string();
    let _: String = server.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    let error = batch().await.unwrap_err();
    assert!(error.to_string().contains("role"), "{error}");
    let refused = async || match Entry::new(1, 1).publish(&bus).await {
        Err(error) => error.is_retryable() && error.to_string().contains("role"),
        Ok(_) => false,
    };
    eventually(SOON, refused).await;
    assert!(matches!(bus.status(), Status::Reconnecting { .. }), "{:?}", bus.status());
    let _: String = server.command(&["REPLICAOF", "NO", "ONE"]).await;
    eventually(SOON, async || Entry::new(1, 1).publish(&bus).await.is_ok() && batch().await.is_ok()).await;
    assert_eq!(bus.status(), Status::Connected);
}

/// A failover by hand: the address leads to what was the replica, and the old master becomes a replica of that one, with all connections to it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_leave_a_server_that_is_master_no_more() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let proxy = Proxy::start(old.port()).await;
    let short = Duration::from_millis(200);
    let join = async || bus_with(proxy.url(), |builder| builder.ping_interval(short)).await;
    let (serving, asking) = (join().await, join().await);
    let service = serving.serve(Echoing).await.unwrap();
    let mut entries = asking.subscribe(Entry::any()).await.unwrap();
    assert_eq!(Echo { n: 1 }.request(&asking).await.unwrap(), 1);

    proxy.lead_to(new.port());
    let port = new.port().to_string();
    let _: String = old.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    expect_gap(&mut entries).await;
    eventually(SOON, async || Echo { n: 2 }.request(&asking).await.is_ok_and(|n| n == 2)).await;
    assert_eq!(Entry::new(1, 1).publish(&asking).await.unwrap().receivers, Some(1));
    assert!(matches!(entries.next().await, Some(Event::Message(_))));
    service.shutdown().await.unwrap();
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
async fn all_live(world: &World, subscriptions: &mut [Subscription<Entry>]) -> u64 {
    let publisher = world.bus().await;
    for (index, subscription) in (0..).zip(subscriptions.iter_mut()) {
        let receipt = Entry::new(index, 1).publish(&publisher).await.unwrap();
        assert_eq!(receipt.receivers, world.receivers(1), "channel {index}");
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
