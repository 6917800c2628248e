//! Whoever follows the advice of the errors gets to enqueue, to work, and to look at queues and mend them.
//!
//! Only a real server has access rules.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, NoError, Progress, ResultError, TaskState, router};
use tidings_tests::{Recorder, RedisServer};

use crate::{
    acl::{apply, follow, nobody_and_root},
    support::{News, SOON},
};

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("jobs:<tenant: String>:work", bound, lease = "2s", results = "1h")]
#[reply(u64)]
struct Job {
    n: u64,
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("jobs:plain", lease = "2s")]
struct Plain {
    n: u64,
}

struct Worker {
    seen: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "10s", retries = 3, backoff = "10ms..20ms")]
    async fn job(&self, job: Job, progress: Progress, delivery: &Delivery) -> Result<u64, io::Error> {
        progress.report(0.5, "half of it");
        progress.flush().await.map_err(io::Error::other)?;
        if delivery.attempt() == 1 {
            return Err(io::Error::other("not yet"));
        }
        Ok(2 * job.n)
    }

    #[handler(once, window = "1h", timeout = "10s")]
    async fn plain(&self, plain: Plain) {
        self.seen.record(plain.n);
    }
}

/// Users who lack different things.
const USERS: [&str; 5] = ["-@all", "-@all ~*", "-@all allchannels", "-@all +@pubsub", "+@all"];

/// Has the user of [`nobody_and_root`] no rights but these.
async fn only(server: &RedisServer, rights: &str) {
    apply(server, &format!("ACL SETUSER anna reset on >secret resetchannels {rights}")).await;
}

/// Follows the advice of an operation for each of the users.
async fn for_each_user<T, E: std::error::Error + 'static>(
    what: &str,
    mut attempt: impl AsyncFnMut(&Bus) -> Result<T, E>,
) {
    let (server, anna, _root) = nobody_and_root().await;
    for rights in USERS {
        only(&server, rights).await;
        follow(&server, &format!("{what} ({rights})"), async || attempt(&anna).await).await;
    }
}

fn plain() -> Plain {
    Plain { n: 1 }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_enqueue() {
    for_each_user("a task", async |bus| plain().enqueue(bus).await.map(drop)).await;
    for_each_user("a part", async |bus| Job { n: 1 }.enqueue_to(Job::channel("a b"), bus).await.map(drop)).await;
    for_each_user("a delay", async |bus| plain().enqueue(bus).delay(HOUR).await.map(drop)).await;
    for_each_user("a key", async |bus| plain().enqueue(bus).deduplicate("k", HOUR).await.map(drop)).await;
    let two = [plain(), plain()];
    for_each_user("tasks", async |bus| bus.enqueue_all(&two).await.into_iter().collect::<Result<Vec<_>, _>>()).await;
    for_each_user("all of them", async |bus| bus.enqueue_all(&two).atomic().await.map(drop)).await;
    for_each_user("a batch", async |bus| {
        bus.batch().push(&News { n: 1 }).enqueue(&plain()).await.into_iter().collect::<Result<Vec<_>, _>>()
    })
    .await;
    for_each_user("an atomic batch", async |bus| {
        bus.batch().push(&News { n: 1 }).enqueue(&plain()).atomic().await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_work() {
    let (server, anna, root) = nobody_and_root().await;
    for rights in USERS {
        only(&server, rights).await;
        let seen = Recorder::new();
        let work = async || anna.serve(Worker { seen: seen.clone() }).on::<Job>(Job::channel("acme")).await;
        let service = follow(&server, &format!("working ({rights})"), work).await;
        plain().enqueue(&root).await.unwrap();
        let job = Job { n: 4 }.enqueue_to(Job::channel("acme"), &root).await.unwrap();
        assert_eq!(job.result::<u64, NoError>(&root).within(SOON).await.unwrap(), 8, "{rights}");
        assert_eq!(seen.wait_for(1).await, [1]);
        service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_look_at_a_queue_and_to_mend_it() {
    macro_rules! each {
        ($($operation:ident: $queue:ident => $call:expr;)*) => {$(
            for_each_user(stringify!($operation), async |bus| {
                let $queue = bus.queue::<Plain>();
                $call.await.map(drop)
            })
            .await;
        )*};
    }
    each! {
        counts: queue => queue.counts();
        running: queue => queue.running(10);
        workers: queue => queue.workers();
        dead_letters: queue => queue.dead_letters();
        replay: queue => queue.replay_all();
        delete: queue => queue.delete_all();
        find: queue => queue.find("x");
        waiting: queue => queue.tasks(TaskState::Waiting);
        delayed: queue => queue.tasks(TaskState::Delayed);
        parked: queue => queue.tasks(TaskState::Parked);
        cancel: queue => queue.cancel("x");
        pause: queue => queue.pause();
        is_paused: queue => queue.is_paused();
        resume: queue => queue.resume();
        events: queue => queue.events();
        empty: queue => queue.wait_until_empty(SOON);
        idle: queue => queue.wait_until_idle(SOON);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_advice_of_the_errors_gets_to_wait_for_a_result() {
    let (server, anna, root) = nobody_and_root().await;
    let job = Job { n: 4 }.enqueue_to(Job::channel("acme"), &root).await.unwrap();
    for rights in USERS {
        only(&server, rights).await;
        let waiting = async || match job.result::<u64, NoError>(&anna).within(Duration::ZERO).await {
            Err(ResultError::TimedOut { state, .. }) => Ok(state),
            other => other.map(|_| TaskState::Completed),
        };
        let state = follow(&server, &format!("a result ({rights})"), waiting).await;
        assert_eq!(state, TaskState::Waiting);
    }
}
