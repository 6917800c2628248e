//! What a service holds to when the clock of its machine is set.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, Service, TaskState, router};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::{
    time::{STEPS, now, step},
    transport::redis::tests::server::{DEADLINE, Server},
};

const HOUR: Duration = Duration::from_secs(3_600);
const DELAY: Duration = Duration::from_millis(1_200);

/// Each number once: at once, after a delay, with an end of its time, and one that runs while the clock is set.
#[derive(Message, Serialize, Deserialize)]
#[queue("clock:jobs", lease = "1s")]
struct Job {
    n: u64,
}

struct Worker {
    /// Number, failures and crashes, when.
    done: mpsc::Sender<(u64, u32, u32, Instant)>,
    begun: Arc<Notify>,
    goes_on: Arc<Notify>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "60s")]
    async fn job(&self, job: Job, delivery: &Delivery) {
        if job.n == 0 {
            self.begun.notify_one();
            self.goes_on.notified().await;
        }
        self.done.send((job.n, delivery.failures(), delivery.crashes(), now())).await.unwrap();
    }
}

struct World {
    bus: Bus,
    service: Service,
    done: mpsc::Receiver<(u64, u32, u32, Instant)>,
    begun: Arc<Notify>,
    goes_on: Arc<Notify>,
    _server: Option<Server>,
}

impl World {
    async fn on(url: &str, server: Option<Server>) -> Self {
        let bus = Bus::connect(url).await.unwrap();
        let (begun, goes_on) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (sender, done) = mpsc::channel(64);
        let worker = Worker { done: sender, begun: Arc::clone(&begun), goes_on: Arc::clone(&goes_on) };
        let service = bus.serve(worker).await.unwrap();
        Self { bus, service, done, begun, goes_on, _server: server }
    }

    async fn next(&mut self) -> (u64, u32, u32, Instant) {
        timeout(DEADLINE, self.done.recv()).await.unwrap().unwrap()
    }
}

/// A clock that is set forwards or back by an hour: the server's time decides, and timers do not look at the time of day.
async fn nothing_comes_of_a_clock_that_is_set(mut world: World) {
    let queue = world.bus.queue::<Job>();
    Job { n: 0 }.enqueue(&world.bus).await.unwrap();
    timeout(DEADLINE, world.begun.notified()).await.unwrap();
    for (round, millis) in [3_600_000, -3_600_000, -3_600_000, 3_600_000].into_iter().enumerate() {
        let n = 10 * round as u64;
        // One waits for its time since before the step, the other is enqueued after it.
        let start = now();
        Job { n: n + 1 }.enqueue(&world.bus).delay(DELAY).await.unwrap();
        step(millis);
        let since = now();
        let later = Job { n: n + 2 }.enqueue(&world.bus).delay(DELAY).expires_in(HOUR / 2).await.unwrap();
        Job { n: n + 3 }.enqueue(&world.bus).expires_in(HOUR / 2).await.unwrap();
        let seen = queue.find(&later.id).await.unwrap().unwrap();
        assert_eq!(seen.state, TaskState::Delayed);
        let apart = |time: SystemTime| time.elapsed().unwrap_or_else(|error| error.duration());
        assert!(apart(seen.enqueued.unwrap()) < HOUR / 60, "the server's clock says when: {:?}", seen.enqueued);
        let [at_once, first, second] = [world.next().await, world.next().await, world.next().await];
        assert_eq!([at_once.0, first.0, second.0], [n + 3, n + 1, n + 2]);
        assert!(first.3 - start >= DELAY && second.3 - since >= DELAY, "not early");
        assert!(second.3 - since < DELAY + DEADLINE, "not late");
    }
    // Four seconds have passed, with a lease of one.
    world.goes_on.notify_one();
    let (n, failures, crashes, _) = world.next().await;
    assert_eq!((n, failures, crashes), (0, 0, 0));
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.ended.expired, counts.ended.crashed_attempts, counts.ended.failed_attempts), (0, 0, 0));
    assert_eq!(world.service.stats().handlers[0].lost_leases, 0);
    world.service.shutdown().await.unwrap();
    assert_eq!(world.bus.queue::<Job>().counts().await.unwrap().ended.completed, 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_a_clock_that_is_set_on_memory() {
    let _steps = STEPS.lock().await;
    nothing_comes_of_a_clock_that_is_set(World::on("memory:", None).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_a_clock_that_is_set_on_redis() {
    let _steps = STEPS.lock().await;
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    nothing_comes_of_a_clock_that_is_set(World::on(&server.url(), Some(server)).await).await;
}
