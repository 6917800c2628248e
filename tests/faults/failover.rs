//! T15: a master dies or stands still, Sentinels have another server take over, and whoever was connected goes on there.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};
use tidings_tests::{Recorder, RedisServer, Sentinels, eventually};
use tokio::task::JoinSet;

use crate::{
    ledger::{Ledger, SOON},
    outages::{SLACK, bus},
    report::Report,
    seed::sized,
};

/// After the Sentinels name another master, whoever was connected is there within this.
const BACK: Duration = Duration::from_secs(2);

#[derive(Message, Serialize, Deserialize)]
#[queue("errands", lease = "1s")]
struct Errand {
    n: u64,
}

#[derive(Clone)]
struct Boy {
    ran: Recorder<u64>,
}

#[router]
impl Boy {
    #[handler(idempotent, timeout = "30s", concurrency = 32)]
    async fn errand(&self, task: Errand) {
        self.ran.record(task.n);
    }
}

/// What is replicated outlives its master; what is published is missed only where a gap says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed_is_replaced_and_only_a_gap_is_seen() {
    let failovers = sized(1, 10);
    let mut report = Report::new("T15-killed", "failovers", failovers);
    let (mut accepted, mut lost) = (0_usize, 0_usize);
    for _ in 0..failovers {
        let sentinels = Sentinels::start().await;
        let (from, to) = (bus(sentinels.url()).await, bus(sentinels.url()).await);
        let boy = Boy { ran: Recorder::new() };
        for n in 0..200 {
            Errand { n }.enqueue(&from).await.unwrap();
        }
        let old = &sentinels.servers()[0];
        replicated(old).await;
        let ledger = Ledger::open(&from, &to, 2, 1).await;
        ledger.under_way().await;
        // Also while the master is replaced, and it counts what was accepted.
        let mut enqueueing = JoinSet::new();
        let enqueuer = from.clone();
        enqueueing.spawn(async move {
            let mut accepted = Vec::new();
            for n in 1_000.. {
                let began = Instant::now();
                if (Errand { n }).enqueue(&enqueuer).await.is_ok() {
                    accepted.push(n);
                }
                if began.elapsed() > Duration::from_millis(200) {
                    // The master was away, and is not any more.
                    return accepted;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            accepted
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let gaps = ledger.gaps();
        old.kill();
        sentinels.another_than(old.port()).await;
        let elected = Instant::now();
        ledger.recovered(gaps + 1).await;
        assert!(elected.elapsed() < BACK + SLACK, "back after {:?}", elected.elapsed());
        report.recovered(elected.elapsed());
        let during = enqueueing.join_next().await.unwrap().unwrap();

        let service = to.serve(boy.clone()).await.unwrap();
        eventually(SOON, async || to.queue::<Errand>().counts().await.is_ok_and(|counts| counts.outstanding() == 0))
            .await;
        let ran: HashSet<u64> = boy.ran.all().into_iter().collect();
        assert!((0..200).all(|n| ran.contains(&n)), "what was replicated is there");
        accepted += during.len();
        lost += during.iter().filter(|n| !ran.contains(n)).count();
        service.shutdown().await.unwrap();
        for mut verdict in ledger.close(&from).await {
            // They are as long as the election took.
            verdict.gaps.clear();
            report.add(&verdict);
        }
    }
    println!(
        "T15-killed: of {accepted} tasks that were accepted around {failovers} failovers {lost} were not replicated, and are lost"
    );
    report.close();
}

/// A master that stood still, and believes that it is the master still, is left at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_stood_still_gets_nothing_more_once_another_was_elected() {
    let failovers = sized(1, 10);
    let mut report = Report::new("T15-stood-still", "failovers", failovers);
    for _ in 0..failovers {
        let sentinels = Sentinels::start().await;
        let (from, to) = (bus(sentinels.url()).await, bus(sentinels.url()).await);
        let ledger = Ledger::open(&from, &to, 2, 1).await;
        ledger.under_way().await;
        let gaps = ledger.gaps();
        let old = &sentinels.servers()[0];
        old.pause();
        sentinels.another_than(old.port()).await;
        let elected = Instant::now();
        ledger.recovered(gaps + 1).await;
        assert!(elected.elapsed() < BACK + SLACK, "back after {:?}", elected.elapsed());
        report.recovered(elected.elapsed());
        old.resume();
        // What was sent to it while it stood still it carries out now; nobody counts that as published. Then nobody of ours is there.
        eventually(SOON, async || ours(old).await == 0).await;
        for n in 0..20 {
            Errand { n }.enqueue(&from).await.unwrap();
            assert_eq!(ours(old).await, 0, "connections to the old master");
        }
        for mut verdict in ledger.close(&from).await {
            verdict.gaps.clear();
            report.add(&verdict);
        }
    }
    report.close();
}

/// A failover that is asked for leaves the old master running: for seconds it believes that it is the master still. Until its end the Sentinel that carries it out tells
/// of the new election, and by one of its commands of the old master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_while_a_failover_goes_on_is_with_the_new_master_in_the_end() {
    let sentinels = Sentinels::start().await;
    let leader = &sentinels.sentinels()[0];
    let url = format!("redis+sentinel://127.0.0.1:{}/shop", leader.port());
    let old = sentinels.master().await;
    let mut buses = vec![bus(&url).await];
    leader.command::<String>(&["SENTINEL", "FAILOVER", "shop"]).await;
    let is_over = async || {
        let told: HashMap<String, String> = leader.command(&["SENTINEL", "MASTER", "shop"]).await;
        told["port"] != old.port().to_string()
    };
    eventually(SOON, async || {
        if let Ok(bus) = Bus::connect(&url).await {
            buses.push(bus);
        }
        is_over().await
    })
    .await;
    assert!(buses.len() > 10, "{} have asked meanwhile", buses.len());
    eventually(SLACK, async || ours(old).await == 0).await;
    for (n, bus) in (0..).zip(&buses) {
        Errand { n }.enqueue(bus).await.unwrap();
    }
    let counts = buses[0].queue::<Errand>().counts().await.unwrap();
    assert_eq!(counts.waiting(), buses.len() as u64, "all have found the same server");
}

/// Waits until the replicas have what the master has.
async fn replicated(master: &RedisServer) {
    eventually(SOON, async || {
        let info: String = master.command(&["INFO", "replication"]).await;
        let own = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).unwrap_or_default().to_owned();
        let is_level = |line: &&str| line.starts_with("slave") && line.contains(&format!("offset={own},"));
        info.lines().filter(is_level).count() == 2
    })
    .await;
}

/// How many connections of ours a server has.
async fn ours(server: &RedisServer) -> usize {
    let clients: String = server.command(&["CLIENT", "LIST"]).await;
    clients.lines().filter(|client| client.contains(" name=tidings")).count()
}
