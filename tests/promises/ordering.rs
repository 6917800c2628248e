//! One channel is handled in order and one at a time; different channels are handled concurrently.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::try_join_all;
use tidings::{Event, router};
use tidings_tests::{Recorder, on_each};
use tokio::sync::Barrier;

use crate::support::{Gauge, Step, event};

const LINES: u64 = 8;
const STEPS: u64 = 500;

/// Waits a little, differently for each message, so that what may overtake does.
struct Unsteady {
    seen: Recorder<(u64, u64)>,
    lines: Vec<Gauge>,
}

#[router]
impl Unsteady {
    #[handler]
    async fn step(&self, step: Step) {
        let inside = self.lines[step.line as usize].enter();
        for _ in 0..(step.line + step.n) % 4 {
            tokio::task::yield_now().await;
        }
        self.seen.record((step.line, step.n));
        drop(inside);
    }
}

struct Meeting {
    barrier: Arc<Barrier>,
    met: Recorder<u64>,
}

#[router]
impl Meeting {
    #[handler]
    async fn step(&self, step: Step) {
        self.barrier.wait().await;
        self.met.record(step.line);
    }
}

/// Panics unless each line's steps came complete and in order.
fn assert_in_order(seen: &[(u64, u64)]) {
    let mut next = HashMap::new();
    for &(line, n) in seen {
        let expected = next.entry(line).or_insert(0);
        assert_eq!(n, *expected, "line {line}");
        *expected += 1;
    }
    assert_eq!(seen.len() as u64, LINES * STEPS);
}

on_each! {
    async fn each_channel_is_handled_in_order_and_one_at_a_time(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        let seen = Recorder::new();
        let lines: Vec<_> = (0..LINES).map(|_| Gauge::default()).collect();
        let service = bus.serve(Unsteady { seen: seen.clone(), lines: lines.clone() }).await.unwrap();
        for n in 0..STEPS {
            for line in 0..LINES {
                Step { line, n }.publish(&publisher).await.unwrap();
            }
        }
        assert_in_order(&seen.wait_for((LINES * STEPS) as usize).await);
        for line in &lines {
            assert_eq!(line.most(), 1, "a channel was handled concurrently");
        }
        service.shutdown().await.unwrap();
        assert_eq!(seen.len() as u64, LINES * STEPS);
    }

    async fn a_subscription_yields_each_channel_in_order(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let mut seen = Vec::new();
        for n in 0..STEPS {
            for line in 0..LINES {
                Step { line, n }.publish(&publisher).await.unwrap();
            }
        }
        while (seen.len() as u64) < LINES * STEPS {
            match event(&mut steps).await {
                Event::Message(step) => seen.push((step.line, step.n)),
                other => panic!("{other:?}"),
            }
        }
        assert_in_order(&seen);
    }

    async fn publishes_that_are_polled_one_after_the_other_arrive_in_that_order(world: World) {
        let bus = world.bus().await;
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let sent: Vec<_> = (0..STEPS).flat_map(|n| (0..LINES).map(move |line| Step { line, n })).collect();
        try_join_all(sent.iter().map(|step| step.publish(&bus).into_future())).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < sent.len() {
            seen.push(crate::support::message(&mut steps).await);
        }
        assert_eq!(seen, sent);
    }

    async fn different_channels_are_handled_concurrently(world: World) {
        let bus = world.bus().await;
        let met = Recorder::new();
        let barrier = Arc::new(Barrier::new(16));
        let _service = bus.serve(Meeting { barrier, met: met.clone() }).await.unwrap();
        // None of them ends before all of them run.
        for line in 0..16 {
            Step { line, n: 0 }.publish(&bus).await.unwrap();
        }
        met.wait_for(16).await;
    }

    async fn several_publishers_keep_their_own_order(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let lines = (0..LINES).map(|_| Gauge::default()).collect();
        let _service = bus.serve(Unsteady { seen: seen.clone(), lines }).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        // Four publishers on one channel, each with a hundred numbers of its own.
        for publisher in 0..4 {
            let bus = world.bus().await;
            tasks.spawn(async move {
                for n in 0..100 {
                    Step { line: 0, n: publisher * 100 + n }.publish(&bus).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let seen = seen.wait_for(400).await;
        for publisher in 0..4 {
            let own: Vec<_> = seen.iter().map(|(_, n)| *n).filter(|n| n / 100 == publisher).collect();
            assert_eq!(own, (publisher * 100..publisher * 100 + 100).collect::<Vec<_>>());
        }
    }
}
