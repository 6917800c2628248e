//! Whoever enqueued a task learns what came of it, whatever happens meanwhile to itself, to instances, to connections and to the server.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, DeadReason, Delivery, Ended, Enqueue, Enqueued, Message, Outcome, ResultError, Service, Subscription,
    TaskState, handler, router, routes, testing::Broker,
};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, SOON, message};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Resized {
    id: u64,
    attempt: u32,
}

#[derive(Clone, Debug, PartialEq, Outcome, Serialize, Deserialize)]
enum ResizeError {
    #[outcome(retry)]
    DiskFull { attempt: u32 },
    #[outcome(dead_letter)]
    NoImage,
    #[outcome(discard)]
    NotWanted,
}

impl fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl std::error::Error for ResizeError {}

/// What a task has its handler do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Does {
    Succeeds,
    /// So many times before it succeeds.
    Fails(u32),
    IsNoImage,
    IsNotWanted,
    Panics,
    Waits,
}

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("results:images", lease = "1s", results = "1h", results_count = 1000, completed = ImageDone, failed = ImageFailed)]
#[reply(Resized, error = ResizeError)]
struct Resize {
    id: u64,
    does: Does,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("results:mails")]
struct SendMail {
    image: u64,
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("results:done")]
struct ImageDone {
    id: String,
    image: u64,
    attempt: u32,
}

impl From<Ended<'_, Resize>> for ImageDone {
    fn from(ended: Ended<'_, Resize>) -> Self {
        let attempt = ended.result().map_or(0, |resized| resized.attempt);
        Self { id: ended.id().to_owned(), image: ended.task().id, attempt }
    }
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("results:failed")]
struct ImageFailed {
    id: String,
    state: String,
    reason: String,
    error: String,
    typed: Option<ResizeError>,
    attempts: u32,
}

impl From<Ended<'_, Resize>> for ImageFailed {
    fn from(ended: Ended<'_, Resize>) -> Self {
        assert!(ended.task().id != 666, "as it should");
        Self {
            id: ended.id().to_owned(),
            state: format!("{:?}", ended.state()),
            reason: ended.reason().map(|reason| format!("{reason:?}")).unwrap_or_default(),
            error: ended.error().unwrap_or_default().to_owned(),
            typed: ended.typed_error(),
            attempts: ended.attempts(),
        }
    }
}

#[derive(Clone)]
struct Resizer {
    gate: Gate,
    begun: Recorder<u64>,
}

impl Resizer {
    fn new() -> Self {
        Self { gate: Gate::closed(), begun: Recorder::new() }
    }
}

#[router]
impl Resizer {
    #[handler(idempotent, timeout = "30s", retries = 1, backoff = "10ms..20ms", crashes = 2, concurrency = 8)]
    async fn resize(&self, task: Resize, delivery: &Delivery) -> Result<(Resized, Enqueue<SendMail>), ResizeError> {
        self.begun.record(task.id);
        let attempt = delivery.attempt();
        match task.does {
            Does::Fails(times) if delivery.failures() < times => return Err(ResizeError::DiskFull { attempt }),
            Does::IsNoImage => return Err(ResizeError::NoImage),
            Does::IsNotWanted => return Err(ResizeError::NotWanted),
            Does::Panics => panic!("as it should"),
            Does::Waits => self.gate.pass().await,
            Does::Succeeds | Does::Fails(_) => {}
        }
        Ok((Resized { id: task.id, attempt }, Enqueue::new(SendMail { image: task.id })))
    }
}

async fn serve(bus: &Bus, resizer: &Resizer) -> Service {
    bus.serve(resizer.clone()).await.unwrap()
}

async fn enqueue(bus: &Bus, id: u64, does: Does) -> Enqueued<Resize> {
    Resize { id, does }.enqueue(bus).await.unwrap()
}

/// Waits for a result beside the test.
fn wait(bus: &Bus, id: &str) -> Waiting {
    let (bus, id) = (bus.clone(), id.to_owned());
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { bus.queue::<Resize>().result(id).within(SOON).await });
    Waiting(waiting)
}

struct Waiting(JoinSet<Result<Resized, ResultError<ResizeError>>>);

impl Waiting {
    async fn ended(mut self) -> Result<Resized, ResultError<ResizeError>> {
        self.0.join_next().await.unwrap().unwrap()
    }
}

/// A bus that goes to its server again at once, whichever it is.
async fn bus_at(url: &str) -> Bus {
    let reconnect =
        tidings::Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(200));
    Bus::builder(url).reconnect(reconnect).connect().await.unwrap()
}

on_each! {
    async fn a_result_comes_to_whoever_waits_before_the_end_and_after_it(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let enqueued = enqueue(&bus, 1, Does::Waits).await;
        let waiting: Vec<_> = (0..3).map(|_| wait(&bus, &enqueued.id)).collect();
        let other = wait(&world.bus().await, &enqueued.id);
        let service = serve(&bus, &resizer).await;
        resizer.begun.wait_for(1).await;
        resizer.gate.open();
        let expected = Resized { id: 1, attempt: 1 };
        for waits in waiting.into_iter().chain([other]) {
            assert_eq!(waits.ended().await.unwrap(), expected);
        }
        assert_eq!(enqueued.result(&bus).await.unwrap(), expected);
        assert_eq!(enqueued.result(&bus).within(Duration::ZERO).await.unwrap(), expected);
        // What follows was enqueued with it, once.
        assert_eq!(bus.queue::<SendMail>().counts().await.unwrap().waiting(), 1);
        // Of several that were enqueued together.
        let tasks: Vec<Resize> = (10..20).map(|id| Resize { id, does: Does::Succeeds }).collect();
        for (id, enqueued) in (10..).zip(bus.enqueue_all(&tasks).await) {
            let resized = enqueued.unwrap().of::<Resize>().result(&bus).within(SOON).await.unwrap();
            assert_eq!(resized, Resized { id, attempt: 1 });
        }
        service.shutdown().await.unwrap();
    }

    async fn each_end_without_a_reply_has_its_error(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let images = bus.queue::<Resize>();
        let expires = Resize { id: 1, does: Does::Succeeds }.enqueue(&bus).expires_in(Duration::from_millis(1)).await;
        let expires = expires.unwrap();
        let cancelled = Resize { id: 2, does: Does::Succeeds }.enqueue(&bus).delay(SOON * 10).await.unwrap();
        let waits = wait(&bus, &cancelled.id);
        let late = cancelled.result(&bus).within(Duration::from_millis(50)).await.unwrap_err();
        assert!(late.is_retryable());
        assert!(matches!(late, ResultError::TimedOut { state: TaskState::Delayed, .. }), "{late}");
        images.cancel(&cancelled.id).await.unwrap();
        assert!(matches!(waits.ended().await, Err(ResultError::Cancelled { id, .. }) if id == cancelled.id));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let service = serve(&bus, &resizer).await;
        let expired = expires.result(&bus).within(SOON).await.unwrap_err();
        assert!(matches!(expired, ResultError::Expired { .. }), "{expired}");

        let result = async |does| enqueue(&bus, 3, does).await.result(&bus).within(SOON).await.unwrap_err();
        let answered = |error| match error {
            ResultError::Answered(error) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(answered(result(Does::IsNoImage).await), ResizeError::NoImage);
        assert_eq!(answered(result(Does::IsNotWanted).await), ResizeError::NotWanted);
        assert_eq!(answered(result(Does::Fails(9)).await), ResizeError::DiskFull { attempt: 2 });
        match result(Does::Panics).await {
            ResultError::Dead { reason, error, .. } => {
                assert_eq!((reason, error.as_str()), (DeadReason::Failed, "the handler panicked"));
            }
            other => panic!("{other:?}"),
        }
        let gone = images.result("nobody").await.unwrap_err();
        assert!(matches!(gone, ResultError::Gone { .. }) && !gone.is_retryable(), "{gone}");
        service.shutdown().await.unwrap();
    }

    async fn a_look_without_time_finds_a_result_among_many_after_a_few_more(world: World) {
        let bus = world.bus().await;
        let all: Vec<Resize> = (0..20_000).map(|id| Resize { id, does: Does::Succeeds }).collect();
        let last = bus.enqueue_all(&all).await.pop().unwrap().unwrap().of::<Resize>();
        // The index of what waits is made a thousand at a time.
        let (mut looks, mut state) = (0, None);
        while state.is_none() {
            looks += 1;
            assert!(looks <= 40);
            match last.result(&bus).within(Duration::ZERO).await.unwrap_err() {
                ResultError::TimedOut { state: found, .. } => state = Some(found),
                error @ ResultError::NotFoundInTime { .. } => assert!(error.is_retryable(), "{error}"),
                other => panic!("{other}"),
            }
        }
        assert_eq!(state, Some(TaskState::Waiting));
    }

    async fn a_task_that_is_tried_again_has_the_reply_of_its_last_attempt(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let service = serve(&bus, &resizer).await;
        let enqueued = enqueue(&bus, 1, Does::Fails(1)).await;
        assert_eq!(enqueued.result(&bus).within(SOON).await.unwrap(), Resized { id: 1, attempt: 2 });
        // A dead letter that is replayed has another result.
        let panics = enqueue(&bus, 2, Does::Panics).await;
        assert!(matches!(panics.result(&bus).within(SOON).await, Err(ResultError::Dead { .. })));
        bus.queue::<Resize>().replay_all().await.unwrap();
        let begun = resizer.begun.len();
        assert!(matches!(panics.result(&bus).within(SOON).await, Err(ResultError::Dead { .. })));
        assert!(resizer.begun.len() >= begun);
        service.shutdown().await.unwrap();
    }

    async fn a_task_with_a_key_that_was_there_is_waited_for(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let service = serve(&bus, &resizer).await;
        let task = Resize { id: 1, does: Does::Succeeds };
        let first = task.enqueue(&bus).deduplicate("one", SOON * 10).await.unwrap();
        assert_eq!(first.result(&bus).within(SOON).await.unwrap().id, 1);
        let again = task.enqueue(&bus).deduplicate("one", SOON * 10).await.unwrap();
        assert_eq!((again.was_there, &again.id), (Some(TaskState::Completed), &first.id));
        assert_eq!(again.result(&bus).await.unwrap().id, 1);
        service.shutdown().await.unwrap();
    }

    async fn a_result_survives_its_asker_and_an_instance_that_dies(world: World) {
        let (instances, resizer) = (world.bus().await, Resizer::new());
        let asker = world.bus().await;
        let first = world.bus().await;
        let one = serve(&first, &resizer).await;
        let enqueued = enqueue(&asker, 1, Does::Waits).await;
        let waits = wait(&asker, &enqueued.id);
        resizer.begun.wait_for(1).await;
        // The asker goes, and so does the instance, in the middle of the task.
        drop(waits);
        drop((asker, one, first));
        let _two = serve(&instances, &resizer).await;
        let asker = world.bus().await;
        let waits = wait(&asker, &enqueued.id);
        resizer.begun.wait_for(2).await;
        resizer.gate.open();
        let resized = waits.ended().await.unwrap();
        assert_eq!(resized.id, 1);
        // And one who comes later still.
        assert_eq!(world.bus().await.queue::<Resize>().result(enqueued.id).await.unwrap(), resized);
    }

    async fn a_result_comes_through_lost_connections(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let service = serve(&bus, &resizer).await;
        let asker = world.bus().await;
        for round in 1..=5 {
            let mut waiting = Vec::new();
            for id in 0..8 {
                let enqueued = loop {
                    // Enqueueing may be cut off itself.
                    if let Ok(enqueued) = (Resize { id, does: Does::Waits }).enqueue(&bus).await {
                        break enqueued;
                    }
                };
                waiting.push(wait(&asker, &enqueued.id));
            }
            eventually(SOON, async || resizer.begun.len() as u64 >= round * 8).await;
            world.disconnect().await;
            resizer.gate.admit(4);
            world.disconnect_everything().await;
            resizer.gate.admit(100);
            for waits in waiting {
                waits.ended().await.unwrap();
            }
        }
        let _ = service.shutdown().await;
    }

    async fn ends_are_announced_whatever_they_are(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let mut done = bus.subscribe(ImageDone::channel()).await.unwrap();
        let mut failed: Subscription<ImageFailed> = bus.subscribe(ImageFailed::channel()).await.unwrap();
        let first = world.bus().await;
        let one = serve(&first, &resizer).await;
        let enqueued = enqueue(&bus, 1, Does::Fails(1)).await;
        assert_eq!(message(&mut done).await, ImageDone { id: enqueued.id, image: 1, attempt: 2 });
        let mut ends = async |does, reason: &str, error: &str, typed, attempts| {
            let enqueued = enqueue(&bus, 2, does).await;
            let state = if reason.is_empty() { "Discarded" } else { "Dead" };
            let (state, reason, error) = (state.to_owned(), reason.to_owned(), error.to_owned());
            let expected = ImageFailed { id: enqueued.id, state, reason, error, typed, attempts };
            assert_eq!(message(&mut failed).await, expected);
        };
        ends(Does::IsNoImage, "Refused", "NoImage", Some(ResizeError::NoImage), 1).await;
        ends(Does::IsNotWanted, "", "NotWanted", Some(ResizeError::NotWanted), 1).await;
        ends(Does::Panics, "Failed", "the handler panicked", None, 2).await;
        // One that cannot be made keeps no task from its end, and is counted.
        let unannounced = enqueue(&bus, 666, Does::IsNoImage).await;
        assert!(matches!(unannounced.result(&bus).within(SOON).await, Err(ResultError::Answered(_))));
        eventually(SOON, async || one.stats().handlers[0].unsent == 1).await;
        // Instances die with it, until it is a dead letter: whoever finds that announces it.
        let crashes = enqueue(&bus, 3, Does::Waits).await;
        resizer.begun.wait_until("the task begins", |begun| begun.contains(&3)).await;
        drop((one, first));
        let second = world.bus().await;
        let two = serve(&second, &resizer).await;
        let times = |count| move |begun: &[u64]| begun.iter().filter(|&&id| id == 3).count() == count;
        resizer.begun.wait_until("it begins again", times(2)).await;
        drop((two, second));
        let third = world.bus().await;
        let _three = serve(&third, &resizer).await;
        let announced = message(&mut failed).await;
        assert_eq!((announced.id, announced.reason.as_str(), announced.attempts), (crashes.id.clone(), "Crashed", 2));
        match crashes.result(&bus).within(SOON).await.unwrap_err() {
            ResultError::Dead { reason, error, .. } => {
                assert_eq!(reason, DeadReason::Crashed);
                assert_eq!(error, announced.error);
            }
            other => panic!("{other:?}"),
        }
    }

    async fn results_stay_within_their_bounds(world: World) {
        let (bus, resizer) = (world.bus().await, Resizer::new());
        let service = serve(&bus, &resizer).await;
        let tasks: Vec<Resize> = (0..3_000).map(|id| Resize { id, does: Does::Succeeds }).collect();
        let enqueued: Vec<_> = bus.enqueue_all(&tasks).await.into_iter().map(Result::unwrap).collect();
        let images = bus.queue::<Resize>();
        eventually(SOON, async || images.counts().await.unwrap().ended.completed == 3_000).await;
        let kept = images.counts().await.unwrap().results;
        assert!((900..=1_000).contains(&kept), "{kept} are kept of 1,000");
        let look = async |index: usize| {
            let enqueued: Enqueued<Resize> = enqueued[index].clone().of();
            // The first look after so many tasks takes longer than the last one may, which is all that there is with no time.
            enqueued.result(&bus).within(SOON).await
        };
        assert!(matches!(look(0).await, Err(ResultError::Gone { .. })));
        assert_eq!(look(2_999).await.unwrap().id, 2_999);
        service.shutdown().await.unwrap();
    }
}

/// A server that keeps what it has through a restart.
enum Lasting {
    Memory(Broker),
    Redis(RedisServer),
}

impl Lasting {
    fn url(&self) -> String {
        match self {
            Self::Memory(broker) => broker.url(),
            Self::Redis(server) => server.url(),
        }
    }

    async fn restart(&self) {
        match self {
            Self::Memory(broker) => {
                broker.stop();
                broker.start();
            }
            Self::Redis(server) => server.restart().await,
        }
    }
}

async fn a_result_survives_a_restart_of_the_server(server: Lasting) {
    let (bus, resizer) = (bus_at(&server.url()).await, Resizer::new());
    let asker = bus_at(&server.url()).await;
    let _service = serve(&bus, &resizer).await;
    let before = enqueue(&asker, 1, Does::Succeeds).await;
    assert_eq!(before.result(&asker).within(SOON).await.unwrap().id, 1);
    let meanwhile = enqueue(&asker, 2, Does::Waits).await;
    let waits = wait(&asker, &meanwhile.id);
    resizer.begun.wait_for(2).await;
    server.restart().await;
    resizer.gate.open();
    assert_eq!(waits.ended().await.unwrap().id, 2);
    assert_eq!(before.result(&asker).within(SOON).await.unwrap().id, 1);
    assert_eq!(bus_at(&server.url()).await.queue::<Resize>().result(meanwhile.id).await.unwrap().id, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_survives_a_restart_of_the_memory_server() {
    a_result_survives_a_restart_of_the_server(Lasting::Memory(Broker::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_survives_a_restart_of_redis_with_an_append_only_file() {
    let server = RedisServer::with_settings(&["appendonly yes", "appendfsync always"]).await;
    a_result_survives_a_restart_of_the_server(Lasting::Redis(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_inbox_is_told_with_the_rule_that_allows_it() {
    let server = RedisServer::with_settings(&["user anna on >secret ~* resetchannels &results:* +@all"]).await;
    let bus = bus_at(&format!("redis://anna:secret@127.0.0.1:{}", server.port())).await;
    let enqueued = enqueue(&bus, 1, Does::Succeeds).await;
    match enqueued.result(&bus).within(SOON).await.unwrap_err() {
        ResultError::Subscribe(error) => assert!(error.to_string().contains("ACL SETUSER anna"), "{error}"),
        other => panic!("{other:?}"),
    }
    // To look needs no inbox.
    let late = enqueued.result(&bus).within(Duration::ZERO).await.unwrap_err();
    assert!(matches!(late, ResultError::TimedOut { state: TaskState::Waiting, .. }), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_asks_the_server_nothing_meanwhile() {
    let server = RedisServer::start().await;
    let bus = bus_at(&server.url()).await;
    let enqueued = enqueue(&bus, 1, Does::Succeeds).await;
    let waits = wait(&bus, &enqueued.id);
    let calls = async || {
        let stats: String = server.command(&["INFO", "commandstats"]).await;
        let scripts = stats.lines().filter(|line| {
            ["cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall"].iter().any(|name| line.starts_with(name))
        });
        let of = |line: &str| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
        scripts.filter_map(of).sum::<u64>()
    };
    // The enqueueing, and the one question.
    let mut settled = 0;
    eventually(SOON, async || {
        let before = std::mem::replace(&mut settled, calls().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        settled >= 2 && before == settled
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(calls().await, settled);
    let resizer = Resizer::new();
    let service = serve(&bus, &resizer).await;
    assert_eq!(waits.ended().await.unwrap().id, 1);
    service.shutdown().await.unwrap();
}

#[derive(Message, Serialize, Deserialize)]
#[queue("results:invoices", results = "1h")]
#[reply(u64)]
struct SendInvoice {
    order: u64,
}

#[handler(once = order, timeout = "10s")]
async fn send_invoice(task: SendInvoice) -> u64 {
    task.order
}

#[tokio::test]
async fn a_task_that_was_done_before_under_the_key_of_another_one_has_no_reply() {
    let bus = Bus::connect("memory:").await.unwrap();
    let service = bus.serve(routes![send_invoice]).await.unwrap();
    let result = async || SendInvoice { order: 7 }.enqueue(&bus).await.unwrap().result(&bus).within(SOON).await;
    assert_eq!(result().await.unwrap(), 7);
    assert!(matches!(result().await, Err(ResultError::NoReply { .. })));
    service.shutdown().await.unwrap();
}
