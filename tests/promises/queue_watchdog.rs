//! An instance to which nothing comes although something is due finds that out, says so, and helps itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, BusEvents, HealthWarning, Message, router, testing::Broker};
use tidings_tests::Recorder;
use tokio::time::{Instant, sleep, timeout};

use crate::support::SOON;

const MINUTE: Duration = Duration::from_secs(60);
/// For so long nothing comes before an instance takes another connection.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("watched:jobs")]
struct Job {
    n: u64,
}

struct Worker {
    done: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "none", concurrency = 1)]
    async fn job(&self, job: Job) {
        self.done.record(job.n);
    }
}

async fn stalled(events: &mut BusEvents) {
    let told = async {
        loop {
            if let BusEvent::QueueStalled { queue, .. } = events.next().await.unwrap() {
                assert_eq!(queue, "watched:jobs");
                return;
            }
        }
    };
    timeout(10 * MINUTE, told).await.unwrap();
}

async fn is_warned_of(bus: &Bus) -> bool {
    let warnings = bus.health().await.unwrap().warnings;
    warnings.iter().any(|warning| matches!(warning, HealthWarning::QueueStalled { queue: "watched:jobs", .. }))
}

/// So many of what was done, sorted. The thread that keeps leases has real time: the one that is paused passes a hundred times as fast.
async fn done(recorder: &Recorder<u64>, count: usize) -> Vec<u64> {
    let start = std::time::Instant::now();
    while recorder.len() < count {
        assert!(start.elapsed() < SOON, "done so far: {:?}", recorder.all());
        std::thread::sleep(Duration::from_millis(1));
        sleep(Duration::from_millis(100)).await;
    }
    let mut all = recorder.all();
    all.sort_unstable();
    all
}

async fn enqueue(bus: &Bus, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        Job { n }.enqueue(bus).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_to_which_nothing_comes_takes_another_connection_and_says_so() {
    let broker = Broker::new();
    let bus = Bus::connect(&broker.url()).await.unwrap();
    let recorder = Recorder::new();
    let service = bus.serve(Worker { done: recorder.clone() }).await.unwrap();
    enqueue(&bus, 1..=1).await;
    done(&recorder, 1).await;
    // A day without a task is no fault.
    let mut events = bus.events();
    sleep(24 * 60 * MINUTE).await;
    broker.mute_readers(true);
    sleep(MINUTE).await;
    assert!(!is_warned_of(&bus).await, "nothing is due");
    let start = Instant::now();
    // The first of them is given to the connection that nobody hears any more.
    enqueue(&bus, 2..=4).await;
    stalled(&mut events).await;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(9) && took <= 2 * PATIENCE, "{took:?}");
    // The new connection is no better.
    assert!(is_warned_of(&bus).await);
    let start = Instant::now();
    stalled(&mut events).await;
    assert!(start.elapsed() <= PATIENCE + Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(is_warned_of(&bus).await);
    assert_eq!(recorder.all(), [1]);
    broker.mute_readers(false);
    let start = Instant::now();
    done(&recorder, 2).await;
    assert!(start.elapsed() <= PATIENCE + Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(done(&recorder, 4).await, [1, 2, 3, 4]);
    assert!(!is_warned_of(&bus).await, "it is well again");
    enqueue(&bus, 5..=5).await;
    assert_eq!(done(&recorder, 5).await, [1, 2, 3, 4, 5]);
    service.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_warning_goes_when_others_have_done_what_was_due_and_when_the_instance_ends() {
    let broker = Broker::new();
    let (bus, other) = (Bus::connect(&broker.url()).await.unwrap(), Bus::connect(&broker.url()).await.unwrap());
    let mut events = bus.events();
    for is_ended in [false, true] {
        broker.mute_readers(true);
        let service = bus.serve(Worker { done: Recorder::new() }).await.unwrap();
        sleep(MINUTE).await;
        enqueue(&bus, 1..=2).await;
        stalled(&mut events).await;
        assert!(is_warned_of(&bus).await);
        if is_ended {
            drop(service);
            sleep(Duration::from_secs(1)).await;
            assert!(!is_warned_of(&bus).await, "nobody waits for anything");
            continue;
        }
        // The first one hears nothing of what the other one hears.
        let recorder = Recorder::new();
        broker.mute_readers(false);
        let elsewhere = other.serve(Worker { done: recorder.clone() }).await.unwrap();
        assert_eq!(done(&recorder, 2).await, [1, 2]);
        assert!(is_warned_of(&bus).await);
        sleep(MINUTE).await;
        assert!(!is_warned_of(&bus).await, "nothing is due any more");
        elsewhere.shutdown().await.unwrap();
        drop(service);
    }
}
