//! Every duration of the API takes zero, a nanosecond and `Duration::MAX`, which means for ever.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Message, RequestError, ShutdownError, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, News, SOON, Step, handler};

const DURATIONS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

#[derive(Message, Serialize, Deserialize)]
#[channel("doubles")]
#[reply(u64)]
struct Double {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("brief:<n>")]
struct Brief {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("lasting:<n>")]
struct Lasting {
    n: u64,
}

struct Worker {
    gate: Gate,
    seen: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler]
    async fn double(&self, double: Double) -> u64 {
        double.n * 2
    }

    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }

    #[handler]
    async fn step(&self, step: Step) {
        self.gate.pass().await;
        self.seen.record(step.n);
    }

    #[handler(timeout = "1ms")]
    async fn brief(&self, brief: Brief) {
        self.gate.pass().await;
        self.seen.record(brief.n);
    }

    #[handler(timeout = "18446744073s")]
    async fn lasting(&self, lasting: Lasting) {
        self.gate.pass().await;
        self.seen.record(lasting.n);
    }
}

fn worker() -> (Worker, Gate, Recorder<u64>) {
    let (gate, seen) = (Gate::closed(), Recorder::new());
    (Worker { gate: gate.clone(), seen: seen.clone() }, gate, seen)
}

on_each! {
    async fn whoever_waits_for_an_answer_may_wait_for_any_time(world: World) {
        let bus = world.bus().await;
        let (worker, _, _) = worker();
        let _service = bus.serve(worker).await.unwrap();
        for timeout in DURATIONS {
            let is_long = timeout == Duration::MAX;
            match (Double { n: 4 }).request(&bus).timeout(timeout).await {
                Ok(reply) => assert_eq!(reply, 8),
                Err(error) => assert!(!is_long && matches!(error, RequestError::TimedOut { .. }), "{timeout:?}: {error}"),
            }
            match (Double { n: 4 }).request(&bus).timeout(timeout).collect(1).await {
                Ok(replies) => assert!(replies.len() == usize::from(is_long) || !is_long, "{timeout:?}"),
                Err(error) => assert!(!is_long && matches!(error, RequestError::TimedOut { .. }), "{timeout:?}: {error}"),
            }
            match (News { n: 1 }).publish(&bus).acknowledged_within(timeout).await {
                Ok(acknowledged) => assert_eq!(acknowledged.handlers, 1),
                Err(error) => assert!(!is_long && matches!(error, AcknowledgeError::TimedOut { .. }), "{timeout:?}: {error}"),
            }
        }
    }

    async fn a_handler_may_take_any_time(world: World) {
        let bus = world.bus().await;
        let (worker, gate, seen) = worker();
        let service = bus.serve(worker).await.unwrap();
        Brief { n: 1 }.publish(&bus).await.unwrap();
        Lasting { n: 2 }.publish(&bus).await.unwrap();
        eventually(SOON, async || handler(&service, "brief").timed_out == 1).await;
        eventually(SOON, async || handler(&service, "lasting").running == 1).await;
        gate.open();
        assert_eq!(seen.wait_for(1).await, [2]);
        service.shutdown().await.unwrap();
    }

    async fn a_shutdown_may_take_any_time(world: World) {
        for deadline in DURATIONS {
            world.settle().await;
            let bus = world.bus().await;
            let (worker, gate, seen) = worker();
            let service = bus.serve(worker).await.unwrap();
            Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
            News { n: 0 }.publish(&bus).await.unwrap();
            seen.wait_for(1).await;
            let mut shutdown = pin!(service.shutdown_within(deadline));
            if deadline == Duration::MAX {
                let first = std::future::poll_fn(|context| Poll::Ready(shutdown.as_mut().poll(context))).await;
                assert!(first.is_pending());
                eventually(SOON, async || world.subscriptions("news").await == 0).await;
                gate.open();
                shutdown.await.unwrap();
                assert_eq!(seen.all(), [0, 1]);
            } else {
                let result = shutdown.await;
                assert!(matches!(result, Err(ShutdownError::DeadlineMissed { abandoned: 1, .. })), "{deadline:?}: {result:?}");
            }
        }
    }

    async fn an_idle_service_ends_within_any_time_that_is_not_over_at_once(world: World) {
        for deadline in DURATIONS {
            let bus = world.bus().await;
            let (worker, _, _) = worker();
            match bus.serve(worker).await.unwrap().shutdown_within(deadline).await {
                Ok(()) => {}
                Err(error) => assert!(deadline != Duration::MAX, "{deadline:?}: {error}"),
            }
            let (worker, _, _) = self::worker();
            let service = bus.serve(worker).await.unwrap();
            let mut running = pin!(service.run_until_stopped_within(deadline));
            let first = std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await;
            assert!(first.is_pending());
        }
    }
}
