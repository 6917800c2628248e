//! A handler that fails, panics or runs past its timeout is counted, and the next message is handled.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{
    BusEvent, HandlerStats, Message, Service, ShutdownError,
    codec::{Codec, DecodeError, Expected, Inbound, Json, Outbound},
    router,
};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::{runtime, task::JoinSet};
use tower::layer::util::Identity;

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

/// JSON, but for a function that panics.
macro_rules! codecs_that_panic {
    ($($codec:ident: $decode:expr, $metadata:expr;)*) => {$(
        struct $codec;

        impl Codec for $codec {
            fn encode<T: Serialize>(outbound: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
                Json::encode(outbound, message, payload)
            }

            fn decode<'de, T: Deserialize<'de>>(
                expected: &Expected,
                payload: &'de [u8],
            ) -> Result<(T, Inbound<'de>), DecodeError> {
                assert!($decode, "a codec of a test panics, as it should");
                Json::decode(expected, payload)
            }

            fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
                assert!($metadata, "a codec of a test panics, as it should");
                Json::metadata(expected, payload)
            }
        }
    )*};
}

codecs_that_panic! {
    WithoutMetadata: true, false;
    WithoutValues: false, true;
    WithoutBoth: false, false;
}

#[derive(Message, Serialize, Deserialize)]
#[channel("envelopes:<n>")]
#[message(codec = WithoutMetadata)]
struct Envelope {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("values:<n>")]
#[message(codec = WithoutValues)]
struct Value {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("both:<n>")]
#[message(codec = WithoutBoth)]
#[reply(u64)]
struct Both {
    n: u64,
}

struct Unreadable {
    seen: Recorder<u64>,
}

#[router]
impl Unreadable {
    #[handler]
    async fn envelope(&self, envelope: Envelope) {
        self.seen.record(envelope.n);
    }

    #[handler]
    async fn value(&self, value: Value) {
        self.seen.record(value.n);
    }

    #[handler(timeout = "10s")]
    async fn both(&self, both: Both) -> u64 {
        self.seen.record(both.n);
        both.n
    }

    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }
}

/// What its handlers hold while they wait panics when it is dropped.
struct Fragile {
    seen: Recorder<u64>,
}

struct Glass(bool);

impl Drop for Glass {
    fn drop(&mut self) {
        assert!(!self.0, "a value of a test panics when it is dropped, as it should");
    }
}

#[router]
impl Fragile {
    #[handler(concurrency = 1, timeout = "20ms")]
    async fn step(&self, step: Step) {
        if step.n == HANG {
            let _glass = Glass(true);
            pending::<()>().await;
        }
        self.seen.record(step.n);
    }
}

/// Keeps its thread busy.
struct Stubborn {
    begun: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
}

#[router]
impl Stubborn {
    #[handler]
    async fn step(&self, _step: Step) {
        self.begun.store(true, Ordering::SeqCst);
        while !self.may_end.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn counted(service: &Service, name: &str, total: u64) -> HandlerStats {
    let sum = |stats: HandlerStats| stats.handled + stats.failed + stats.panicked + stats.timed_out;
    eventually(SOON, async || sum(handler(service, name)) == total).await;
    handler(service, name)
}

on_each! {
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

    #[one_server("it waits for timeouts")]
    async fn a_codec_that_panics_ends_no_service(world: World) {
        for layered in [false, true] {
            let bus = world.bus().await;
            let mut events = bus.events();
            let seen = Recorder::new();
            let serving = bus.serve(Unreadable { seen: seen.clone() });
            let service = if layered { serving.layer(Identity::new()).await } else { serving.await }.unwrap();
            Envelope { n: 1 }.publish(&bus).await.unwrap();
            // Its requester cannot be told, because nobody knows who that is.
            world.publish_raw("envelopes:2", "nothing").await;
            Value { n: 3 }.publish(&bus).await.unwrap();
            // Long enough to be sent, the first time with a subscription before it.
            let sent = Duration::from_secs(2);
            Value { n: 3 }.publish(&bus).acknowledged_within(sent).await.unwrap_err();
            Both { n: 4 }.request(&bus).timeout(sent).await.unwrap_err();
            News { n: 5 }.publish(&bus).await.unwrap();
            assert_eq!(seen.wait_for(2).await, [1, 5]);
            eventually(SOON, async || handler(&service, "value").panicked == 2).await;
            eventually(SOON, async || handler(&service, "both").panicked == 1).await;
            assert_eq!(handler(&service, "envelope").rejected, 1);
            service.shutdown().await.unwrap();
            let mut ended = || futures_util::FutureExt::now_or_never(events.next()).flatten();
            while let Some(event) = ended() {
                assert!(!matches!(event, BusEvent::ServiceEnded { .. }), "{event:?}");
            }
        }
    }

    async fn what_panics_when_it_is_dropped_ends_no_service(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Fragile { seen: seen.clone() }).await.unwrap();
        for n in [1, HANG, 2, HANG, 3] {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        assert_eq!(seen.wait_for(3).await, [1, 2, 3]);
        assert_eq!(counted(&service, "step", 5).await.timed_out, 2);
        service.shutdown().await.unwrap();
    }

    async fn a_handler_that_keeps_its_thread_busy_is_seen_in_the_statistics(world: World) {
        let bus = world.bus().await;
        let (begun, may_end) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let service = bus.serve(Stubborn { begun: Arc::clone(&begun), may_end: Arc::clone(&may_end) }).await.unwrap();
        let idle = handler(&service, "step");
        assert_eq!((idle.running, idle.oldest), (0, None));
        let publisher = world.bus().await;
        let mut publishing = JoinSet::new();
        publishing.spawn(async move { Step { line: 1, n: 1 }.publish(&publisher).await.map(drop) });
        while !begun.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let busy = handler(&service, "step");
        may_end.store(true, Ordering::SeqCst);
        assert_eq!(busy.running, 1);
        assert!(busy.oldest.is_some());
        publishing.join_next().await.unwrap().unwrap().unwrap();
        eventually(SOON, async || handler(&service, "step").handled == 1).await;
        let idle = handler(&service, "step");
        assert_eq!((idle.running, idle.oldest), (0, None));
        let shown = format!("{:?}", service.stats());
        assert!(shown.contains(r#"HandlerStats { handler: "step", template: "line:<line>", handled: 1 }"#), "{shown}");
    }

    async fn a_service_that_ends_without_being_asked_to_is_an_event(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let elsewhere = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let serving = bus.serve(Troubled { seen: Recorder::new() });
        let service = elsewhere.spawn(serving.into_future()).await.unwrap().unwrap();
        elsewhere.shutdown_background();
        let ended = loop {
            let event = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
            if let BusEvent::ServiceEnded { handlers, reason, .. } = event {
                break (handlers, reason);
            }
        };
        assert_eq!(ended.0, ["step"]);
        assert!(ended.1.contains("runtime"), "{}", ended.1);
        assert_eq!(service.shutdown().await, Err(ShutdownError::TaskEnded));
    }
}
