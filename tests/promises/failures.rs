//! A handler that fails, panics or runs past its timeout is counted, and the next message is handled.

use std::{fmt, future::pending};

use tidings::{HandlerStats, Service, router};
use tidings_tests::{Recorder, eventually, on_both};

use crate::support::{News, SOON, Step, handler};

/// An error that is none of `std::error::Error`, only displayed.
struct Unlucky(u64);

impl fmt::Display for Unlucky {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is unlucky", self.0)
    }
}

/// Does what the number says: see `n`.
struct Troubled {
    seen: Recorder<u64>,
}

const FAIL: u64 = 1;
const FAIL_LATER: u64 = 2;
const PANIC: u64 = 3;
const PANIC_LATER: u64 = 4;
const HANG: u64 = 5;

impl Troubled {
    async fn act(&self, n: u64) -> Result<(), Unlucky> {
        match n {
            FAIL => return Err(Unlucky(n)),
            FAIL_LATER => {
                tokio::task::yield_now().await;
                return Err(Unlucky(n));
            }
            PANIC => panic!("a handler of a test panics, as it should"),
            PANIC_LATER => {
                tokio::task::yield_now().await;
                panic!("a handler of a test panics, as it should");
            }
            HANG => pending().await,
            _ => {}
        }
        self.seen.record(n);
        Ok(())
    }
}

#[router]
impl Troubled {
    #[handler(concurrency = 1, timeout = "100ms")]
    async fn step(&self, step: Step) -> Result<(), Unlucky> {
        self.act(step.n).await
    }
}

struct Spawned {
    troubled: Troubled,
}

#[router]
impl Spawned {
    #[handler(spawn, concurrency = 1, timeout = "100ms")]
    async fn step(&self, step: Step) -> Result<(), Unlucky> {
        self.troubled.act(step.n).await
    }

    #[handler]
    async fn news(&self, news: News) -> Result<(), Box<dyn std::error::Error>> {
        self.troubled.seen.record(news.n);
        Err("no good news".into())
    }
}

async fn counted(service: &Service, name: &str, total: u64) -> HandlerStats {
    let sum = |stats: HandlerStats| stats.handled + stats.failed + stats.panicked + stats.timed_out;
    eventually(SOON, async || sum(handler(service, name)) == total).await;
    handler(service, name)
}

on_both! {
    async fn trouble_is_counted_and_the_next_message_handled(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Troubled { seen: seen.clone() }).await.unwrap();
        for n in [10, FAIL, 11, FAIL_LATER, 12, PANIC, 13, PANIC_LATER, 14, HANG, 15, HANG, PANIC, FAIL, 16] {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        let stats = counted(&service, "step", 15).await;
        assert_eq!(seen.all(), [10, 11, 12, 13, 14, 15, 16]);
        assert_eq!((stats.handled, stats.failed, stats.panicked, stats.timed_out), (7, 3, 3, 2));
        service.shutdown().await.unwrap();
    }

    async fn trouble_in_a_spawned_handler_is_counted_too(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Spawned { troubled: Troubled { seen: seen.clone() } }).await.unwrap();
        for n in [10, PANIC, 11, FAIL, 12, HANG, 13, PANIC_LATER, 14] {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        let stats = counted(&service, "step", 9).await;
        assert_eq!(seen.all(), [10, 11, 12, 13, 14]);
        assert_eq!((stats.handled, stats.failed, stats.panicked, stats.timed_out), (5, 1, 2, 1));
        service.shutdown().await.unwrap();
    }

    async fn trouble_in_one_handler_is_no_trouble_for_another(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Spawned { troubled: Troubled { seen: seen.clone() } }).await.unwrap();
        for n in 100..120 {
            Step { line: n, n: PANIC }.publish(&bus).await.unwrap();
            News { n }.publish(&bus).await.unwrap();
        }
        assert_eq!(seen.wait_for(20).await, (100..120).collect::<Vec<_>>());
        assert_eq!(counted(&service, "news", 20).await.failed, 20);
        assert_eq!(counted(&service, "step", 20).await.panicked, 20);
    }
}
