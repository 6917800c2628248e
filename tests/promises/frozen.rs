//! A server that hangs is noticed by its silence, no call waits for it beyond its timeout, and everything recovers.

use std::{
    future::{Future, IntoFuture},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{
    Batch, BatchError, Bus, EnqueueError, Event, GapCause, Message, PublishError, Status, SubscribeError, router,
};
use tidings_tests::{Recorder, World, eventually, on_each};

use crate::support::{News, SOON, Step, event, message};

const INTERVAL: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_millis(400);
/// What a loaded machine may add to a timeout.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Message, Serialize, Deserialize)]
#[queue("frozen:chores")]
struct Chore {
    n: u64,
}

fn queued(error: BatchError) -> EnqueueError {
    match error {
        BatchError::NotEnqueued(error) => error,
        error => panic!("{error}"),
    }
}

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }

    #[handler]
    async fn step(&self, step: Step) {
        self.seen.record(step.n);
    }
}

async fn impatient(world: &World) -> Bus {
    let bus = world.bus_with(|builder| {
        builder.ping_interval(INTERVAL).ping_deadline(DEADLINE).command_timeout(TIMEOUT).connect_timeout(TIMEOUT)
    });
    bus.await
}

/// The result of a call, which must come within its timeout.
async fn in_time<T>(call: impl IntoFuture<Output = T>) -> T {
    let start = Instant::now();
    let result = tokio::time::timeout(TIMEOUT + SLACK, call.into_future()).await;
    result.unwrap_or_else(|_| panic!("a call took {:?}, and its timeout is {TIMEOUT:?}", start.elapsed()))
}

on_each! {
    #[one_server("it is frozen")]
    async fn a_frozen_server_is_noticed_within_interval_and_deadline(world: World) {
        let bus = impatient(&world).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let seen = Recorder::new();
        let service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
        seen.wait_for(1).await;
        for _ in 0..2 {
            let gaps = service.stats().gaps;
            world.freeze();
            let start = Instant::now();
            eventually(SOON, async || matches!(bus.status(), Status::Reconnecting { cause: GapCause::Timeout, .. })).await;
            assert!(start.elapsed() < INTERVAL + DEADLINE + SLACK, "{:?}", start.elapsed());
            assert!(start.elapsed() > DEADLINE, "noticed after {:?}: too early", start.elapsed());
            world.thaw();
            eventually(SOON, async || bus.status() == Status::Connected).await;
            match event(&mut news).await {
                Event::Gap(gap) => assert_eq!(gap.cause, GapCause::Timeout),
                other => panic!("expected a gap, not {other:?}"),
            }
            eventually(SOON, async || service.stats().gaps > gaps).await;
            eventually(SOON, async || News { n: 2 }.publish(&bus).await.is_ok()).await;
            assert_eq!(message(&mut news).await.n, 2);
        }
    }

    #[one_server("it is frozen")]
    async fn no_call_waits_for_a_frozen_server_beyond_its_timeout(world: World) {
        let bus = impatient(&world).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        world.freeze();
        // Before the silence is noticed, and long after.
        for _ in 0..4 {
            let error = in_time(News { n: 1 }.publish(&bus)).await.unwrap_err();
            // It may have been sent before the silence was noticed.
            assert!(error.is_retryable() || matches!(error, PublishError::TimedOut { .. }), "{error}");
            let error = in_time(bus.subscribe(Step::any())).await.unwrap_err();
            assert!(matches!(&error, SubscribeError::TimedOut { channel, .. } if channel == "line:*"), "{error}");
            let error = in_time(bus.serve(Listener { seen: Recorder::new() })).await.unwrap_err();
            assert!(matches!(error, SubscribeError::TimedOut { .. }), "{error}");
        }
        world.thaw();
        eventually(SOON, async || bus.status() == Status::Connected).await;
        eventually(SOON, async || News { n: 7 }.publish(&bus).await.is_ok()).await;
        while !matches!(event(&mut news).await, Event::Message(news) if news.n == 7) {}
        assert_eq!(world.patterns().await, 0);
    }

    #[one_server("it is frozen")]
    async fn a_publish_that_a_frozen_server_does_not_answer_says_that_its_outcome_is_unknown(world: World) {
        let bus = impatient(&world).await;
        world.freeze();
        let error = in_time(News { n: 1 }.publish(&bus)).await.unwrap_err();
        assert!(matches!(error, PublishError::TimedOut { template: "news", timeout: TIMEOUT, .. }), "{error}");
        assert!(!error.is_retryable(), "it may have been published");
        world.thaw();
    }

    #[one_server("it is frozen")]
    async fn a_large_batch_for_a_frozen_server_ends_within_one_timeout(world: World) {
        let bus = impatient(&world).await;
        world.freeze();
        let news: Vec<News> = (0..35_000).map(|n| News { n }).collect();
        let results = in_time(bus.publish_all(&news)).await;
        assert_eq!(results.len(), 35_000);
        for error in results.into_iter().map(Result::unwrap_err) {
            assert!(error.is_retryable() || matches!(error, PublishError::TimedOut { .. }), "{error}");
        }
        world.thaw();
        eventually(SOON, async || News { n: 1 }.publish(&bus).await.is_ok()).await;
    }

    #[one_server("it is frozen")]
    async fn a_large_batch_of_tasks_for_a_frozen_server_ends_within_one_timeout(world: World) {
        let bus = impatient(&world).await;
        // The first tells the queue of its part: those behind it go another way.
        Chore { n: 0 }.enqueue(&bus).await.unwrap();
        for delay in [None, Some(Duration::from_secs(60))] {
            world.freeze();
            let chores: Vec<Chore> = (0..25_000).map(|n| Chore { n }).collect();
            let enqueue = async || match delay {
                None => bus.enqueue_all(&chores).await,
                Some(delay) => {
                    let late = chores.iter().map(|chore| chore.enqueue(&bus).delay(delay));
                    let batch = late.fold(bus.batch().enqueue_all::<Chore>([]), Batch::push_enqueueing);
                    let sent = batch.await.into_iter();
                    sent.map(|sent| sent.map(|sent| sent.enqueued().unwrap().clone()).map_err(queued)).collect()
                }
            };
            let results = in_time(enqueue()).await;
            assert_eq!(results.len(), 25_000);
            for error in results.into_iter().map(Result::unwrap_err) {
                let is_told = matches!(error, EnqueueError::Undecided { .. } | EnqueueError::NotConnected { .. });
                assert!(is_told, "{error}");
            }
            world.thaw();
            eventually(SOON, async || Chore { n: 1 }.enqueue(&bus).await.is_ok()).await;
        }
    }

    #[one_server("it is frozen")]
    async fn an_atomic_batch_for_a_frozen_server_ends_within_one_timeout(world: World) {
        let bus = impatient(&world).await;
        bus.batch().push(&News { n: 1 }).atomic().await.unwrap();
        world.freeze();
        let error = in_time(bus.batch().push(&News { n: 1 }).atomic()).await.unwrap_err();
        assert!(matches!(error, PublishError::NotConnected { .. } | PublishError::Undecided { .. }), "{error}");
        world.thaw();
        eventually(SOON, async || bus.batch().push(&News { n: 1 }).atomic().await.is_ok()).await;
    }

    #[one_server("it is frozen")]
    async fn a_server_that_was_frozen_for_a_moment_loses_nothing(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        world.freeze();
        let first = News { n: 1 };
        let mut publish = pin!(first.publish(&bus).into_future());
        let polled = std::future::poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        world.thaw();
        publish.await.unwrap();
        News { n: 2 }.publish(&bus).await.unwrap();
        assert_eq!((message(&mut news).await.n, message(&mut news).await.n), (1, 2));
        assert_eq!(news.stats().gaps, 0);
    }

    #[one_server("it is frozen")]
    async fn what_a_server_does_late_reaches_nobody_who_has_given_it_up(world: World) {
        let (impatient, patient) = (impatient(&world).await, world.bus().await);
        let mut news = impatient.subscribe(News::channel()).await.unwrap();
        world.freeze();
        let first = News { n: 1 };
        let mut publish = pin!(first.publish(&patient).into_future());
        let polled = std::future::poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        eventually(SOON, async || impatient.status() != Status::Connected).await;
        world.thaw();
        publish.await.unwrap();
        eventually(SOON, async || impatient.status() == Status::Connected).await;
        let gap = event(&mut news).await;
        assert!(matches!(&gap, Event::Gap(gap) if gap.cause == GapCause::Timeout), "{gap:?}");
        eventually(SOON, async || News { n: 2 }.publish(&patient).await.unwrap().receivers == Some(1)).await;
        assert_eq!(message(&mut news).await.n, 2);
    }

    async fn a_silent_server_that_answers_is_kept(world: World) {
        let interval = Duration::from_millis(20);
        let bus = world.bus_with(|builder| builder.ping_interval(interval).ping_deadline(SOON)).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        // Nothing is published while several intervals pass.
        let start = Instant::now();
        eventually(SOON, async || world.subscriptions("news").await == 1 && start.elapsed() > 10 * interval).await;
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
    }
}
