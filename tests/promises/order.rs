//! What is handled one after the other and what at once: the kind of a message decides, or the handler does.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, Publish, RequestError, router};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, Gauge, SOON, Step, handler, message};

/// A request on a channel without parameters, as most are.
#[derive(Clone, Copy, Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct Quote {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("accounts:<account>:<entry: u64>:<note..: Vec<String>>")]
struct Booked {
    account: u64,
    n: u64,
}

#[derive(Clone)]
struct Watched {
    gate: Gate,
    gauge: Gauge,
    started: Recorder<u64>,
    ended: Recorder<u64>,
}

impl Watched {
    fn new() -> Self {
        let (started, ended) = (Recorder::new(), Recorder::new());
        Self { gate: Gate::closed(), gauge: Gauge::default(), started, ended }
    }

    async fn work(&self, n: u64) -> u64 {
        let _inside = self.gauge.enter();
        self.started.record(n);
        self.gate.pass().await;
        self.ended.record(n);
        n
    }
}

struct AtOnce(Watched);

#[router]
impl AtOnce {
    #[handler(concurrency = 16)]
    async fn quote(&self, quote: Quote) -> u64 {
        self.0.work(quote.n).await
    }
}

struct ByChannel(Watched);

#[router]
impl ByChannel {
    #[handler(order = channel)]
    async fn quote(&self, quote: Quote) -> u64 {
        self.0.work(quote.n).await
    }
}

struct ByAccount(Watched);

#[router]
impl ByAccount {
    #[handler(order = account)]
    async fn booked(&self, booked: Booked) {
        self.0.work(booked.n).await;
    }
}

struct ByNote(Watched);

#[router]
impl ByNote {
    #[handler(order = "note")]
    async fn booked(&self, booked: Booked) {
        self.0.work(booked.n).await;
    }
}

struct Unordered(Watched);

#[router]
impl Unordered {
    #[handler(order = none)]
    async fn step(&self, step: Step) {
        self.0.work(step.n).await;
    }
}

/// The first request never ends by itself.
struct Hanging {
    started: Recorder<u64>,
}

#[router]
impl Hanging {
    #[handler(concurrency = 1)]
    async fn quote(&self, quote: Quote) -> u64 {
        self.started.record(quote.n);
        if quote.n == 0 {
            pending().await
        }
        quote.n
    }
}

struct Stubborn(Watched);

#[router]
impl Stubborn {
    #[handler(run_to_end)]
    async fn quote(&self, quote: Quote) -> u64 {
        self.0.work(quote.n).await
    }
}

/// Asks itself.
struct Nested;

#[router]
impl Nested {
    #[handler(concurrency = 2)]
    async fn quote(&self, quote: Quote, delivery: &Delivery, bus: &Bus) -> Result<u64, RequestError<tidings::NoError>> {
        assert!(delivery.deadline().is_some());
        if quote.n == 0 { Ok(1) } else { Ok(1 + Quote { n: 0 }.request(bus).await?) }
    }
}

/// Passes each step on to another line.
struct Passing;

#[router]
impl Passing {
    #[handler]
    async fn booked(&self, booked: Booked) -> Publish<Step> {
        if booked.n.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        Publish::new(Step { line: booked.account, n: booked.n })
    }
}

fn ask(asking: &mut JoinSet<Result<u64, RequestError<tidings::NoError>>>, bus: &Bus, n: u64, timeout: Duration) {
    let bus = bus.clone();
    asking.spawn(async move { Quote { n }.request(&bus).timeout(timeout).await });
}

async fn book(bus: &Bus, account: u64, entry: u64, note: &str, n: u64) {
    Booked { account, n }.publish_to(Booked::channel(account, entry, vec![note.to_owned()]), bus).await.unwrap();
}

on_each! {
    async fn requests_on_one_channel_run_at_once_up_to_the_concurrency(world: World) {
        let (serving, asking_bus) = (world.bus().await, world.bus().await);
        let watched = Watched::new();
        let _service = serving.serve(AtOnce(watched.clone())).await.unwrap();
        let mut asking = JoinSet::new();
        for n in 0..64 {
            ask(&mut asking, &asking_bus, n, SOON);
        }
        for done in 0..64 {
            let expected = (64 - done).min(16);
            eventually(SOON, async || watched.gauge.inside() == expected).await;
            watched.gate.admit(1);
            assert!(asking.join_next().await.unwrap().unwrap().is_ok());
        }
        assert_eq!(watched.gauge.most(), 16);
    }

    async fn requests_wait_for_each_other_where_the_handler_says_so(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let _service = bus.serve(ByChannel(watched.clone())).await.unwrap();
        let mut asking = JoinSet::new();
        for n in 0..8 {
            ask(&mut asking, &bus, n, SOON);
            // The order of the handling is that of the sending.
            watched.started.wait_for(1).await;
        }
        watched.gate.open();
        while let Some(answer) = asking.join_next().await {
            assert!(answer.unwrap().is_ok());
        }
        assert_eq!(watched.gauge.most(), 1);
    }

    async fn a_parameter_can_be_what_is_handled_in_order(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let service = bus.serve(ByAccount(watched.clone())).await.unwrap();
        for n in 0..6 {
            book(&bus, n % 2, n, "", n).await;
        }
        // One of each account, although every message has a channel of its own.
        eventually(SOON, async || handler(&service, "booked").waiting == 4).await;
        assert_eq!(handler(&service, "booked").running, 2);
        watched.gate.open();
        let ended = watched.ended.wait_for(6).await;
        for account in 0..2 {
            let of_account: Vec<u64> = ended.iter().copied().filter(|n| n % 2 == account).collect();
            assert_eq!(of_account, [account, account + 2, account + 4]);
        }
        assert_eq!(watched.gauge.most(), 2);
    }

    async fn a_parameter_that_takes_the_rest_can_be_too(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let service = bus.serve(ByNote(watched.clone())).await.unwrap();
        for (n, note) in ["a", "b", "a", "a"].into_iter().enumerate() {
            book(&bus, n as u64, n as u64, note, n as u64).await;
        }
        eventually(SOON, async || handler(&service, "booked").waiting == 2).await;
        assert_eq!(watched.started.wait_for(2).await, [0, 1]);
        watched.gate.open();
        watched.ended.wait_for(4).await;
        assert_eq!(watched.gauge.most(), 2);
    }

    async fn broadcasts_of_one_channel_run_at_once_where_the_handler_says_so(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let _service = bus.serve(Unordered(watched.clone())).await.unwrap();
        for n in 0..10 {
            Step { line: 1, n }.publish(&bus).await.unwrap();
        }
        eventually(SOON, async || watched.gauge.inside() == 10).await;
        watched.gate.open();
        watched.ended.wait_for(10).await;
    }

    async fn a_call_that_hangs_gives_its_place_back_when_its_requester_has_stopped_waiting(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let started = Recorder::new();
        let service = serving.serve(Hanging { started: started.clone() }).await.unwrap();
        let patience = Duration::from_millis(300);
        let hung = Quote { n: 0 }.request(&asking).timeout(patience).await;
        assert!(matches!(hung, Err(RequestError::TimedOut { .. })), "{hung:?}");
        // The only place is free again, without anybody's help.
        assert_eq!(Quote { n: 7 }.request(&asking).timeout(SOON).await.unwrap(), 7);
        let stats = handler(&service, "quote");
        assert_eq!((stats.cancelled, stats.handled, stats.waiting), (1, 1, 0), "{stats:?}");
        // Its place is given back after its answer has left.
        eventually(SOON, async || handler(&service, "quote").running == 0).await;
        assert_eq!(started.all(), [0, 7]);
    }

    async fn what_waits_behind_it_for_longer_than_its_requester_is_not_begun(world: World) {
        let bus = world.bus().await;
        let started = Recorder::new();
        let service = bus.serve(Hanging { started: started.clone() }).await.unwrap();
        let mut asking = JoinSet::new();
        ask(&mut asking, &bus, 0, Duration::from_secs(2));
        started.wait_for(1).await;
        ask(&mut asking, &bus, 1, Duration::from_millis(100));
        while let Some(answer) = asking.join_next().await {
            assert!(matches!(answer.unwrap(), Err(RequestError::TimedOut { .. })));
        }
        eventually(SOON, async || handler(&service, "quote").expired == 1).await;
        assert_eq!((handler(&service, "quote").cancelled, started.all()), (1, vec![0]));
    }

    async fn a_handler_that_runs_to_its_end_does_so_after_its_requester_has_gone(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let service = bus.serve(Stubborn(watched.clone())).await.unwrap();
        let asked = Quote { n: 3 }.request(&bus).timeout(Duration::from_millis(100)).await;
        assert!(matches!(asked, Err(RequestError::TimedOut { .. })), "{asked:?}");
        assert!(watched.ended.is_empty());
        watched.gate.open();
        watched.ended.wait_for(1).await;
        eventually(SOON, async || handler(&service, "quote").handled == 1).await;
        assert_eq!(handler(&service, "quote").cancelled, 0);
    }

    async fn a_nested_request_waits_for_a_free_place_only(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Nested).await.unwrap();
        assert_eq!(Quote { n: 1 }.request(&bus).await.unwrap(), 2);
    }

    async fn statistics_show_what_runs_and_waits_and_since_when(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let service = bus.serve(AtOnce(watched.clone())).await.unwrap();
        let idle = handler(&service, "quote");
        assert_eq!((idle.running, idle.waiting, idle.oldest), (0, 0, None));
        let begun = Instant::now();
        let mut asking = JoinSet::new();
        for n in 0..20 {
            ask(&mut asking, &bus, n, SOON);
        }
        eventually(SOON, async || handler(&service, "quote").waiting == 4).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let busy = handler(&service, "quote");
        assert_eq!((busy.running, busy.waiting), (16, 4));
        let oldest = busy.oldest.unwrap();
        assert!(oldest >= Duration::from_millis(50) && oldest <= begun.elapsed(), "{oldest:?}");
        watched.gate.open();
        while let Some(answer) = asking.join_next().await {
            assert!(answer.unwrap().is_ok());
        }
        let idle = handler(&service, "quote");
        assert_eq!((idle.running, idle.waiting, idle.oldest, idle.handled), (0, 0, None, 20));
    }

    async fn whoever_has_an_answer_finds_it_counted(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let watched = Watched::new();
        watched.gate.open();
        let service = serving.serve(AtOnce(watched)).await.unwrap();
        for n in 1..=200 {
            Quote { n }.request(&asking).await.unwrap();
            assert_eq!(handler(&service, "quote").handled, n);
        }
    }

    async fn what_a_handler_publishes_goes_out_in_the_order_of_the_handling(world: World) {
        let (serving, publishing) = (world.bus().await, world.bus().await);
        let mut steps = publishing.subscribe(Step::channel(1)).await.unwrap();
        let _service = serving.serve(Passing).await.unwrap();
        for n in 0..500 {
            book(&publishing, 1, 1, "", n).await;
        }
        for n in 0..500 {
            assert_eq!(message(&mut steps).await.n, n);
        }
    }

    #[one_server("it is frozen")]
    async fn an_answer_on_its_way_holds_no_place(world: World) {
        let bus = world.bus().await;
        let watched = Watched::new();
        let service = bus.serve(ByChannel(watched.clone())).await.unwrap();
        let mut asking = JoinSet::new();
        for n in 0..3 {
            ask(&mut asking, &bus, n, SOON);
        }
        eventually(SOON, async || handler(&service, "quote").waiting == 2).await;
        // No answer gets through, and nobody waits for that.
        world.freeze();
        watched.gate.open();
        watched.ended.wait_for(3).await;
        eventually(SOON, async || handler(&service, "quote").handled == 3).await;
        world.thaw();
        while let Some(answer) = asking.join_next().await {
            assert!(answer.unwrap().is_ok());
        }
    }

    #[one_server("it is frozen")]
    async fn shutdown_waits_for_an_answer_on_its_way(world: World) {
        let (serving, asking_bus) = (world.bus().await, world.bus().await);
        let watched = Watched::new();
        let service = serving.serve(AtOnce(watched.clone())).await.unwrap();
        let mut asking = JoinSet::new();
        ask(&mut asking, &asking_bus, 1, SOON);
        watched.started.wait_for(1).await;
        world.freeze();
        watched.gate.open();
        eventually(SOON, async || handler(&service, "quote").handled == 1).await;
        let mut stopping = JoinSet::new();
        stopping.spawn(service.shutdown_within(SOON));
        let early = tokio::time::timeout(Duration::from_millis(100), stopping.join_next()).await;
        assert!(early.is_err(), "the answer has not left: {early:?}");
        world.thaw();
        stopping.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(asking.join_next().await.unwrap().unwrap().unwrap(), 1);
    }

    #[one_server("it is frozen")]
    async fn an_answer_that_cannot_be_sent_is_counted_apart(world: World) {
        let serving = world.bus_with(|builder| builder.command_timeout(Duration::from_millis(300))).await;
        let asking_bus = world.bus().await;
        let watched = Watched::new();
        let service = serving.serve(AtOnce(watched.clone())).await.unwrap();
        let mut asking = JoinSet::new();
        ask(&mut asking, &asking_bus, 1, Duration::from_secs(10));
        watched.started.wait_for(1).await;
        world.freeze();
        watched.gate.open();
        eventually(SOON, async || handler(&service, "quote").unanswered == 1).await;
        let stats = handler(&service, "quote");
        assert_eq!((stats.handled, stats.failed), (1, 0), "{stats:?}");
        world.thaw();
    }
}
