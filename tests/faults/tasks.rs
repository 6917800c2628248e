//! T10 to T14, T23 and T24 for queues: instances are killed, told to stop and cut off, the server is killed, flushed and held up, tasks are poison:
//! none that was accepted is lost, and none runs twice but for what is declared.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, DeadReason, Delivery, EnqueueError, Message, Service, router};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    child::{self, Child},
    instances::{Folder, append, write},
    ledger::SOON,
    outages::bus,
    proxy::{Mode, Proxy},
    report::Report,
    seed::{Random, sized},
};

/// What is to be done, and noted.
#[derive(Message, Serialize, Deserialize)]
#[queue("chores", lease = "1s")]
struct Chore {
    n: u64,
}

/// An instance in a process of its own: it writes down what it executes.
struct Worker {
    me: u64,
    file: File,
}

/// How many tasks an instance has at once: enough for it to ask for more while it waits for an answer.
const HANDS: u64 = 32;

#[router]
impl Worker {
    // Whoever is killed so often may have one task in hand three times, which is no fault of the task.
    #[handler(idempotent, timeout = "30s", concurrency = 32, crashes = 100)]
    async fn chore(&self, task: Chore) {
        // With one system call, and before the work: it stands there also if the process is killed meanwhile.
        write(&self.file, [task.n, self.me]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same in this process.
#[derive(Clone)]
struct Here {
    done: Recorder<u64>,
    takes: Duration,
}

impl Here {
    fn new() -> Self {
        Self { done: Recorder::new(), takes: Duration::from_millis(1) }
    }
}

#[router]
impl Here {
    #[handler(idempotent, timeout = "30s", concurrency = 32)]
    async fn chore(&self, task: Chore) {
        tokio::time::sleep(self.takes).await;
        self.done.record(task.n);
    }
}

async fn play(part: &str) {
    let words: Vec<&str> = part.split(' ').collect();
    let (url, me, path) = (words[0], words[1].parse().unwrap(), words[2]);
    let service = bus(url).await.serve(Worker { me, file: append(path) }).await.unwrap();
    println!("serving");
    service.run_until_stopped_within(SOON).await.unwrap();
}

async fn instance(test: &str, server: &RedisServer, folder: &Folder, me: u64) -> Child {
    let mut child = Child::start(test, &format!("{} {me} {}", server.url(), folder.ledger(me).display()));
    child.says("serving").await;
    child
}

/// Enqueues these, a thousand in each round trip.
async fn fill(bus: &Bus, numbers: std::ops::Range<u64>) {
    let numbers: Vec<u64> = numbers.collect();
    for some in numbers.chunks(1_000) {
        let tasks: Vec<_> = some.iter().map(|&n| Chore { n }).collect();
        assert!(bus.enqueue_all(&tasks).await.iter().all(Result::is_ok));
    }
}

async fn outstanding(bus: &Bus) -> u64 {
    bus.queue::<Chore>().counts().await.map_or(u64::MAX, |counts| counts.outstanding())
}

/// How often each was executed, and how many executions were one too many.
fn twice(executions: &HashMap<u64, Vec<u64>>) -> u64 {
    executions.values().map(|by| by.len() as u64 - 1).sum()
}

/// T11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_instances_are_killed_every_task_is_done_and_few_are_done_twice() {
    const TEST: &str = "tasks::whatever_instances_are_killed_every_task_is_done_and_few_are_done_twice";
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let (server, folder, mut random) = (RedisServer::start().await, Folder::new("chores"), Random::of("T11"));
    let bus = bus(server.url()).await;
    let (tasks, kills) = sized((12_000, 4), (200_000, 50));
    fill(&bus, 0..tasks).await;
    let mut living = Vec::new();
    for me in 0..4 {
        living.push(instance(TEST, &server, &folder, me).await);
    }
    let mut instances = 4;
    for _ in 0..kills {
        random.pause(100..400).await;
        let mut killed = living.swap_remove(usize::try_from(random.within(0..4)).unwrap());
        killed.signal("KILL");
        killed.ended().await;
        living.push(instance(TEST, &server, &folder, instances).await);
        instances += 1;
    }
    let begun = Instant::now();
    tokio::time::timeout(20 * SOON, async {
        while outstanding(&bus).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let executions = folder.executions(instances);
    assert_eq!(executions.len() as u64, tasks, "some were not executed");
    let (twice, kills) = (twice(&executions), kills as u64);
    assert!(twice <= kills * HANDS, "{twice} were executed twice by {kills} kills");
    let counts = bus.queue::<Chore>().counts().await.unwrap();
    assert_eq!((counts.ended.completed, counts.ended.dead), (tasks, 0));
    println!("T11: {twice} executed twice, {:?} after the last kill", begun.elapsed());
    Report::new("T11-killed", "kills", usize::try_from(kills).unwrap()).messages(tasks, tasks).close();
}

/// T24: what is in hand is finished or given back, and nobody waits for a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_told_to_stop_takes_nothing_more_and_loses_nothing() {
    const TEST: &str = "tasks::an_instance_that_is_told_to_stop_takes_nothing_more_and_loses_nothing";
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let (server, folder, mut random) = (RedisServer::start().await, Folder::new("stopping"), Random::of("T24-tasks"));
    let bus = bus(server.url()).await;
    let (tasks, rounds) = sized((10_000, 5), (100_000, 50));
    fill(&bus, 0..tasks).await;
    let mut instances = 2;
    let mut living = [instance(TEST, &server, &folder, 0).await, instance(TEST, &server, &folder, 1).await];
    for round in 0..rounds {
        random.pause(20..200).await;
        let mut next = instance(TEST, &server, &folder, instances).await;
        std::mem::swap(&mut living[round % 2], &mut next);
        next.signal("TERM");
        assert!(next.ended().await.success());
        instances += 1;
    }
    eventually(4 * SOON, async || outstanding(&bus).await == 0).await;
    let executions = folder.executions(instances);
    assert_eq!((executions.len() as u64, twice(&executions)), (tasks, 0));
    let counts = bus.queue::<Chore>().counts().await.unwrap();
    assert_eq!((counts.ended.completed, counts.ended.failed_attempts, counts.ended.crashed_attempts), (tasks, 0, 0));
    Report::new("T24-tasks", "terminations", rounds).messages(tasks, tasks).close();
}

/// T12: with an append-only file a killed server process loses nothing that it has accepted, as far as it has written it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_with_an_append_only_file_loses_no_accepted_task() {
    for fsync in ["everysec", "always"] {
        let server = RedisServer::with_settings(&["appendonly yes", &format!("appendfsync {fsync}")]).await;
        let (enqueuing, working) = (bus(server.url()).await, bus(server.url()).await);
        let here = Here::new();
        let done = here.done.clone();
        let service = working.serve(here).await.unwrap();
        let (mut random, kills) = (Random::of(fsync), sized(3, 20));
        let accepted = Recorder::new();
        let mut load = JoinSet::new();
        for lane in 0..4_u64 {
            let (bus, accepted) = (enqueuing.clone(), accepted.clone());
            load.spawn(async move {
                for n in (lane..).step_by(4) {
                    match (Chore { n }).enqueue(&bus).await {
                        Ok(_) => accepted.record(n),
                        // Whether it is in the queue is not known, or it is not.
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            });
        }
        for _ in 0..kills {
            let before = accepted.len();
            eventually(SOON, async || accepted.len() > before + 200).await;
            random.pause(10..200).await;
            server.kill();
            server.restart().await;
        }
        let before = accepted.len();
        eventually(SOON, async || accepted.len() > before + 200).await;
        load.shutdown().await;
        eventually(SOON, async || outstanding(&enqueuing).await == 0).await;
        let done: HashSet<u64> = done.all().into_iter().collect();
        let lost: Vec<u64> = accepted.all().into_iter().filter(|n| !done.contains(n)).collect();
        // With `everysec` the server answers ahead of what it writes while the disk takes long: what it had not written when it was killed is gone.
        let written = written(&server);
        let may_be_lost = |n: &u64| fsync == "everysec" && !written.contains(n);
        assert_eq!(lost.iter().filter(|n| !may_be_lost(n)).count(), 0, "{fsync}: {lost:?}");
        let accepted = accepted.len() as u64;
        assert!(written.len() as u64 > accepted / 2, "{fsync}: {} of {accepted} were written", written.len());
        Report::new(format!("T12-{fsync}"), "kills", kills).messages(accepted, accepted).close();
        service.shutdown().await.unwrap();
    }
}

/// The chores that a server has written to its append-only files.
fn written(server: &RedisServer) -> HashSet<u64> {
    let files = server.append_only_files();
    let texts = String::from_utf8_lossy(&files);
    texts.split("\"n\":").skip(1).filter_map(|rest| rest.split('}').next()?.parse().ok()).collect()
}

/// T13: the group is made again within a second, and nobody runs hot meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_whose_keys_are_gone_is_made_again_within_a_second() {
    let server = RedisServer::start().await;
    let (bus, here) = (bus(server.url()).await, Here::new());
    let done = here.done.clone();
    let service = bus.serve(here).await.unwrap();
    const NEW: &str = "tidings:queues:{chores}:new:chores";
    let faults: [&[&str]; 3] = [&["FLUSHALL"], &["DEL", NEW], &["XGROUP", "DESTROY", NEW, "tidings"]];
    for (n, fault) in (0..).zip(faults.into_iter().cycle().take(sized(6, 60))) {
        Chore { n: 2 * n }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || done.all().contains(&(2 * n))).await;
        // The instance waits in the server when it happens.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _: redis::Value = server.command(fault).await;
        let begun = Instant::now();
        Chore { n: 2 * n + 1 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || done.all().contains(&(2 * n + 1))).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{fault:?}: {:?}", begun.elapsed());
    }
    service.shutdown().await.unwrap();
}

/// T14.
#[derive(Message, Serialize, Deserialize)]
#[queue("poison", lease = "1s")]
struct Draught {
    n: u64,
}

struct Drinker {
    done: Recorder<u64>,
}

#[router]
impl Drinker {
    #[handler(idempotent, timeout = "200ms", retries = 2, backoff = "1ms..10ms", concurrency = 16)]
    async fn draught(&self, task: Draught) -> Result<(), String> {
        match task.n % 100 {
            1 => panic!("as it should"),
            2 => Err("never".to_owned()),
            3 => std::future::pending().await,
            _ => {
                self.done.record(task.n);
                Ok(())
            }
        }
    }
}

on_each! {
    async fn poison_is_buried_with_its_reason_and_nobody_else_suffers(world: World) {
        let (bus, done) = (world.bus().await, Recorder::new());
        let tasks = sized(600_u64, 20_000);
        let service = bus.serve(Drinker { done: done.clone() }).await.unwrap();
        let draughts: Vec<_> = (0..tasks).map(|n| Draught { n }).collect();
        for some in draughts.chunks(500) {
            assert!(bus.enqueue_all(some).await.iter().all(Result::is_ok));
        }
        let queue = bus.queue::<Draught>();
        eventually(4 * SOON, async || queue.counts().await.unwrap().outstanding() == 0).await;
        let mut good = done.all();
        good.sort_unstable();
        let expected: Vec<u64> = (0..tasks).filter(|n| !(1..=3).contains(&(n % 100))).collect();
        assert_eq!(good, expected);
        let counts = queue.counts().await.unwrap();
        assert_eq!((counts.dead, counts.ended.completed), (tasks / 100 * 3, expected.len() as u64));
        let letters = queue.dead_letters().await.unwrap();
        assert!(letters.iter().all(|letter| letter.reason == DeadReason::Failed && letter.failures == 3), "{letters:?}");
        service.shutdown().await.unwrap();
        Report::on(&world, "T14", "poison", usize::try_from(tasks / 100 * 3).unwrap()).messages(tasks, tasks).close();
    }
}

/// T10: with a key, whoever does not know may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_an_unknown_outcome_doubles_no_task_that_has_a_key() {
    let server = RedisServer::start().await;
    let impatient = Bus::builder(server.url()).command_timeout(Duration::from_millis(300)).connect().await.unwrap();
    let (here, calm) = (Here::new(), bus(server.url()).await);
    let done = here.done.clone();
    let service = calm.serve(here).await.unwrap();
    let (mut undecided, tasks) = (0, sized(10_u64, 200));
    for n in 0..tasks {
        let _: String = server.command(&["CLIENT", "PAUSE", "600", "WRITE"]).await;
        loop {
            let enqueued = Chore { n }.enqueue(&impatient).deduplicate(format!("chore {n}"), SOON).await;
            match enqueued {
                Ok(_) => break,
                Err(EnqueueError::Undecided { .. }) => undecided += 1,
                Err(EnqueueError::NotConnected { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(undecided > 0);
    eventually(SOON, async || outstanding(&calm).await == 0).await;
    let mut executed = done.all();
    executed.sort_unstable();
    assert_eq!(executed, (0..tasks).collect::<Vec<_>>());
    service.shutdown().await.unwrap();
}

on_each! {
    /// The second of the fifteen: an instance that is cut off again and again keeps its task, and no attempt is counted.
    async fn a_task_outlives_many_reconnects_of_its_instance(world: World) {
        let bus = world.bus().await;
        let here = Here { takes: Duration::from_secs(4), ..Here::new() };
        let done = here.done.clone();
        let service = bus.serve(here).await.unwrap();
        Chore { n: 7 }.enqueue(&bus).await.unwrap();
        let queue = bus.queue::<Chore>();
        eventually(SOON, async || queue.running(10).await.is_ok_and(|running| running.len() == 1)).await;
        let mut cuts = 0;
        while done.is_empty() {
            world.disconnect_everything().await;
            cuts += 1;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        eventually(SOON, async || queue.counts().await.is_ok_and(|counts| counts.outstanding() == 0)).await;
        assert_eq!(done.all(), [7]);
        let ended = queue.counts().await.unwrap().ended;
        assert_eq!((ended.completed, ended.failed_attempts, ended.crashed_attempts, ended.dead), (1, 0, 0, 0), "{cuts} cuts");
        service.shutdown().await.unwrap();
    }
}

/// What an instance cut off from its server has ended.
#[derive(Message, Serialize, Deserialize)]
#[queue("errands", lease = "2s")]
struct Errand {
    n: u64,
}

/// The same for whoever is patient with instances that do not renew.
#[derive(Message, Serialize, Deserialize)]
#[queue("errands", lease = "1m")]
#[message(name = "Errand")]
struct PatientErrand {
    n: u64,
}

struct Runner {
    begun: Recorder<u64>,
    done: Recorder<u64>,
    may_end: watch::Receiver<bool>,
}

#[router]
impl Runner {
    #[handler(idempotent, timeout = "30s", concurrency = 32)]
    async fn errand(&self, task: Errand) {
        self.begun.record(task.n);
        self.may_end.clone().wait_for(|may_end| *may_end).await.unwrap();
        self.done.record(task.n);
    }
}

struct Bystander {
    done: Recorder<u64>,
}

#[router]
impl Bystander {
    #[handler(idempotent, timeout = "30s", concurrency = 32)]
    async fn errand(&self, task: PatientErrand) {
        self.done.record(task.n);
    }
}

/// An instance with one thread of its own, beside its keeper's.
struct Alone {
    /// Holds the thread up once the keeper's connection may be back, so that it is the first to look at what the instance has.
    hold_up: oneshot::Sender<()>,
    held_up: oneshot::Receiver<()>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Alone {
    async fn serve(url: String, runner: Runner) -> Self {
        let (serves, served) = oneshot::channel();
        let ((hold_up, is_held_up), (holds_up, held_up), (stop, stopped)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let work = async move {
            let service = bus(url).await.serve(runner).await.unwrap();
            serves.send(()).unwrap();
            is_held_up.await.unwrap();
            holds_up.send(()).unwrap();
            std::thread::sleep(LEASE / 2);
            stopped.await.unwrap();
            service.shutdown().await.unwrap();
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(work));
        served.await.unwrap();
        Self { hold_up, held_up, stop, thread }
    }
}

const LEASE: Duration = Duration::from_secs(2);

/// The server takes the tasks for overdue by the end of the outage, and another instance would run at once whatever were given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_in_an_outage_that_is_longer_than_its_lease_is_settled_and_not_run_again() {
    const AT_ONCE: u64 = 32;
    let server = RedisServer::with_settings(&["user anna on >secret ~* &* +@all"]).await;
    let proxy = Proxy::start(server.port()).await;
    let (calm, begun, done) = (bus(server.url()).await, Recorder::new(), Recorder::new());
    let mut next = 0;
    let outages = sized(3, 20);
    for outage in 1..=outages {
        let (ends, may_end) = watch::channel(false);
        let runner = Runner { begun: begun.clone(), done: done.clone(), may_end };
        let Alone { hold_up, held_up, stop, thread } =
            Alone::serve(format!("redis://anna:secret@127.0.0.1:{}", proxy.port()), runner).await;
        for n in next..next + AT_ONCE {
            Errand { n }.enqueue(&calm).await.unwrap();
        }
        next += AT_ONCE;
        eventually(SOON, async || begun.len() == outage * AT_ONCE as usize).await;
        let bystanding = calm.serve(Bystander { done: done.clone() }).await.unwrap();
        proxy.set(Mode::Refuse);
        proxy.cut();
        let is_cut_off = async || !server.command::<String>(&["CLIENT", "LIST"]).await.contains("user=anna");
        eventually(SOON, is_cut_off).await;
        ends.send_replace(true);
        // This one is the bystander's: it works meanwhile.
        Errand { n: next }.enqueue(&calm).await.unwrap();
        next += 1;
        eventually(SOON, async || done.len() as u64 == next).await;
        tokio::time::sleep(LEASE * 3 / 2).await;
        let queue = calm.queue::<Errand>();
        let idle = queue.running(100).await.unwrap().iter().map(|task| task.since_renewal).min();
        assert!(idle.is_some_and(|idle| idle > LEASE), "{idle:?}");
        hold_up.send(()).unwrap();
        held_up.await.unwrap();
        proxy.set(Mode::Pass);
        eventually(SOON, async || queue.counts().await.is_ok_and(|counts| counts.outstanding() == 0)).await;
        let mut executed = done.all();
        executed.sort_unstable();
        assert_eq!(executed, (0..next).collect::<Vec<_>>(), "each ran once");
        let ended = queue.counts().await.unwrap().ended;
        assert_eq!((ended.completed, ended.failed_attempts, ended.crashed_attempts, ended.dead), (next, 0, 0, 0));
        stop.send(()).unwrap();
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
        bystanding.shutdown().await.unwrap();
    }
    Report::new("T11-outage", "outages", outages).messages(next, next).close();
}

/// T23.
#[derive(Message, Serialize, Deserialize)]
#[queue("alarms", lease = "2s")]
struct Alarm {
    n: u64,
}

struct Clock {
    begun: Instant,
    rung: Recorder<(u64, Duration)>,
}

#[router]
impl Clock {
    #[handler(idempotent, timeout = "30s")]
    async fn alarm(&self, task: Alarm, _delivery: &Delivery) {
        self.rung.record((task.n, self.begun.elapsed()));
    }
}

on_each! {
    #[one_server("it waits for long")]
    async fn no_delayed_task_is_early_and_few_are_late(world: World) {
        let (bus, rung, begun) = (world.bus().await, Recorder::new(), Instant::now());
        let serve = async || world.bus().await.serve(Clock { begun, rung: rung.clone() }).await.unwrap();
        let mut services: Vec<Service> = vec![serve().await, serve().await];
        let (alarms, over) = sized((500_u64, 4_000_u64), (20_000, 60_000));
        let mut due = HashMap::new();
        let mut random = Random::of("T23");
        for n in 0..alarms {
            let delay = Duration::from_millis(random.within(0..over));
            let before = begun.elapsed();
            Alarm { n }.enqueue(&bus).delay(delay).await.unwrap();
            due.insert(n, (before + delay, begun.elapsed() + delay));
        }
        for _ in 0..sized(3, 30) {
            random.pause(200..800).await;
            services.remove(0).shutdown().await.unwrap();
            services.push(serve().await);
        }
        let arrived = async || rung.len() as u64 >= alarms;
        eventually(2 * SOON + Duration::from_millis(over), arrived).await;
        let mut late: Vec<Duration> = Vec::new();
        for (n, at) in rung.all() {
            let (earliest, latest) = due[&n];
            // Both clocks count whole milliseconds.
            assert!(at + Duration::from_millis(1) >= earliest, "{n} was early: {at:?} before {earliest:?}");
            late.push(at.saturating_sub(latest));
        }
        late.sort_unstable();
        assert_eq!(late.len() as u64, alarms, "one ran twice");
        println!("T23/{}: late by {:?} (p99), {:?} at most", world.transport(), late[late.len() * 99 / 100], late[late.len() - 1]);
        for service in services {
            service.shutdown().await.unwrap();
        }
        Report::on(&world, "T23", "restarts", sized(3, 30)).messages(alarms, alarms).close();
    }
}
