//! A batch of messages and tasks: a result for each, or all of it or nothing.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tidings::{
    BatchError, Bus, BusBuilder, Delivery, EnqueueError, Message, PublishError, Sent, Subscription, TaskState, router,
};
use tidings_tests::{Cluster, Recorder, RedisServer, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{News, SOON, message, messages, received};

const HOUR: Duration = Duration::from_secs(3_600);

/// Work of a number.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("batches:jobs", payload_limit = 400)]
struct Job {
    n: u64,
    text: String,
}

/// Work of another queue, which holds little.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("batches:notes:<book: String>", bound, max_length = 2)]
struct Note {
    n: u64,
}

fn job(n: u64) -> Job {
    Job { n, text: String::new() }
}

fn too_large() -> Job {
    Job { n: 0, text: "x".repeat(1_000) }
}

async fn waiting(bus: &Bus) -> (u64, u64) {
    let notes = bus.queue::<Note>().on(Note::channel("a"));
    (bus.queue::<Job>().counts().await.unwrap().outstanding(), notes.counts().await.unwrap().outstanding())
}

/// Nothing of what came before this has arrived.
async fn hears_only(news: &mut Subscription<News>, n: u64, bus: &Bus) {
    News { n }.publish(bus).await.unwrap();
    assert_eq!(message(news).await, News { n });
}

fn hasty(builder: BusBuilder) -> BusBuilder {
    builder.command_timeout(Duration::from_millis(500))
}

/// Tells its number, headers, and when it came.
struct Worker {
    done: Recorder<(u64, Option<String>, Option<String>, Instant)>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "10s")]
    async fn job(&self, job: Job, delivery: &Delivery) {
        let header = |name| delivery.headers().get(name).map(str::to_owned);
        self.done.record((job.n, header("tenant"), header("own"), Instant::now()));
    }
}

on_each! {
    async fn each_message_and_task_has_a_result_of_its_own_in_order(world: World) {
        let bus = world.bus_in("shop", |builder| builder).await;
        let mut news = bus.subscribe(News::any()).await.unwrap();
        let (first, second) = (job(1), job(2));
        let batch = bus
            .batch()
            .push(&News { n: 1 })
            .enqueue(&first)
            .enqueue(&too_large())
            .push_all(&[News { n: 2 }, News { n: 3 }])
            .push_enqueueing(second.enqueue(&bus).deduplicate("second", HOUR))
            .push_enqueueing(second.enqueue(&bus).deduplicate("second", HOUR))
            .enqueue_to(Note::channel("a"), &Note { n: 1 })
            .enqueue_to(Note::channel("a"), &Note { n: 2 })
            .enqueue_to(Note::channel("a"), &Note { n: 3 })
            .push(&News { n: 4 });
        assert_eq!(batch.len(), 11);
        let results = batch.await;
        let receivers = |at: usize| results[at].as_ref().unwrap().receipt().map(|receipt| receipt.receivers);
        for at in [0, 3, 4, 10] {
            assert_eq!(receivers(at), Some(world.receivers(1)), "{at}: {results:?}");
        }
        let enqueued = |at: usize| results[at].as_ref().unwrap().enqueued().unwrap().clone();
        assert!(matches!(&results[2], Err(BatchError::NotEnqueued(EnqueueError::PayloadTooLarge { .. }))), "{results:?}");
        assert_eq!((enqueued(1).was_there, enqueued(5).was_there), (None, None));
        assert_eq!((enqueued(6).was_there, enqueued(6).id), (Some(TaskState::Waiting), enqueued(5).id));
        assert!(matches!(&results[9], Err(BatchError::NotEnqueued(EnqueueError::QueueFull { .. }))), "{results:?}");
        assert_eq!(messages(&mut news, 4).await, (1..=4).map(|n| News { n }).collect::<Vec<_>>());
        assert_eq!(waiting(&bus).await, (2, 2));
        assert!(bus.queue::<Job>().find(&enqueued(1).id).await.unwrap().is_some());
        assert!(bus.batch().with_tasks().await.is_empty());
    }

    async fn an_atomic_batch_of_messages_and_tasks_is_sent_whole(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::any()).await.unwrap();
        for round in 1..=3 {
            let (first, unique) = (job(1), job(2));
            let batch = bus
                .batch()
                .enqueue_all(&[first.clone(), first])
                .push(&News { n: 1 })
                .push_enqueueing(unique.enqueue(&bus).delay(HOUR).deduplicate("unique", HOUR))
                .push(&News { n: 2 });
            let sent = batch.atomic().await.unwrap();
            let receivers: Vec<_> = sent.iter().map(|sent| sent.receipt().map(|receipt| receipt.receivers)).collect();
            let one = Some(world.receivers(1));
            assert_eq!(receivers, [None, None, one, None, one]);
            // One that was there is no refusal.
            let was_there = sent[3].enqueued().unwrap().was_there;
            assert_eq!(was_there, (round > 1).then_some(TaskState::Delayed));
            assert_eq!(messages(&mut news, 2).await, [News { n: 1 }, News { n: 2 }]);
            assert_eq!(waiting(&bus).await, (2 * round + 1, 0));
        }
        // Either kind alone, and nothing at all.
        assert!(matches!(bus.batch().enqueue(&job(4)).atomic().await.unwrap()[..], [Sent::Queued(_)]));
        let alone = bus.batch().push(&News { n: 3 }).with_tasks().atomic().await.unwrap();
        assert!(matches!(alone[..], [Sent::Published(receipt)] if receipt.receivers == world.receivers(1)), "{alone:?}");
        assert!(bus.batch().with_tasks().atomic().await.unwrap().is_empty());
    }

    async fn an_atomic_batch_of_which_one_is_refused_sends_nothing(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::any()).await.unwrap();
        for n in 0..2 {
            Note { n }.enqueue_to(Note::channel("a"), &bus).await.unwrap();
        }
        let begun = || bus.batch().push(&News { n: 0 }).enqueue(&job(1));
        let full = begun().enqueue_to(Note::channel("a"), &Note { n: 3 }).push(&News { n: 0 }).atomic().await;
        let full = full.unwrap_err();
        if world.is_cluster() {
            // These queues are on different nodes.
            assert!(matches!(&full, BatchError::NotEnqueued(EnqueueError::SeveralSlots { .. })), "{full:?}");
        } else {
            let is_full = matches!(&full, BatchError::NotEnqueued(EnqueueError::QueueFull { max_length: 2, .. }));
            assert!(is_full && full.is_retryable(), "the one that was refused says why: {full:?}");
        }
        let large = begun().enqueue(&too_large()).atomic().await;
        assert!(matches!(&large, Err(BatchError::NotEnqueued(EnqueueError::PayloadTooLarge { .. }))), "{large:?}");
        let late = begun().header("tenant", "acme").atomic().await;
        assert!(matches!(&late, Err(BatchError::NotPublished(PublishError::Encode { .. }))), "{late:?}");
        hears_only(&mut news, 7, &bus).await;
        assert_eq!(waiting(&bus).await, (0, 2));
    }

    async fn headers_and_delays_go_with_the_tasks_of_a_batch(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::any()).await.unwrap();
        let done = Recorder::new();
        let service = bus.serve(Worker { done: done.clone() }).await.unwrap();
        for (round, is_atomic) in [false, true].into_iter().enumerate() {
            let (own, later) = (job(2), job(3));
            let start = Instant::now();
            let batch = bus
                .batch()
                .header("tenant", "acme")
                .header("own", "batch")
                .push_enqueueing(later.enqueue(&bus).delay(Duration::from_millis(400)))
                .push(&News { n: 1 })
                .push_enqueueing(own.enqueue(&bus).header("own", "task"))
                .enqueue(&job(1));
            match is_atomic {
                true => assert!(batch.atomic().await.is_ok()),
                false => assert!(batch.await.iter().all(Result::is_ok)),
            }
            assert_eq!(received(&mut news).await.delivery.headers().get("tenant"), Some("acme"));
            let mut all = done.wait_for(3 * (round + 1)).await.split_off(3 * round);
            assert_eq!((all[2].0, all[2].3 - start >= Duration::from_millis(400)), (3, true));
            all.sort_unstable();
            let (acme, own) = (Some("acme".to_owned()), |own: &str| Some(own.to_owned()));
            let headers: Vec<_> = all.into_iter().map(|(n, tenant, own, _)| (n, tenant, own)).collect();
            assert_eq!(headers, [(1, acme.clone(), own("batch")), (2, acme.clone(), own("task")), (3, acme, own("batch"))]);
        }
        // One that is set too late would be lost.
        let results = bus.batch().enqueue(&job(1)).header("tenant", "acme").enqueue(&job(2)).await;
        assert!(
            matches!(&results[..], [Err(BatchError::NotEnqueued(EnqueueError::Encode { .. })), Ok(_)]),
            "{results:?}"
        );
        service.shutdown().await.unwrap();
    }

    #[one_server("it is frozen")]
    async fn an_atomic_batch_without_an_answer_is_there_whole_or_not_at_all_and_says_so(world: World) {
        let bus = world.bus_with(hasty).await;
        let looks = world.bus().await;
        let mut news = looks.subscribe(News::any()).await.unwrap();
        // The connections are made.
        bus.batch().push(&News { n: 1 }).enqueue(&job(1)).atomic().await.unwrap();
        assert_eq!(message(&mut news).await, News { n: 1 });
        world.freeze();
        let late = bus.batch().push(&News { n: 2 }).enqueue(&job(2)).atomic().await;
        assert!(matches!(&late, Err(BatchError::NotEnqueued(EnqueueError::Undecided { .. }))), "{late:?}");
        world.thaw();
        eventually(SOON, async || looks.queue::<Job>().counts().await.is_ok()).await;
        News { n: 3 }.publish(&looks).await.unwrap();
        let mut heard = Vec::new();
        while heard.last() != Some(&3) {
            if let Ok(Some(tidings::Event::Message(news))) = tokio::time::timeout(SOON, news.next()).await {
                heard.push(news.n);
            }
        }
        let is_there = heard == [2, 3];
        assert!(is_there || heard == [3], "{heard:?}");
        assert_eq!(waiting(&looks).await.0, 1 + u64::from(is_there), "the task is there exactly if the message was");
    }

    #[one_server("it is stopped")]
    async fn a_batch_without_a_server_fails_each_of_it_in_time(world: World) {
        let bus = world.bus_with(hasty).await;
        world.stop();
        let results = bus.batch().push(&News { n: 1 }).enqueue(&job(1)).await;
        assert!(matches!(&results[..], [Err(BatchError::NotPublished(_)), Err(BatchError::NotEnqueued(_))]), "{results:?}");
        let whole = bus.batch().push(&News { n: 1 }).enqueue(&job(1)).atomic().await;
        assert!(matches!(&whole, Err(BatchError::NotEnqueued(error)) if error.is_retryable()), "{whole:?}");
        world.start().await;
        eventually(SOON, async || bus.batch().push(&News { n: 1 }).enqueue(&job(1)).atomic().await.is_ok()).await;
    }
}

/// What a server carries out may be known only to itself: the connection is cut while it has the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_whose_connection_is_lost_behind_it_is_undecided() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut news = bus.subscribe(News::any()).await.unwrap();
    bus.batch().push(&News { n: 1 }).enqueue(&job(1)).atomic().await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 1 });
    let _: String = server.command(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let mut sending = JoinSet::new();
    let sender = bus.clone();
    sending.spawn(async move { sender.batch().push(&News { n: 2 }).enqueue(&job(2)).atomic().await });
    let waits = async || {
        let clients: String = server.command(&["CLIENT", "LIST"]).await;
        let has_it = |line: &&str| line.contains("name=tidings-queue") && line.contains("flags=b");
        clients.lines().find(has_it).map(|line| line.split([' ', '=']).nth(1).unwrap().to_owned())
    };
    eventually(SOON, async || waits().await.is_some()).await;
    let _: u64 = server.command(&["CLIENT", "KILL", "ID", &waits().await.unwrap()]).await;
    let lost = sending.join_next().await.unwrap().unwrap();
    assert!(matches!(&lost, Err(BatchError::NotEnqueued(EnqueueError::Undecided { .. }))), "{lost:?}");
    let _: String = server.command(&["CLIENT", "UNPAUSE"]).await;
    // It was not carried out; with the second try the message and the task are there once.
    bus.batch().push(&News { n: 3 }).enqueue(&job(3)).atomic().await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 3 });
    assert_eq!(waiting(&bus).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_takes_no_part_of_an_atomic_batch() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut news = bus.subscribe(News::any()).await.unwrap();
    bus.batch().push(&News { n: 1 }).enqueue(&job(1)).atomic().await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 1 });
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = bus.batch().push(&News { n: 2 }).enqueue(&job(2)).atomic().await;
    assert!(matches!(&full, Err(BatchError::NotEnqueued(EnqueueError::ServerFull { .. }))), "{full:?}");
    // Where it need not be whole, the message goes through.
    let results = bus.batch().push(&News { n: 3 }).enqueue(&job(3)).await;
    assert!(
        matches!(&results[..], [Ok(Sent::Published(_)), Err(BatchError::NotEnqueued(EnqueueError::ServerFull { .. }))]),
        "{results:?}"
    );
    assert_eq!(message(&mut news).await, News { n: 3 });
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    bus.batch().push(&News { n: 4 }).enqueue(&job(4)).atomic().await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 4 });
    assert_eq!(waiting(&bus).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_with_a_message_that_access_rules_refuse_enqueues_nothing() {
    let server = RedisServer::start().await;
    for rules in ["+@all ~* &news &replies", "+@all -publish ~* &*"] {
        let mut command = vec!["ACL", "SETUSER", "clerk", "reset", "on", ">x"];
        command.extend(rules.split(' '));
        let _: String = server.command(&command).await;
        let bus = Bus::connect(&server.url().replace("redis://", "redis://clerk:x@")).await.unwrap();
        let is_about_channels = rules.contains("&news");
        let refused = match is_about_channels {
            true => bus.batch().push(&News { n: 1 }).push(&crate::support::Step { line: 1, n: 1 }),
            false => bus.batch().push(&News { n: 1 }),
        };
        let refused = refused.enqueue(&job(1)).atomic().await;
        let rule = if is_about_channels { "ACL SETUSER clerk &news &line:1" } else { "ACL SETUSER clerk +publish" };
        assert!(
            matches!(&refused, Err(BatchError::NotPublished(PublishError::Refused { rule: found, .. })) if found == rule),
            "{refused:?}"
        );
        let looks = Bus::connect(&server.url()).await.unwrap();
        assert_eq!(looks.queue::<Job>().counts().await.unwrap().waiting(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_the_tasks_of_an_atomic_batch_are_of_one_queue() {
    let cluster = Cluster::shared().await;
    let bus = Bus::builder(cluster.url()).namespace("together").connect().await.unwrap();
    let there = Bus::builder(cluster.url()).namespace("together").connect().await.unwrap();
    let mut news = there.subscribe(News::any()).await.unwrap();
    let sent = bus.batch().push(&News { n: 1 }).enqueue(&job(1)).push(&News { n: 2 }).atomic().await.unwrap();
    assert!(sent[0].receipt().is_some_and(|receipt| receipt.receivers.is_none()), "{sent:?}");
    assert_eq!(messages(&mut news, 2).await, [News { n: 1 }, News { n: 2 }]);
    let several = bus.batch().push(&News { n: 3 }).enqueue(&job(2)).enqueue_to(Note::channel("a"), &Note { n: 1 });
    let several = several.atomic().await;
    assert!(matches!(&several, Err(BatchError::NotEnqueued(EnqueueError::SeveralSlots { .. }))), "{several:?}");
    hears_only(&mut news, 4, &bus).await;
    assert_eq!(waiting(&bus).await, (1, 0));
    // Where it need not be whole, each goes to its node.
    let apart = bus.batch().push(&News { n: 5 }).enqueue(&job(3)).enqueue_to(Note::channel("a"), &Note { n: 2 }).await;
    assert!(apart.iter().all(Result::is_ok), "{apart:?}");
    assert_eq!((message(&mut news).await, waiting(&bus).await), (News { n: 5 }, (2, 1)));
    assert!(news.next().now_or_never().is_none());
}
