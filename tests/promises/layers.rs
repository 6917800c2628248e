//! Layers of tower stand around handlers and services, and an error of theirs is the handler's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Message, RequestError, ShutdownError, State, handler,
    layer::{Handlers, Invocation, Outcome, OutcomeKind},
    router, routes,
};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;
use tower::{
    BoxError, Layer, Service, ServiceBuilder,
    buffer::BufferLayer,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    load_shed::LoadShedLayer,
    timeout::TimeoutLayer,
};

use crate::support::{Gate, Gauge, News, SOON, Step, handler, patience, refusals};

#[derive(Message, Serialize, Deserialize)]
#[channel("doubles")]
#[reply(u64)]
struct Double {
    n: u64,
}

const LONG: Duration = Duration::from_secs(3_600);

/// What the tests look at.
#[derive(Clone)]
struct Workshop {
    gate: Gate,
    gauge: Gauge,
    done: Recorder<u64>,
}

impl Workshop {
    fn new() -> Self {
        Self { gate: Gate::closed(), gauge: Gauge::default(), done: Recorder::new() }
    }

    async fn work(&self, n: u64) {
        let _inside = self.gauge.enter();
        self.gate.pass().await;
        self.done.record(n);
    }
}

#[router]
impl Workshop {
    #[handler]
    async fn step(&self, step: Step) {
        self.work(step.n).await;
    }

    #[handler]
    async fn news(&self, news: News) {
        self.work(news.n).await;
    }

    #[handler]
    async fn double(&self, double: Double) -> u64 {
        self.work(double.n).await;
        2 * double.n
    }
}

#[handler(layer = ConcurrencyLimitLayer::new(2))]
async fn limited(step: Step, State(workshop): State<Workshop>) {
    workshop.work(step.n).await;
}

#[handler]
async fn free(news: News, State(workshop): State<Workshop>) {
    workshop.done.record(news.n);
}

/// What passes, and what came of it.
#[derive(Clone)]
struct Count {
    name: &'static str,
    seen: Recorder<String>,
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    count: Count,
}

impl<S> Layer<S> for Count {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, count: self.clone() }
    }
}

impl<S> Service<Invocation> for Counting<S>
where
    S: Service<Invocation, Response = Outcome, Future: Send + 'static>,
{
    type Response = Outcome;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        let Count { name, seen } = self.count.clone();
        let told = format!(
            "{name}: {} of {} by {:?}",
            invocation.route().handler(),
            invocation.delivery().channel(),
            invocation.delivery().headers().get("user"),
        );
        let response = self.inner.call(invocation);
        Box::pin(async move {
            let outcome = response.await?;
            seen.record(format!("{told}: {:?}", outcome.kind()));
            Ok(outcome)
        })
    }
}

/// What a layer of the tests does instead of calling the handler.
#[derive(Clone, Copy, PartialEq)]
enum Instead {
    Refuses,
    LeavesOut,
    Panics,
}

#[derive(Clone)]
struct Guard {
    instead: Instead,
    asked: Arc<AtomicUsize>,
}

impl Guard {
    fn new(instead: Instead) -> Self {
        Self { instead, asked: Arc::default() }
    }
}

impl Layer<Handlers> for Guard {
    type Service = Self;

    fn layer(&self, _handlers: Handlers) -> Self {
        self.clone()
    }
}

impl Service<Invocation> for Guard {
    type Response = Outcome;
    type Error = String;
    type Future = std::future::Ready<Result<Outcome, String>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _invocation: Invocation) -> Self::Future {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::ready(match self.instead {
            Instead::Refuses => Err("the secret of the guard".to_owned()),
            Instead::LeavesOut => Ok(Outcome::filtered()),
            Instead::Panics => panic!("a layer of a test panics, as it should"),
        })
    }
}

async fn publish_steps(bus: &Bus, numbers: std::ops::Range<u64>) {
    for n in numbers {
        Step { line: n, n }.publish(bus).await.unwrap();
    }
}

fn reason<T>(result: Result<T, RequestError<tidings::NoError>>) -> String {
    match result {
        Err(RequestError::Failed { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("there is an answer"),
    }
}

on_each! {
    async fn a_timeout_layer_ends_a_call_and_the_requester_is_told(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        let service = bus.serve(workshop.clone()).layer(TimeoutLayer::new(Duration::from_millis(50))).await.unwrap();
        let told = reason((Double { n: 1 }).request(&bus).timeout(SOON).await);
        assert_eq!(told, "the handler ran past its timeout");
        eventually(SOON, async || handler(&service, "double").timed_out == 1).await;
        assert_eq!(workshop.gauge.inside(), 0);
        workshop.gate.open();
        assert_eq!((Double { n: 4 }).request(&bus).timeout(SOON).await.unwrap(), 8);
    }

    async fn a_concurrency_limit_holds_for_its_handler_alone(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        let _service = bus.serve(routes![limited, free].with_state(workshop.clone())).await.unwrap();
        publish_steps(&bus, 0..10).await;
        News { n: 100 }.publish(&bus).await.unwrap();
        assert_eq!(workshop.done.wait_for(1).await, [100]);
        eventually(SOON, async || workshop.gauge.inside() == 2).await;
        workshop.gate.open();
        workshop.done.wait_for(11).await;
        assert_eq!(workshop.gauge.most(), 2);
    }

    async fn one_layer_of_a_service_is_shared_by_its_handlers(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        let _service = bus.serve(workshop.clone()).layer(ConcurrencyLimitLayer::new(3)).await.unwrap();
        publish_steps(&bus, 0..5).await;
        News { n: 5 }.publish(&bus).await.unwrap();
        eventually(SOON, async || workshop.gauge.inside() == 3).await;
        workshop.gate.open();
        workshop.done.wait_for(6).await;
        assert_eq!(workshop.gauge.most(), 3);
    }

    async fn a_rate_limit_lets_so_many_through_and_the_others_later(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        workshop.gate.open();
        let pause = Duration::from_millis(300);
        let _service = bus.serve(workshop.clone()).layer(RateLimitLayer::new(2, pause)).await.unwrap();
        let start = Instant::now();
        publish_steps(&bus, 0..5).await;
        workshop.done.wait_for(5).await;
        assert!(start.elapsed() >= 2 * pause, "{:?}", start.elapsed());
    }

    async fn layers_of_a_builder_are_written_from_outside_in_and_see_the_metadata(world: World) {
        let bus = world.bus().await;
        let (workshop, seen) = (Workshop::new(), Recorder::new());
        workshop.gate.open();
        let count = |name| Count { name, seen: seen.clone() };
        let layers = ServiceBuilder::new().layer(count("first")).layer(count("second"));
        let _service = bus.serve(workshop.clone()).layer(layers).layer(count("last")).await.unwrap();
        News { n: 1 }.publish(&bus).header("user", "Ada").await.unwrap();
        let told = |name| format!(r#"{name}: news of news by Some("Ada"): Handled"#);
        assert_eq!(seen.wait_for(3).await, ["second", "first", "last"].map(told));
        world.publish_raw("news", "no news").await;
        let told = |name| format!("{name}: news of news by None: Rejected");
        assert_eq!(seen.wait_for(6).await[3..], ["second", "first", "last"].map(told));
    }

    async fn an_error_of_a_layer_is_a_failure_of_the_handler(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        let service = bus.serve(workshop.clone()).layer(Guard::new(Instead::Refuses)).await.unwrap();
        assert_eq!(reason((Double { n: 1 }).request(&bus).timeout(SOON).await), "the handler failed");
        let unacknowledged = News { n: 1 }.publish(&bus).acknowledged_within(patience(&world)).await.unwrap_err();
        assert_eq!(refusals(&world, unacknowledged), ["the handler failed"]);
        let failed = async || (handler(&service, "double").failed, handler(&service, "news").failed) == (1, 1);
        eventually(SOON, failed).await;
        assert!(workshop.done.is_empty());
    }

    async fn a_layer_may_leave_messages_out(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Workshop::new()).layer(Guard::new(Instead::LeavesOut)).await.unwrap();
        publish_steps(&bus, 0..3).await;
        eventually(SOON, async || handler(&service, "step").filtered == 3).await;
        assert_eq!(Outcome::filtered().kind(), OutcomeKind::Filtered);
    }

    async fn a_panic_of_a_layer_ends_one_call(world: World) {
        let bus = world.bus().await;
        let guard = Guard::new(Instead::Panics);
        let service = bus.serve(Workshop::new()).layer(guard.clone()).await.unwrap();
        assert_eq!(reason((Double { n: 1 }).request(&bus).timeout(SOON).await), "the handler panicked");
        publish_steps(&bus, 0..2).await;
        eventually(SOON, async || handler(&service, "step").panicked == 2).await;
        assert_eq!(guard.asked.load(Ordering::SeqCst), 3);
    }

    async fn a_panic_of_a_handler_leaves_its_layer_whole(world: World) {
        #[handler(layer = ConcurrencyLimitLayer::new(1))]
        async fn fragile(step: Step, State(done): State<Recorder<u64>>) {
            assert_ne!(step.n, 0, "a handler of a test panics, as it should");
            done.record(step.n);
        }

        let bus = world.bus().await;
        let done = Recorder::new();
        let service = bus.serve(routes![fragile].with_state(done.clone())).await.unwrap();
        publish_steps(&bus, 0..3).await;
        done.wait_for(2).await;
        assert_eq!(handler(&service, "fragile").panicked, 1);
    }

    async fn a_shutdown_ends_while_a_rate_limit_waits(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        workshop.gate.open();
        let service = bus.serve(workshop.clone()).layer(RateLimitLayer::new(1, LONG)).await.unwrap();
        publish_steps(&bus, 0..4).await;
        workshop.done.wait_for(1).await;
        eventually(SOON, async || bus.stats().subscriptions.iter().any(|taken| taken.messages == 4)).await;
        let error = service.shutdown_within(Duration::from_millis(100)).await.unwrap_err();
        let ShutdownError::DeadlineMissed { abandoned, .. } = error else { panic!("{error}") };
        assert_eq!(abandoned, 3);
    }

    async fn a_call_that_gives_up_waiting_lets_the_next_one_in(world: World) {
        #[handler(timeout = "100ms", layer = ConcurrencyLimitLayer::new(1))]
        async fn impatient(step: Step, State(workshop): State<Workshop>) {
            workshop.work(step.n).await;
        }

        let bus = world.bus().await;
        let workshop = Workshop::new();
        let service = bus.serve(routes![impatient].with_state(workshop.clone())).await.unwrap();
        publish_steps(&bus, 0..3).await;
        eventually(SOON, async || handler(&service, "impatient").timed_out == 3).await;
        workshop.gate.open();
        publish_steps(&bus, 3..6).await;
        workshop.done.wait_for(3).await;
    }

    async fn layers_that_keep_a_message_for_themselves_work_too(world: World) {
        let bus = world.bus().await;
        let workshop = Workshop::new();
        let layers = ServiceBuilder::new()
            .layer(BufferLayer::new(8))
            .layer(LoadShedLayer::new())
            .layer(ConcurrencyLimitLayer::new(1));
        let service = bus.serve(workshop.clone()).layer(layers).await.unwrap();
        let mut first = JoinSet::new();
        let asking = bus.clone();
        first.spawn(async move { (Double { n: 2 }).request(&asking).timeout(SOON).await.map_err(BoxError::from) });
        eventually(SOON, async || workshop.gauge.inside() == 1).await;
        let failed = News { n: 1 }.publish(&bus).acknowledged_within(patience(&world)).await.unwrap_err();
        assert_eq!(refusals(&world, failed).len(), 1);
        workshop.gate.open();
        assert_eq!(first.join_next().await.unwrap().unwrap().unwrap(), 4);
        service.shutdown().await.unwrap();
    }

    async fn handlers_that_are_spawned_have_layers_too(world: World) {
        #[handler(spawn, layer = ConcurrencyLimitLayer::new(1))]
        async fn spawned(step: Step, State(workshop): State<Workshop>) {
            workshop.work(step.n).await;
        }

        let bus = world.bus().await;
        let workshop = Workshop::new();
        workshop.gate.open();
        let _service = bus.serve(routes![spawned].with_state(workshop.clone())).await.unwrap();
        publish_steps(&bus, 0..4).await;
        workshop.done.wait_for(4).await;
        assert_eq!(workshop.gauge.most(), 1);
    }
}

/// A router layer stands around the handler's, and the handler's expression is evaluated once for each service.
#[tokio::test]
async fn a_layer_is_made_once_for_each_service() {
    static MADE: AtomicUsize = AtomicUsize::new(0);

    fn make() -> ConcurrencyLimitLayer {
        MADE.fetch_add(1, Ordering::SeqCst);
        ConcurrencyLimitLayer::new(1)
    }

    #[handler(layer = make())]
    async fn made(step: Step, State(done): State<Recorder<u64>>) {
        done.record(step.n);
    }

    let bus = Bus::connect("memory:").await.unwrap();
    let (done, seen) = (Recorder::new(), Recorder::new());
    let count = Count { name: "outside", seen: seen.clone() };
    for services in 1..=2 {
        let service = bus.serve(routes![made].with_state(done.clone())).layer(count.clone()).await.unwrap();
        publish_steps(&bus, 0..5).await;
        service.shutdown().await.unwrap();
        assert_eq!(MADE.load(Ordering::SeqCst), services);
    }
    assert_eq!((done.len(), seen.len()), (10, 10));
}
