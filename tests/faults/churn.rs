//! Instances join, leave, are replaced by newer ones and stand still, the server is full: requests go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, NoError, RequestError, Service, Subscription, router};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};
use tokio::task::JoinSet;

use crate::{
    child::{self, Child},
    instances::{FAILED, Folder, Job, instance, is_even, newer, play},
    ledger::SOON,
    outages::bus,
    report::Report,
    seed::{Random, sized},
};

/// An instance in this process.
struct Local {
    me: u64,
}

#[router]
impl Local {
    #[handler(concurrency = 256)]
    async fn job(&self, _job: Job) -> Result<u64, NoError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(self.me)
    }
}

/// How requests end while something happens.
#[derive(Clone)]
struct Watched {
    /// Who has answered them.
    answered: Recorder<u64>,
    failed: Recorder<String>,
    /// Whoever asks ends with the request under way.
    stop: Arc<AtomicBool>,
}

impl Watched {
    fn new() -> Self {
        Self { answered: Recorder::new(), failed: Recorder::new(), stop: Arc::default() }
    }

    /// So many requests under way at once.
    fn start(askers: &mut JoinSet<()>, bus: &Bus, at_once: u64, patience: Duration) -> Self {
        let watched = Self::new();
        for asker in 0..at_once {
            let (bus, watched) = (bus.clone(), watched.clone());
            askers.spawn(async move {
                for n in (asker * MANY..).take_while(|_| !watched.stop.load(Ordering::Relaxed)) {
                    let failed = watched.failed.len();
                    watched.note(Job { n }.request(&bus).timeout(patience).await);
                    if watched.failed.len() > failed {
                        // What fails at once leaves nobody else any time.
                        tokio::time::sleep(FAILED).await;
                    }
                }
            });
        }
        watched
    }

    fn note(&self, output: Result<u64, RequestError<NoError>>) {
        match output {
            Ok(by) => self.answered.record(by),
            Err(error) => self.failed.record(error.to_string()),
        }
    }

    /// Waits until so many more were answered, and tells by whom.
    async fn more(&self, count: usize) -> Vec<u64> {
        let before = self.answered.len();
        eventually(SOON, async || self.answered.len() >= before + count).await;
        self.answered.all()[before..before + count].to_vec()
    }

    /// Waits until this one answers.
    async fn answered_by(&self, me: u64) {
        let before = self.answered.len();
        eventually(SOON, async || self.answered.all()[before..].contains(&me)).await;
    }
}

/// More requests than an asker sends.
const MANY: u64 = 1 << 32;

/// How many instances are found.
async fn found(bus: &Bus) -> usize {
    bus.services().await.unwrap().iter().map(|group| group.instances.len()).sum()
}

on_each! {
    async fn instances_that_join_or_leave_every_200_ms_are_found_and_no_request_fails(world: World) {
        let (asking, mut random) = (world.bus().await, Random::of("T20-churn"));
        let _steady = world.bus().await.serve(Local { me: 0 }).await.unwrap();
        let mut askers = JoinSet::new();
        let watched = Watched::start(&mut askers, &asking, 8, SOON);
        let mut living: Vec<Service> = Vec::new();
        let changes = sized(if world.is_cluster() { 15 } else { 40 }, 1_000);
        for me in 1..=changes {
            let begun = Instant::now();
            if living.is_empty() || (living.len() < 5 && random.within(0..2) == 0) {
                living.push(world.bus().await.serve(Local { me }).await.unwrap());
                watched.answered_by(me).await;
            } else {
                let leaves = usize::try_from(random.within(0..living.len() as u64)).unwrap();
                living.swap_remove(leaves).shutdown().await.unwrap();
            }
            eventually(SOON, async || found(&asking).await == living.len() + 1).await;
            tokio::time::sleep(Duration::from_millis(200).saturating_sub(begun.elapsed())).await;
        }
        askers.shutdown().await;
        assert_eq!(watched.failed.all(), [""; 0]);
        let answered = watched.answered.len() as u64;
        Report::on(&world, "T20-churn", "changes", usize::try_from(changes).unwrap()).messages(answered, answered).close();
    }
}

on_each! {
    #[one_server("it is stopped")]
    async fn after_the_server_was_away_all_instances_are_used_again(world: World) {
        let buses = [world.bus().await, world.bus().await, world.bus().await];
        let mut services = Vec::new();
        for (me, bus) in (0..).zip(&buses) {
            services.push(bus.serve(Local { me }).await.unwrap());
        }
        let (asking, mut askers) = (world.bus().await, JoinSet::new());
        let watched = Watched::start(&mut askers, &asking, 16, Duration::from_secs(2));
        for _ in 0..sized(3, 30) {
            watched.more(300).await;
            world.stop();
            let failed = watched.failed.len();
            eventually(SOON, async || watched.failed.len() > failed).await;
            world.start().await;
            eventually(SOON, async || is_even(&load(&watched.more(300).await))).await;
        }
        askers.shutdown().await;
    }
}

/// A stopped process keeps its connections, and the server what is sent to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_instance_costs_what_it_had_and_is_used_again_when_it_goes_on() {
    const TEST: &str = "churn::a_stopped_instance_costs_what_it_had_and_is_used_again_when_it_goes_on";
    const AT_ONCE: u64 = 32;
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("stopped"));
    let mut instances: Vec<Child> = Vec::new();
    for me in 0..3 {
        instances.push(instance(TEST, "instance", &server, &folder, me).await);
    }
    let (asking, mut askers) = (bus(server.url()).await, JoinSet::new());
    let watched = Watched::start(&mut askers, &asking, AT_ONCE, Duration::from_secs(1));
    let balanced = load(&watched.more(3_000).await);
    assert!(is_even(&balanced), "{balanced:?}");
    let rounds = sized(2, 20);
    for round in 0..rounds {
        let (stopped, before) = (round % 3, watched.failed.len());
        instances[usize::try_from(stopped).unwrap()].signal("STOP");
        // What it had is given up, and from then on nothing fails.
        eventually(SOON, async || watched.failed.len() > before).await;
        let no_more = async || {
            let failed = watched.failed.len();
            let by = watched.more(2_000).await;
            watched.failed.len() == failed && !by.contains(&stopped)
        };
        eventually(SOON, no_more).await;
        let failed = watched.failed.all().split_off(before);
        assert!(failed.len() as u64 <= 2 * AT_ONCE, "{failed:?}");
        let outcome = |error: &String| error.contains("may or may not have been handled");
        assert!(failed.iter().all(outcome), "{failed:?}");
        // It is found by whoever asks for services only when it goes on.
        assert_eq!(found(&asking).await, 2);
        instances[usize::try_from(stopped).unwrap()].signal("CONT");
        watched.answered_by(stopped).await;
        eventually(SOON, async || is_even(&load(&watched.more(600).await))).await;
    }
    askers.shutdown().await;
    assert!(folder.executions(3).values().all(|by| by.len() == 1));
    let (answered, failed) = (watched.answered.len() as u64, watched.failed.len());
    println!("T20-stopped: {answered} answered, {failed} given up");
    Report::new("T20-stopped", "stops", usize::try_from(rounds).unwrap()).messages(answered, answered).close();
}

/// Nobody else's requests are lost with it, and it is known soon although their time is long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_costs_the_requests_that_it_had_and_no_others() {
    const TEST: &str = "churn::a_killed_instance_costs_the_requests_that_it_had_and_no_others";
    const AT_ONCE: u64 = 32;
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("killed"));
    let mut instances = Vec::new();
    for me in 0..3 {
        instances.push(instance(TEST, "instance", &server, &folder, me).await);
    }
    let (asking, mut askers) = (bus(server.url()).await, JoinSet::new());
    let watched = Watched::start(&mut askers, &asking, AT_ONCE, 4 * SOON);
    watched.more(500).await;
    for (killed, mut child) in (0..2).zip(instances) {
        let before = watched.failed.len();
        child.signal("KILL");
        child.ended().await;
        let by = async || watched.more(500).await;
        eventually(SOON, async || !by().await.contains(&killed)).await;
        let failed = watched.failed.all().split_off(before);
        assert!(failed.len() as u64 <= AT_ONCE, "{failed:?}");
        assert!(failed.iter().all(|error| error.contains("the instance that had the request is gone")), "{failed:?}");
    }
    // Nobody waits for the rest of the time for what was lost, if anything was.
    watched.stop.store(true, Ordering::Relaxed);
    tokio::time::timeout(SOON, askers.join_all()).await.unwrap();
    let lost = watched.failed.len();
    assert!(folder.executions(3).values().all(|by| by.len() == 1));
    let answered = watched.answered.len() as u64;
    println!("T20-killed: {answered} answered, {lost} lost with their instances");
    Report::new("T20-killed", "kills", 2).messages(answered, answered).close();
}

/// Whoever may be asked twice is answered in the end, whoever is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_requests_are_answered_although_their_instances_are_killed() {
    const TEST: &str = "churn::idempotent_requests_are_answered_although_their_instances_are_killed";
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder, mut random) = (RedisServer::start().await, Folder::new("idempotent"), Random::of("T20-again"));
    let mut instances = Vec::new();
    for me in 0..3 {
        instances.push(instance(TEST, "instance", &server, &folder, me).await);
    }
    let (asking, watched, mut askers) = (bus(server.url()).await, Watched::new(), JoinSet::new());
    for asker in 0..32 {
        let (asking, watched) = (asking.clone(), watched.clone());
        askers.spawn(async move {
            for n in asker * MANY.. {
                watched.note(Job { n }.request(&asking).timeout(SOON).idempotent().await);
            }
        });
    }
    let kills = sized(12, 200);
    for me in 3..3 + kills {
        watched.more(usize::try_from(random.within(50..500)).unwrap()).await;
        let place = usize::try_from(me % 3).unwrap();
        instances[place].signal("KILL");
        instances[place].ended().await;
        instances[place] = instance(TEST, "instance", &server, &folder, me).await;
        watched.answered_by(me).await;
    }
    askers.shutdown().await;
    assert_eq!(watched.failed.all(), [""; 0]);
    let again = folder.executions(3 + kills).values().filter(|by| by.len() > 1).count();
    let answered = watched.answered.len() as u64;
    println!("T20-again: {answered} answered, {again} of them executed twice");
    assert!(again > 0, "nobody had anything to do when it was killed");
    Report::new("T20-again", "kills", usize::try_from(kills).unwrap()).messages(answered, answered).close();
}

/// Takes no request at all.
struct Choosy;

#[router]
impl Choosy {
    #[handler(filter = job.n == u64::MAX)]
    async fn job(&self, job: Job) -> Result<u64, NoError> {
        Ok(job.n)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_who_answer_decline_is_told_soon_although_another_one_stands_still() {
    const TEST: &str = "churn::what_all_who_answer_decline_is_told_soon_although_another_one_stands_still";
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("still"));
    let stopped = instance(TEST, "instance", &server, &folder, 0).await;
    let _choosy = bus(server.url()).await.serve(Choosy).await.unwrap();
    stopped.signal("STOP");
    let asking = bus(server.url()).await;
    eventually(SOON, async || found(&asking).await == 1).await;
    // It has never heard of the one that stands still.
    let (asking, begun) = (bus(server.url()).await, Instant::now());
    let error = Job { n: 1 }.request(&asking).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, RequestError::NotHandled { .. }), "{error}");
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
}

/// How much of it each of three has answered.
fn load(by: &[u64]) -> Vec<u64> {
    (0..3).map(|me| by.iter().filter(|&&by| by == me).count() as u64).collect()
}

/// Old requesters and new ones, while each old process is replaced by a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_of_processes_rejects_no_request() {
    const TEST: &str = "churn::a_rolling_deploy_of_processes_rejects_no_request";
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("deploy"));
    let mut instances = Vec::new();
    for me in 0..3 {
        instances.push(instance(TEST, "instance", &server, &folder, me).await);
    }
    let (old, new, mut askers) = (bus(server.url()).await, bus(server.url()).await, JoinSet::new());
    let watched = Watched::start(&mut askers, &old, 16, SOON);
    watched.more(1_000).await;
    for (me, mut replaced) in (3..).zip(std::mem::take(&mut instances)) {
        instances.push(instance(TEST, "newer", &server, &folder, me).await);
        if me == 3 {
            for asker in 100..116 {
                let (new, watched) = (new.clone(), watched.clone());
                askers.spawn(async move {
                    for n in asker * MANY.. {
                        let output = newer::Job { n }.request(&new).timeout(SOON).await;
                        if let Ok(by) = output {
                            assert!(by >= 3, "only the new ones know it");
                        }
                        watched.note(output);
                    }
                });
            }
        }
        watched.answered_by(me).await;
        replaced.signal("TERM");
        assert!(replaced.ended().await.success());
        watched.more(1_000).await;
    }
    // What is under way ends.
    let answered = watched.answered.len() as u64;
    askers.shutdown().await;
    assert_eq!(watched.failed.all(), [""; 0]);
    let executions = folder.executions(6);
    assert!(executions.values().all(|by| by.len() == 1) && executions.len() as u64 >= answered);
    Report::new("T20-deploy", "replacements", 3).messages(answered, answered).close();
}

/// An answer, as another program sees it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tidings:replies:foreign:<n: u64>")]
#[message(name = "reply")]
struct Answer {
    ok: Option<u64>,
}

/// What it was sent meanwhile it reads late, and counts the time from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_another_program_is_not_executed_again_by_an_instance_that_stood_still() {
    const TEST: &str = "churn::a_request_of_another_program_is_not_executed_again_by_an_instance_that_stood_still";
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("foreign"));
    let stopped = instance(TEST, "instance", &server, &folder, 0).await;
    let _lives = instance(TEST, "instance", &server, &folder, 1).await;
    let asking = bus(server.url()).await;
    let mut answers: Subscription<Answer> = asking.subscribe(Answer::channel(1_u64)).await.unwrap();
    stopped.signal("STOP");
    eventually(SOON, async || found(&asking).await == 1).await;
    let time_left = Duration::from_millis(200);
    let request = foreign(7, time_left);
    assert_eq!(server.publish("jobs:7", request.as_bytes()).await, 2);
    let answer = tokio::time::timeout(SOON, answers.next()).await.unwrap();
    assert!(matches!(&answer, Some(Event::Message(answer)) if answer.message.ok == Some(1)), "{answer:?}");
    // Nobody waits for it any more.
    tokio::time::sleep(2 * time_left).await;
    stopped.signal("CONT");
    let (mut n, mut by_it) = (100, 0);
    eventually(SOON, async || {
        n += 1;
        by_it += u64::from(Job { n }.request(&asking).timeout(SOON).await.unwrap() == 0);
        by_it > 20
    })
    .await;
    assert_eq!(folder.executions(2)[&7], [1]);
}

fn foreign(n: u64, time_left: Duration) -> String {
    let exchange = format!(r#""correlation_id":"c{n}","reply_to":"tidings:replies:foreign:1""#);
    format!(r#"{{"id":"a{n}","type":"Job",{exchange},"time_left":{},"data":{{"n":{n}}}}}"#, time_left.as_millis())
}

/// A server that takes no more data, as one whose memory is used up.
async fn fill(server: &RedisServer) {
    let memory: String = server.command(&["INFO", "memory"]).await;
    let used: u64 = memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).unwrap();
    let _: String = server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", &(used + 1).to_string()]).await;
    let is_full = async || {
        let set = server.try_command::<String>(&["SET", "filler", &"x".repeat(1_000)]).await;
        set.is_err_and(|error| error.to_string().contains("OOM"))
    };
    eventually(SOON, is_full).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_carries_requests_as_before() {
    let server = RedisServer::start().await;
    let mut services = vec![bus(server.url()).await.serve(Local { me: 0 }).await.unwrap()];
    fill(&server).await;
    // Whoever comes only now, too.
    services.push(bus(server.url()).await.serve(Local { me: 1 }).await.unwrap());
    let asking = bus(server.url()).await;
    let mut by = Vec::new();
    for n in 0..100 {
        by.push(Job { n }.request(&asking).timeout(SOON).await.unwrap());
    }
    assert!(by.contains(&0) && by.contains(&1), "{by:?}");
    assert_eq!(found(&asking).await, 2);
    let mut answers: Subscription<Answer> = asking.subscribe(Answer::channel(1_u64)).await.unwrap();
    for n in 0..20 {
        assert_eq!(server.publish(&format!("jobs:{n}"), foreign(n, SOON).as_bytes()).await, 2);
        let answer = tokio::time::timeout(SOON, answers.next()).await.unwrap();
        assert!(matches!(&answer, Some(Event::Message(answer)) if answer.message.ok.is_some()), "{answer:?}");
    }
    let left = || services.iter().map(|service| service.stats().handlers[0].left_to_others).sum::<u64>();
    eventually(SOON, async || left() == 20).await;
    let set = server.try_command::<String>(&["SET", "filler", "x"]).await;
    assert!(set.is_err(), "it is full still");
    for service in services {
        service.shutdown().await.unwrap();
    }
}
