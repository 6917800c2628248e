//! The results of tasks through the death of processes: whoever asked is killed, or the instance in the middle of the task, or the server, or all of
//! them, and the result comes to whoever waits for it then.

use std::{fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, Delivery, Message, router};
use tidings_tests::{RedisServer, eventually};
use tokio::task::JoinSet;

use crate::{
    child::{self, Child},
    instances::Folder,
    ledger::SOON,
    outages::bus,
};

/// What is asked for.
#[derive(Message, Serialize, Deserialize)]
#[queue("errands", lease = "1s", results = "1h")]
#[reply(Done)]
struct Errand {
    n: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Done {
    n: u64,
    by: u64,
    attempt: u32,
}

/// An instance in a process of its own. It says what it begins, and ends nothing before its file is there.
struct Runner {
    me: u64,
    may_end: PathBuf,
}

#[router]
impl Runner {
    #[handler(idempotent, timeout = "2m", crashes = 10)]
    async fn errand(&self, task: Errand, delivery: &Delivery) -> Done {
        println!("begun {}", task.n);
        while !self.may_end.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Done { n: task.n, by: self.me, attempt: delivery.attempt() }
    }
}

/// What a process of these tests does, as its argument says.
async fn play(part: &str) {
    let words: Vec<&str> = part.split(' ').collect();
    let bus = bus(words[1]).await;
    match words[0] {
        "instance" => {
            let runner = Runner { me: words[2].parse().unwrap(), may_end: words[3].into() };
            bus.serve(runner).await.unwrap().run_until_stopped_within(SOON).await.unwrap();
        }
        "enqueues" => {
            let enqueued = Errand { n: words[2].parse().unwrap() }.enqueue(&bus).await.unwrap();
            println!("enqueued {}", enqueued.id);
            waits(&bus, &enqueued.id).await;
        }
        "asks" => waits(&bus, words[2]).await,
        other => panic!("{other}"),
    }
}

/// Says what came of a task, and meanwhile that the server is away, and that it is back.
async fn waits(bus: &Bus, id: &str) {
    let (mut events, mut telling) = (bus.events(), JoinSet::new());
    telling.spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                BusEvent::Disconnected { .. } => println!("lost"),
                BusEvent::Connected { .. } => println!("back"),
                _ => {}
            }
        }
    });
    let done = bus.queue::<Errand>().result(id).within(4 * SOON).await.unwrap();
    println!("result {}", serde_json::to_string(&done).unwrap());
}

/// A server, and those who use it.
struct Scene {
    test: &'static str,
    server: RedisServer,
    folder: Folder,
}

impl Scene {
    async fn new(test: &'static str, settings: &[&str]) -> Self {
        let name = test.rsplit(':').next().unwrap();
        Self { test, server: RedisServer::with_settings(settings).await, folder: Folder::new(name) }
    }

    fn starts(&self, part: &str, argument: &str) -> Child {
        Child::start(self.test, format!("{part} {} {argument}", self.server.url()).trim_end())
    }

    /// It may have begun the task before it says anything else.
    fn instance(&self, me: u64) -> Child {
        self.starts("instance", &format!("{me} {}", self.folder.ledger(me).display()))
    }

    /// From now on that instance ends what it has.
    fn may_end(&self, me: u64) {
        fs::write(self.folder.ledger(me), "").unwrap();
    }

    /// Somebody who has enqueued a task and waits for its result, and the task's id.
    async fn enqueues(&self, n: u64) -> (Child, String) {
        let mut asker = self.starts("enqueues", &n.to_string());
        let id = asker.says("enqueued").await;
        eventually(SOON, async || self.left(&id).await > 0).await;
        (asker, id)
    }

    /// Somebody who waits for the result of a task that another one has enqueued.
    async fn asks(&self, id: &str) -> Child {
        let before = self.left(id).await;
        let asker = self.starts("asks", id);
        eventually(SOON, async || self.left(id).await > before).await;
        asker
    }

    /// How much has been left with a task by those who wait for its result.
    async fn left(&self, id: &str) -> u64 {
        self.server.command(&["HSTRLEN", "tidings:queues:{errands}:askers", id]).await
    }
}

async fn kill(mut child: Child) {
    child.signal("KILL");
    child.ended().await;
}

async fn result(asker: &mut Child) -> Done {
    serde_json::from_str(&asker.says("result").await).unwrap()
}

const ASKER: &str = "results::a_result_comes_to_another_process_when_its_asker_was_killed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_to_another_process_when_its_asker_was_killed() {
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let scene = Scene::new(ASKER, &[]).await;
    let (asker, id) = scene.enqueues(7).await;
    let _instance = scene.instance(0);
    kill(asker).await;
    let mut another = scene.asks(&id).await;
    scene.may_end(0);
    let expected = Done { n: 7, by: 0, attempt: 1 };
    assert_eq!(result(&mut another).await, expected);
    assert!(another.ended().await.success());
    // And to one who was not there when the task ended.
    assert_eq!(
        bus(scene.server.url()).await.queue::<Errand>().result(id).within(Duration::ZERO).await.unwrap(),
        expected
    );
}

const INSTANCE: &str = "results::a_result_comes_from_another_instance_when_the_first_was_killed_in_the_middle";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_from_another_instance_when_the_first_was_killed_in_the_middle() {
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let scene = Scene::new(INSTANCE, &[]).await;
    let (mut asker, _) = scene.enqueues(7).await;
    // Two die with it, one after the other.
    for me in 0..2 {
        let mut instance = scene.instance(me);
        instance.says("begun 7").await;
        kill(instance).await;
    }
    scene.may_end(2);
    let _instance = scene.instance(2);
    assert_eq!(result(&mut asker).await, Done { n: 7, by: 2, attempt: 3 });
    assert!(asker.ended().await.success());
    let counts = bus(scene.server.url()).await.queue::<Errand>().counts().await.unwrap();
    assert_eq!((counts.outstanding(), counts.ended.completed, counts.ended.crashed_attempts), (0, 1, 2));
}

const LASTING: [&str; 2] = ["appendonly yes", "appendfsync always"];
const SERVER: &str = "results::a_result_comes_through_a_server_that_is_killed_and_has_an_append_only_file";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_through_a_server_that_is_killed_and_has_an_append_only_file() {
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let scene = Scene::new(SERVER, &LASTING).await;
    let (mut asker, id) = scene.enqueues(7).await;
    let mut instance = scene.instance(0);
    instance.says("begun 7").await;
    for _ in 0..2 {
        scene.server.kill();
        asker.says("lost").await;
        scene.server.restart().await;
        asker.says("back").await;
    }
    scene.may_end(0);
    assert_eq!(result(&mut asker).await.n, 7);
    assert!(asker.ended().await.success());
    // What was told once is kept through another one.
    scene.server.kill();
    scene.server.restart().await;
    let again = bus(scene.server.url()).await.queue::<Errand>().result(id).within(Duration::ZERO).await.unwrap();
    assert_eq!(again.n, 7);
}

const ALL: &str = "results::a_result_comes_when_asker_instance_and_server_were_all_killed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_when_asker_instance_and_server_were_all_killed() {
    if let Some(part) = child::argument() {
        return play(&part).await;
    }
    let scene = Scene::new(ALL, &LASTING).await;
    let (asker, id) = scene.enqueues(7).await;
    let mut instance = scene.instance(0);
    instance.says("begun 7").await;
    scene.server.kill();
    kill(asker).await;
    kill(instance).await;
    scene.server.restart().await;
    let mut another = scene.asks(&id).await;
    scene.may_end(1);
    let _instance = scene.instance(1);
    assert_eq!(result(&mut another).await, Done { n: 7, by: 1, attempt: 2 });
    assert!(another.ended().await.success());
}
