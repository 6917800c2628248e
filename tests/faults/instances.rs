//! T20 with processes: instances of a service are killed, stopped, replaced and cut off while others ask them, and each request is executed by
//! one of them at most.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, NoError, RequestError, Service, router};
use tidings_tests::RedisServer;
use tokio::task::JoinSet;

use crate::{
    child::{self, Child},
    ledger::SOON,
    outages::{SLACK, bus},
    report::Report,
    seed::{Random, sized},
};

/// Something that must not be done twice.
#[derive(Message, Serialize, Deserialize)]
#[channel("jobs:<n>")]
#[reply(u64)]
pub(crate) struct Job {
    pub(crate) n: u64,
}

pub(crate) mod newer {
    use super::{Deserialize, Ledger, Message, NoError, Serialize, router};

    #[derive(Message, Serialize, Deserialize)]
    #[channel("jobs:<n>")]
    #[message(name = "Job", version = 2)]
    #[reply(u64)]
    pub(crate) struct Job {
        pub(crate) n: u64,
    }

    pub(super) struct Worker(pub(super) Ledger);

    #[router]
    impl Worker {
        #[handler(concurrency = 256)]
        async fn job(&self, job: Job) -> Result<u64, NoError> {
            Ok(self.0.executes(job.n).await)
        }
    }
}

/// An instance, and what it has executed.
struct Ledger {
    me: u64,
    file: File,
}

impl Ledger {
    fn new(me: u64, path: &str) -> Self {
        Self { me, file: append(path) }
    }

    /// Notes it first, with one system call: it stands there also if the process is killed before it has answered.
    async fn executes(&self, n: u64) -> u64 {
        write(&self.file, [n, self.me]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.me
    }
}

struct Worker(Ledger);

#[router]
impl Worker {
    #[handler(concurrency = 256)]
    async fn job(&self, job: Job) -> Result<u64, NoError> {
        Ok(self.0.executes(job.n).await)
    }
}

pub(crate) fn append(path: impl AsRef<Path>) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

pub(crate) fn write<const N: usize>(mut file: &File, numbers: [u64; N]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    file.write_all(&bytes).unwrap();
}

fn read<const N: usize>(path: &Path) -> Vec<[u64; N]> {
    let bytes = fs::read(path).unwrap_or_default();
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let lines = bytes.chunks_exact(8 * N);
    lines.map(|line| std::array::from_fn(|index| number(&line[8 * index..8 * (index + 1)]))).collect()
}

/// A folder for what the processes write down. Dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("tidings-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Where an instance writes down what it executes.
    pub(crate) fn ledger(&self, me: u64) -> PathBuf {
        self.0.join(format!("executed-{me}"))
    }

    /// How much an instance has executed so far.
    pub(crate) fn executed(&self, me: u64) -> u64 {
        fs::metadata(self.ledger(me)).map_or(0, |file| file.len() / 16)
    }

    /// Who has executed each request, of so many instances.
    pub(crate) fn executions(&self, instances: u64) -> HashMap<u64, Vec<u64>> {
        let mut executions: HashMap<u64, Vec<u64>> = HashMap::new();
        for [n, by] in (0..instances).flat_map(|me| read(&self.ledger(me))) {
            executions.entry(n).or_default().push(by);
        }
        executions
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a process of these tests does, as its argument says.
pub(crate) async fn play(part: String) {
    let words: Vec<&str> = part.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap();
    let bus = bus(words[1]).await;
    match words[0] {
        "instance" => serve(bus.serve(Worker(Ledger::new(number(2), words[3]))).await.unwrap()).await,
        "newer" => serve(bus.serve(newer::Worker(Ledger::new(number(2), words[3]))).await.unwrap()).await,
        "requester" => asks(bus, number(2)..number(2) + number(3), words[4]).await,
        other => panic!("{other}"),
    }
}

async fn serve(service: Service) {
    println!("serving");
    service.run_until_stopped_within(SOON).await.unwrap();
}

/// Starts an instance in a process of its own, and waits until it serves.
pub(crate) async fn instance(test: &str, part: &str, server: &RedisServer, folder: &Folder, me: u64) -> Child {
    let mut child = Child::start(test, &format!("{part} {} {me} {}", server.url(), folder.ledger(me).display()));
    child.says("serving").await;
    child
}

/// How long a request waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an asker rests after a failure.
pub(crate) const FAILED: Duration = Duration::from_millis(10);
/// Requests that a requester has under way.
const AT_ONCE: u64 = 16;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Answered,
    /// It is known that nobody has executed it.
    NotExecuted,
    TimedOut,
    ConnectionLost,
    InstanceLost,
    /// It may have been sent or not.
    Unsent,
    Wrong,
}

impl End {
    const ALL: [Self; 7] = [
        Self::Answered,
        Self::NotExecuted,
        Self::TimedOut,
        Self::ConnectionLost,
        Self::InstanceLost,
        Self::Unsent,
        Self::Wrong,
    ];

    fn of(output: &Result<u64, RequestError<NoError>>) -> Self {
        match output {
            Ok(_) => Self::Answered,
            Err(error) if error.is_retryable() => Self::NotExecuted,
            Err(RequestError::NotHandled { .. }) => Self::NotExecuted,
            Err(RequestError::TimedOut { .. }) => Self::TimedOut,
            Err(RequestError::ConnectionLost { .. }) => Self::ConnectionLost,
            Err(RequestError::InstanceLost { .. }) => Self::InstanceLost,
            Err(RequestError::Publish(_) | RequestError::Subscribe(_)) => Self::Unsent,
            Err(error) => {
                println!("wrong: {error}");
                Self::Wrong
            }
        }
    }
}

/// Sends requests, and writes down how each of them ended.
async fn asks(bus: Bus, numbers: Range<u64>, path: &str) {
    let (ends, next) = (Arc::new(append(path)), Arc::new(AtomicU64::new(numbers.start)));
    let mut askers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (bus, ends, next, numbers) = (bus.clone(), Arc::clone(&ends), Arc::clone(&next), numbers.clone());
        askers.spawn(async move {
            let mut longest = Duration::ZERO;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if !numbers.contains(&n) {
                    return longest;
                }
                let start = Instant::now();
                let output = Job { n }.request(&bus).timeout(PATIENCE).await;
                longest = longest.max(start.elapsed());
                let end = End::of(&output);
                write(&ends, [n, end as u64, output.unwrap_or(u64::MAX)]);
                if end != End::Answered {
                    tokio::time::sleep(FAILED).await;
                }
            }
        });
    }
    let longest = askers.join_all().await.into_iter().max().unwrap();
    assert_eq!(bus.stats().pending_requests, 0);
    println!("ended {}", longest.as_millis());
}

/// The instances of a scenario, some of which are killed.
struct Instances<'a> {
    server: &'a RedisServer,
    folder: &'a Folder,
    /// Each with its number, which no other one ever has.
    living: Vec<(u64, Child)>,
    started: u64,
    /// What the living had executed when it was last looked at.
    before: Vec<u64>,
    /// What has been executed since at each place, while all lived.
    load: Vec<u64>,
}

const T20: &str = "instances::each_request_of_other_processes_is_executed_by_one_of_three_at_most";

impl<'a> Instances<'a> {
    async fn start(server: &'a RedisServer, folder: &'a Folder, count: usize) -> Self {
        let (living, before, load) = (Vec::new(), Vec::new(), vec![0; count]);
        let mut instances = Self { server, folder, living, started: 0, before, load };
        for _ in 0..count {
            let child = instances.another().await;
            instances.living.push(child);
        }
        instances
    }

    async fn another(&mut self) -> (u64, Child) {
        let me = self.started;
        self.started += 1;
        (me, instance(T20, "instance", self.server, self.folder, me).await)
    }

    /// Kills one, and starts another in its place.
    async fn kill(&mut self, place: usize) {
        self.living[place].1.signal("KILL");
        self.living[place].1.ended().await;
        self.living[place] = self.another().await;
    }

    pub(crate) fn executed(&self) -> Vec<u64> {
        self.living.iter().map(|(me, _)| self.folder.executed(*me)).collect()
    }

    /// From now on all of them live.
    fn look(&mut self) {
        self.before = self.executed();
    }

    /// All of them have lived until now.
    fn note(&mut self) {
        let now = self.executed();
        for (load, (now, before)) in self.load.iter_mut().zip(now.iter().zip(&self.before)) {
            *load += now - before;
        }
    }
}

/// Kills one connection at random, or all of a kind.
async fn cut_off(server: &RedisServer, random: &mut Random) {
    match random.within(0..6) {
        0 => drop(server.kill_subscribers().await),
        1 => drop(server.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]).await),
        _ => {
            let list: String = server.command(&["CLIENT", "LIST"]).await;
            let ids: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).collect();
            let id = ids[usize::try_from(random.within(0..ids.len() as u64)).unwrap()];
            // It may be gone by now.
            let _: u64 = server.command(&["CLIENT", "KILL", "ID", id]).await;
        }
    }
}

/// 8 requesters with 16 requests each under way, and 3 instances that are killed with SIGKILL; connections of all of them are killed too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_other_processes_is_executed_by_one_of_three_at_most() {
    if let Some(part) = child::argument() {
        return play(part).await;
    }
    let (server, folder) = (RedisServer::start().await, Folder::new("t20"));
    let mut random = Random::of("T20-processes");
    let (requesters, each) = (8, sized(12_500, 125_000));
    let mut instances = Instances::start(&server, &folder, 3).await;
    let ends: Vec<PathBuf> = (0..requesters).map(|number| folder.0.join(format!("ends-{number}"))).collect();
    let start = |(number, path): (u64, &PathBuf)| {
        let first = number * each;
        Child::start(T20, &format!("requester {} {first} {each} {}", server.url(), path.display()))
    };
    let mut asking: Vec<Child> = (0..requesters).zip(&ends).map(start).collect();
    let ended = || ends.iter().map(|path| fs::metadata(path).map_or(0, |file| file.len() / 24)).sum::<u64>();
    let (count, mut kills, mut cuts) = (requesters * each, 0, 0);
    let begun = Instant::now();
    instances.look();
    while ended() < count * 9 / 10 {
        random.pause(100..300).await;
        instances.note();
        if cuts % 5 == 4 {
            instances.kill(kills % 3).await;
            kills += 1;
        }
        cut_off(&server, &mut random).await;
        cuts += 1;
        instances.look();
    }
    let mut longest = 0;
    for child in &mut asking {
        longest = longest.max(child.says("ended").await.parse().unwrap());
        assert!(child.ended().await.success());
    }
    let took = begun.elapsed();
    instances.note();
    let executions = folder.executions(instances.started);
    let kinds = judge(&ends, count, &executions);
    println!(
        "T20-processes: {kinds:?} in {took:?}, longest {longest} ms, load {:?}, {kills} killed, {cuts} cut off",
        instances.load
    );
    assert!(kinds[&End::Answered] > count / 2, "{kinds:?}");
    assert!(u128::from(longest as u64) < (PATIENCE + SLACK).as_millis(), "a request took {longest} ms");
    assert!(is_even(&instances.load), "{:?}", instances.load);
    Report::new("T20-processes", "kills", kills + cuts).messages(count, kinds[&End::Answered]).close();
}

/// Each request has ended once, was executed once if it was answered, and at most once otherwise.
fn judge(ends: &[PathBuf], count: u64, executions: &HashMap<u64, Vec<u64>>) -> BTreeMap<End, u64> {
    let mut kinds = BTreeMap::new();
    let mut ends: Vec<[u64; 3]> = ends.iter().flat_map(|path| read(path)).collect();
    ends.sort_unstable();
    assert!(ends.iter().map(|[n, ..]| *n).eq(0..count), "each of them ends once");
    for [n, end, by] in ends {
        let end = End::ALL[usize::try_from(end).unwrap()];
        let executed = executions.get(&n).map_or(&[][..], Vec::as_slice);
        let is_right = match end {
            End::Answered => executed == [by],
            End::NotExecuted => executed.is_empty(),
            End::Wrong => false,
            End::TimedOut | End::ConnectionLost | End::InstanceLost | End::Unsent => executed.len() <= 1,
        };
        assert!(is_right, "request {n} is {end:?} by {by}, and was executed by {executed:?}");
        *kinds.entry(end).or_default() += 1;
    }
    kinds
}

/// Whether nobody has more than 1.3 times of what would be even, nor less than that part of it.
pub(crate) fn is_even(load: &[u64]) -> bool {
    let share = load.iter().sum::<u64>() as f64 / load.len() as f64;
    load.iter().all(|&load| load as f64 <= 1.3 * share && load as f64 >= share / 1.3)
}
