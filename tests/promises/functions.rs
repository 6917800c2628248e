//! Handlers stay functions: a unit test calls them with whatever their arguments may be, and looks into what they return.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tidings::{
    Address, Bus, Context, Delivery, Extract, ExtractError, Headers, Message, Publish, State, handler, router,
};

use crate::support::{News, Step};

/// Its parameter is no field.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("rooms:<room: String>")]
struct Line {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("sums")]
#[reply(u64, error = String)]
struct Sum {
    terms: Vec<u64>,
}

#[derive(Clone)]
struct Factor(u64);

/// An extractor of the program's own.
#[derive(Debug, PartialEq)]
struct Sender(String);

impl<'a, M, S> Extract<'a, M, S> for Sender {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        let sender = context.delivery().headers().get("sender");
        sender.map(|name| Self(name.to_owned())).ok_or_else(|| ExtractError::new("nobody"))
    }
}

#[handler(concurrency = 4, timeout = "1s")]
async fn stepped(step: Step, State(factor): State<Factor>, delivery: &Delivery) -> Result<Publish<News>, String> {
    match delivery.attempt() {
        1 => Ok(Publish::new(News { n: step.n * factor.0 })),
        attempt => Err(format!("attempt {attempt} of {:?}", delivery.id())),
    }
}

#[handler(filter = !line.text.is_empty())]
async fn said(
    line: Line,
    address: Address<Line>,
    sender: Sender,
    headers: &Headers,
    bus: &Bus,
) -> (Publish<Line>, Publish<News>) {
    let _ = bus;
    let echo = Publish::to(&address, Line { text: format!("{}: {}", sender.0, line.text) });
    let tenant = headers.get("tenant").unwrap_or_default();
    (echo.header("tenant", tenant), Publish::all((1..=2).map(|n| News { n })))
}

#[handler]
async fn sum(sum: Sum, delivery: &Delivery) -> Result<u64, String> {
    match delivery.deadline() {
        Some(deadline) if deadline > Instant::now() => Ok(sum.terms.iter().sum()),
        Some(_) => Err("too late".to_owned()),
        None => Err("nobody waits".to_owned()),
    }
}

struct Counter {
    seen: AtomicU64,
}

#[router]
impl Counter {
    #[handler]
    async fn news(&self, news: News, State(factor): State<Factor>, delivery: &Delivery) -> Option<Publish<Step>> {
        let line = self.seen.fetch_add(news.n, Relaxed) + news.n;
        (delivery.hops() < 3).then(|| Publish::new(Step { line: line * factor.0, n: news.n }))
    }

    #[handler]
    async fn sum(&self, sum: Sum) -> u64 {
        sum.terms.iter().sum::<u64>() + self.seen.load(Relaxed)
    }
}

impl tidings::FromState<Counter> for Factor {
    fn from_state(_counter: &Counter) -> Self {
        Self(10)
    }
}

#[tokio::test]
async fn a_free_handler_is_called_with_its_state_and_a_delivery() {
    let first = Delivery::testing(Step::channel(1_u64)).build();
    let published = stepped(Step { line: 1, n: 7 }, State(Factor(3)), &first).await.unwrap();
    assert_eq!(published, Publish::new(News { n: 21 }));
    assert_ne!(published, Publish::new(News { n: 22 }));
    assert_ne!(published, Publish::new(News { n: 21 }).header("tenant", "acme"));
    assert!(published.is_for(&News::channel()));

    let again = Delivery::testing("line:1").attempt(2).id("a-1").build();
    let error = stepped(Step { line: 1, n: 7 }, State(Factor(3)), &again).await.unwrap_err();
    assert_eq!(error, "attempt 2 of Some(\"a-1\")");
}

#[tokio::test]
async fn what_it_returns_is_looked_into() {
    let bus = Bus::connect("memory:").await.unwrap();
    let address = Line::channel("a:b");
    let delivery = Delivery::testing(&address).header("tenant", "acme").header("sender", "Ada").build();
    let sender = Extract::<'_, Line, ()>::extract(&Context::new(&delivery, &bus, &())).unwrap();
    assert_eq!(sender, Sender("Ada".to_owned()));
    let line = Line { text: "hello".to_owned() };
    let address = delivery.address::<Line>().unwrap();
    let (echo, news) = said(line, address, sender, delivery.headers(), &bus).await;
    assert!(echo.is_for(&Line::channel("a:b")) && !echo.is_for(&Line::channel("a")));
    assert!(echo.channels().eq(["rooms:a%3Ab"]));
    assert_eq!(echo.headers().map(|headers| headers.get("tenant")).collect::<Vec<_>>(), [Some("acme")]);
    assert!(echo.messages().eq([&Line { text: "Ada: hello".to_owned() }]));
    assert_eq!((news.len(), news.is_empty()), (2, false));
    assert!(news.into_messages().eq([News { n: 1 }, News { n: 2 }]));
    assert!(!Publish::<News>::all([]).is_for(&News::channel()) && Publish::<News>::all([]).is_empty());
}

#[tokio::test]
async fn a_header_is_set_on_what_is_there_and_kept_by_what_is_added() {
    let all = Publish::new(News { n: 1 }).header("k", "old").header("k", "v").and(Publish::new(News { n: 2 }));
    let headers: Vec<_> = all.headers().map(|headers| headers.get("k")).collect();
    assert_eq!(headers, [Some("v"), None]);
}

#[tokio::test]
async fn a_method_of_a_router_is_called_as_one() {
    let counter = Counter { seen: AtomicU64::new(1) };
    let delivery = Delivery::testing(News::channel()).build();
    let published = counter.news(News { n: 2 }, State(Factor(10)), &delivery).await;
    assert_eq!(published, Some(Publish::new(Step { line: 30, n: 2 })));
    let far = Delivery::testing(News::channel()).hops(3).build();
    assert_eq!(counter.news(News { n: 2 }, State(Factor(10)), &far).await, None);
    assert_eq!(counter.sum(Sum { terms: vec![1, 2] }).await, 8);
}

#[tokio::test]
async fn a_requester_waits_for_as_long_as_the_test_says() {
    let terms = vec![3, 4];
    for (time_left, expected) in [
        (Some(Duration::from_secs(60)), Ok(7)),
        (Some(Duration::MAX), Ok(7)),
        (Some(Duration::ZERO), Err("too late")),
        (None, Err("nobody waits")),
    ] {
        let delivery = Delivery::testing(Sum::channel());
        let delivery = time_left.map_or(delivery.clone(), |time_left| delivery.clone().time_left(time_left)).build();
        let answer = sum(Sum { terms: terms.clone() }, &delivery).await;
        assert_eq!(answer.as_ref().map_err(String::as_str), expected.as_ref().map_err(|error| *error), "{time_left:?}");
    }
}

#[test]
fn a_delivery_says_what_it_was_made_with_and_else_nothing() {
    let bare = Delivery::testing("orders:7").build();
    assert_eq!((bare.channel(), bare.id(), bare.timestamp(), bare.attempt()), ("orders:7", None, None, 1));
    assert!(bare.headers().is_empty() && bare.payload().is_empty() && bare.deadline().is_none());
    assert_eq!((bare.hops(), bare.unreadable_metadata()), (0, 0));
    let full = Delivery::testing("orders:7").id("i").timestamp(1_500).payload("{}").attempt(0).build();
    assert_eq!(full.timestamp(), Some(UNIX_EPOCH + Duration::from_millis(1_500)));
    assert_eq!((full.id(), full.payload(), full.attempt()), (Some("i"), b"{}".as_slice(), 1));
    let mut detached = full;
    detached.detach();
    assert_eq!((detached.channel(), detached.payload()), ("orders:7", b"{}".as_slice()));
}
