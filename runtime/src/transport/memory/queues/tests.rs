//! What only the memory broker has: it is stopped and frozen, its clock is moved, and instances crash where a test wants it.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    config::Config,
    error::{EnqueueError, QueueError},
    transport::{
        any::AnyTransport,
        durable::{
            any::AnyReader,
            contract::{QueueSpec, Take},
            look::DeadLetterBounds,
            record::Record,
            task::{Due, Entry, NewTask, QueueName, Settled, Settlement, Verdict, Why},
        },
        memory::{broker::MemoryBroker, queues::store::CrashPoint},
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(50);

struct World {
    broker: Arc<MemoryBroker>,
    transport: AnyTransport,
    spec: QueueSpec,
}

async fn world(name: &str) -> World {
    let broker = MemoryBroker::named(name);
    let config = Config { command_timeout: SOON, ..Config::default() };
    let transport = AnyTransport::connect(&format!("memory:{name}"), &config).await.unwrap();
    let spec = QueueSpec {
        name: QueueName { template: "jobs", namespace: "".into() },
        parts: vec!["jobs".into()],
        lease: LEASE,
        at_most_once: false,
        dead: DeadLetterBounds::DEFAULT,
        results: None,
    };
    World { broker, transport, spec }
}

impl World {
    fn task(&self, id: &str) -> NewTask {
        NewTask {
            queue: self.spec.name.clone(),
            channel: "jobs".to_owned(),
            name: "Job",
            version: 1,
            id: id.to_owned(),
            payload: Vec::new(),
            due: Due::Now,
            expires_in: None,
            unique: None,
            max_length: None,
        }
    }

    async fn enqueue(&self, id: &str) -> Result<(), EnqueueError> {
        self.transport.enqueue(vec![self.task(id)], false).await.pop().unwrap().map(drop)
    }

    fn reader(&self, instance: &str) -> AnyReader {
        self.transport.reader(self.spec.clone(), instance.into())
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled, QueueError> {
        Ok(self.transport.settle(&self.spec.name, vec![settlement]).await?[0])
    }

    async fn waiting(&self) -> u64 {
        self.transport.counts(&self.spec).await.unwrap().parts["jobs"].waiting
    }
}

async fn take(reader: &mut AnyReader) -> Result<Vec<String>, QueueError> {
    Ok(taken(reader).await?.iter().map(|entry| entry.id.to_string()).collect())
}

async fn taken(reader: &mut AnyReader) -> Result<Vec<Entry>, QueueError> {
    Ok(reader.take(Take { order: vec![(0, 1)], want: 1, ..Take::default() }).await?.entries)
}

fn done(entry: &Entry, follow_ups: Vec<NewTask>) -> Settlement {
    settlement(entry, Verdict::Done { follow_ups })
}

fn settlement(entry: &Entry, verdict: Verdict) -> Settlement {
    Settlement { at: entry.at.clone(), id: Arc::clone(&entry.id), unique: None, once: None, verdict, beside: None }
}

fn again(entry: &Entry) -> Settlement {
    let record = Record { owners: entry.token(), ..Record::default() };
    settlement(entry, Verdict::Again { why: Why::Crashed, after: None, record })
}

#[tokio::test]
async fn a_stopped_broker_refuses_and_keeps_what_it_has() {
    let world = world("queues-stopped").await;
    let mut reader = world.reader("one");
    world.enqueue("a").await.unwrap();
    assert_eq!(take(&mut reader).await.unwrap(), ["a"]);
    let waker = reader.waker();
    let wait = reader.wait(HOUR);
    let stop = async {
        tokio::task::yield_now().await;
        world.broker.stop();
    };
    let (waited, ()) = tokio::join!(wait, stop);
    assert!(matches!(waited, Err(QueueError::NotConnected { .. })), "{waited:?}");
    assert!(matches!(world.enqueue("b").await, Err(EnqueueError::NotConnected { .. })));
    assert!(matches!(take(&mut reader).await, Err(QueueError::NotConnected { .. })));
    let kept = world.transport.keeper().keep(&world.spec.name, "one", "", &[]).await;
    assert!(matches!(kept, Err(QueueError::NotConnected { .. })));
    world.broker.start();
    world.enqueue("c").await.unwrap();
    assert_eq!(take(&mut reader).await.unwrap(), ["c"]);
    assert_eq!(reader.connections(), 2, "an answer may have been lost");
    let pending = world.transport.keeper().pending(&world.spec, "one").await.unwrap();
    assert_eq!(pending.len(), 2);
    drop(waker);
}

#[tokio::test]
async fn a_frozen_broker_does_what_it_was_asked_when_it_goes_on() {
    let world = world("queues-frozen").await;
    let mut reader = world.reader("one");
    assert_eq!(take(&mut reader).await.unwrap(), [""; 0]);
    world.broker.freeze();
    assert!(matches!(world.enqueue("a").await, Err(EnqueueError::Undecided { .. })));
    let late = take(&mut reader).await;
    assert!(matches!(late, Err(QueueError::TimedOut { .. })), "{late:?}");
    world.broker.start();
    // It was taken by whoever does not wait for it any more.
    assert_eq!(take(&mut reader).await.unwrap(), [""; 0]);
    assert_eq!(reader.connections(), 2);
    let pending = world.transport.keeper().pending(&world.spec, "one").await.unwrap();
    assert_eq!(pending.len(), 1);
    // What was asked of a broker that is stopped then went with it.
    world.broker.freeze();
    let (enqueued, ()) = tokio::join!(world.enqueue("b"), async { world.broker.stop() });
    assert!(matches!(enqueued, Err(EnqueueError::Undecided { .. })), "{enqueued:?}");
    world.broker.start();
    assert_eq!(world.waiting().await, 0);
}

#[tokio::test]
async fn a_connection_that_was_cut_is_noticed_by_whoever_uses_it_and_made_anew() {
    let world = world("queues-cut").await;
    let mut reader = world.reader("one");
    assert_eq!((reader.connections(), take(&mut reader).await.unwrap().len()), (0, 0));
    for cut in 1..4 {
        world.broker.disconnect();
        world.enqueue("a").await.unwrap();
        let failed = take(&mut reader).await;
        assert!(matches!(failed, Err(QueueError::NotConnected { .. })), "{failed:?}");
        assert_eq!(take(&mut reader).await.unwrap(), ["a"]);
        assert_eq!(reader.connections(), cut + 1);
    }
    let cut = async {
        tokio::task::yield_now().await;
        world.broker.disconnect();
    };
    let (waited, ()) = tokio::join!(reader.wait(HOUR), cut);
    assert!(matches!(waited, Err(QueueError::NotConnected { .. })), "{waited:?}");
}

#[tokio::test]
async fn a_bus_that_is_closed_ends_its_readers() {
    let world = world("queues-closed").await;
    let mut reader = world.reader("one");
    let close = async {
        tokio::task::yield_now().await;
        world.transport.close("the test wanted it");
    };
    let (waited, ()) = tokio::join!(reader.wait(HOUR), close);
    assert!(matches!(waited, Err(QueueError::Closed { .. })), "{waited:?}");
    assert!(matches!(world.enqueue("a").await, Err(EnqueueError::Closed { .. })));
}

#[tokio::test]
async fn the_clock_moves_what_is_due_and_what_is_over_and_whoever_waits_looks_again() {
    let world = world("queues-clock").await;
    let delayed = NewTask { due: Due::In(HOUR), ..world.task("later") };
    world.transport.enqueue(vec![delayed], false).await.pop().unwrap().unwrap();
    let mut reader = world.reader("one");
    assert_eq!(take(&mut reader).await.unwrap(), [""; 0]);
    // Somebody is told of the task that has become the earliest.
    assert!(reader.wait(HOUR).await.unwrap().entries.is_empty());
    let advance = async {
        tokio::task::yield_now().await;
        world.broker.advance(HOUR);
    };
    let (woken, ()) = tokio::join!(timeout(LEASE, reader.wait(HOUR * 9)), advance);
    let entry = woken.unwrap().unwrap().entries.remove(0);
    assert!(entry.at.is_back && &*entry.id == "later");
    let advance = async {
        tokio::task::yield_now().await;
        world.broker.advance(Duration::from_millis(1));
    };
    let (woken, ()) = tokio::join!(timeout(LEASE, reader.wait(HOUR * 9)), advance);
    assert!(woken.unwrap().unwrap().entries.is_empty());
    let mut keeper = world.transport.keeper();
    keeper.keep(&world.spec.name, "one", "", std::slice::from_ref(&entry.at)).await.unwrap();
    world.broker.advance(LEASE - Duration::from_secs(5));
    assert!(keeper.overdue(&world.spec, Duration::MAX, 9).await.unwrap().entries.is_empty());
    world.broker.advance(Duration::from_secs(6));
    let overdue = keeper.overdue(&world.spec, Duration::MAX, 9).await.unwrap().entries;
    assert_eq!((overdue.len(), overdue[0].has_died), (1, true));
}

#[tokio::test]
async fn a_lease_and_a_heartbeat_are_over_one_millisecond_after_their_time() {
    let world = world("queues-over").await;
    world.enqueue("a").await.unwrap();
    let entry = taken(&mut world.reader("one")).await.unwrap().remove(0);
    let (name, millis) = (&world.spec.name, LEASE.as_millis() as u64);
    world.broker.with_queues(|store, now| {
        store.keep(name, "one", "", std::slice::from_ref(&entry.at), now).unwrap();
        store.keep(name, "one", "", &[], now + 1).unwrap();
        let mut has_died = |now| {
            let overdue = store.queue(name).overdue(LEASE, Duration::MAX, 9, now);
            overdue.entries.first().map(|found| found.has_died)
        };
        assert_eq!([0, 1, 2].map(|late| has_died(now + millis + late)), [None, Some(false), Some(true)]);
        for (late, settled) in [(0, Settled::Stale), (1, Settled::Counted)] {
            let now = now + millis + late;
            assert_eq!(store.settle(name, vec![again(&entry)], Some(LEASE), now).unwrap(), [settled]);
        }
    });
}

#[tokio::test]
async fn an_instance_crashes_where_the_test_wants_it() {
    for (name, point) in [
        ("queues-crash-1", CrashPoint::BeforeHandler),
        ("queues-crash-2", CrashPoint::BeforeAcknowledgement),
        ("queues-crash-3", CrashPoint::AfterFollowUps),
    ] {
        let world = world(name).await;
        world.enqueue("a").await.unwrap();
        let (mut one, mut two) = (world.reader("one"), world.reader("two"));
        let (mut keeper, mut other) = (world.transport.keeper(), world.transport.keeper());
        keeper.keep(&world.spec.name, "one", "", &[]).await.unwrap();
        world.broker.with_queues(|store, _| store.crash_at(point));
        let first = taken(&mut one).await;
        if point == CrashPoint::BeforeHandler {
            assert!(first.is_err(), "{first:?}");
        } else {
            let follow_up = NewTask { id: "b".to_owned(), ..world.task("b") };
            assert!(world.settle(done(&first.unwrap()[0], vec![follow_up])).await.is_err());
        }
        // Nothing of it reaches the broker any more.
        assert!(take(&mut one).await.is_err() && one.wait(HOUR).await.is_err());
        assert!(keeper.keep(&world.spec.name, "one", "", &[]).await.is_err());
        assert!(keeper.overdue(&world.spec, Duration::MAX, 9).await.is_err());
        world.broker.advance(LEASE * 2);
        other.keep(&world.spec.name, "two", "", &[]).await.unwrap();
        let overdue = other.overdue(&world.spec, Duration::MAX, 9).await.unwrap().entries;
        if point == CrashPoint::AfterFollowUps {
            assert!(overdue.is_empty());
            assert_eq!(take(&mut two).await.unwrap(), ["b"]);
        } else {
            assert!(overdue[0].has_died);
            let settled = other.reclaim(&world.spec, vec![again(&overdue[0].entry)]).await.unwrap();
            assert_eq!(settled, [Settled::Counted]);
            assert_eq!(take(&mut two).await.unwrap(), ["a"]);
        }
        assert_eq!(take(&mut two).await.unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn an_instance_that_waits_crashes_too() {
    let world = world("queues-crash-4").await;
    world.broker.with_queues(|store, _| store.crash_at(CrashPoint::BeforeHandler));
    let mut reader = world.reader("one");
    let (waited, enqueued) = tokio::join!(reader.wait(HOUR), world.enqueue("a"));
    assert!(waited.is_err() && enqueued.is_ok(), "{waited:?} {enqueued:?}");
    assert_eq!(world.waiting().await, 0, "it has the task");
    let mut two = world.reader("two");
    world.enqueue("b").await.unwrap();
    assert_eq!(take(&mut two).await.unwrap(), ["b"]);
}
