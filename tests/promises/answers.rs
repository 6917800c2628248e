//! Who asked is told at once when nobody will answer, and answers go nowhere else than to inboxes for answers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings::{Bounds, Format, Message, Overflow, RequestError, router};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, SOON, handler, message, patience, refusals};

#[derive(Clone, Copy, Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct Quote {
    n: u64,
}

/// Answered at length.
#[derive(Message, Serialize, Deserialize)]
#[channel("essays")]
#[reply(String)]
struct Essay {
    length: usize,
    #[serde(default)]
    title: String,
}

fn essay(length: usize) -> Essay {
    Essay { length, title: String::new() }
}

struct Author;

#[router]
impl Author {
    #[handler]
    async fn essay(&self, essay: Essay) -> String {
        "x".repeat(essay.length)
    }

    #[handler]
    async fn table(&self, _table: Table) -> BTreeMap<(u8, u8), u8> {
        BTreeMap::from([((1, 2), 3)])
    }

    #[handler]
    async fn report(&self, report: Report) {
        assert!(report.text.len() < 2_000);
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("reports")]
struct Report {
    text: String,
}

/// JSON has no keys that are pairs, so its answer cannot be encoded.
#[derive(Message, Serialize, Deserialize)]
#[channel("tables")]
#[reply(BTreeMap<(u8, u8), u8>)]
struct Table {}

const FORMATS: [Format; 6] =
    [Format::Envelope, Format::Plain, Format::CloudEvents, Format::RedisToolkit, Format::MessagePack, Format::Cbor];

#[derive(Message, Serialize, Deserialize)]
#[channel("prices")]
struct Price {
    n: u64,
}

/// What stands on the channels to which answers may be sent.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("<at..: Vec<String>>")]
#[message(name = "reply")]
struct AnswerSeen(Value);

/// Answers what is its own: so many are another's.
struct Shop {
    own: fn(u64) -> bool,
    gate: Gate,
    started: Recorder<u64>,
}

#[router]
impl Shop {
    #[handler(concurrency = 1, filter = quote.n < 1_000)]
    async fn quote(&self, quote: Quote) -> Result<u64, String> {
        self.started.record(quote.n);
        self.gate.pass().await;
        if (self.own)(quote.n) { Ok(quote.n) } else { Err("not ours".to_owned()) }
    }

    #[handler(concurrency = 1, filter = price.n < 1_000)]
    async fn price(&self, price: Price) -> Result<(), String> {
        self.started.record(price.n);
        self.gate.pass().await;
        if (self.own)(price.n) { Ok(()) } else { Err("not ours".to_owned()) }
    }
}

/// Filters out what the other takes.
struct Rest;

#[router]
impl Rest {
    #[handler(filter = quote.n >= 1_000)]
    async fn quote(&self, quote: Quote) -> u64 {
        quote.n
    }

    #[handler(filter = price.n >= 1_000)]
    async fn price(&self, price: Price) {
        assert!(price.n >= 1_000);
    }
}

fn shop(own: fn(u64) -> bool) -> Shop {
    let gate = Gate::closed();
    gate.open();
    Shop { own, gate, started: Recorder::new() }
}

/// Begins something that goes on beside the test.
fn background<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut set = JoinSet::new();
    set.spawn(work);
    set
}

async fn ended<T: 'static>(mut set: JoinSet<T>) -> T {
    set.join_next().await.unwrap().unwrap()
}

/// Far more than an answer takes, and far less than the timeouts here.
const AT_ONCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

on_each! {
    async fn what_a_full_buffer_drops_is_answered_at_once(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
            let (gate, started) = (Gate::closed(), Recorder::new());
            let shop = Shop { own: |_| true, gate: gate.clone(), started: started.clone() };
            let buffer = Bounds::messages(1).bytes(1 << 20);
            let service = serving.serve(shop).overflow(overflow).buffer(buffer).await.unwrap();
            let ask = |n| {
                let bus = asking.clone();
                background(async move { Quote { n }.request(&bus).timeout(LONG).await })
            };
            let running = ask(0);
            started.wait_for(1).await;
            let waits = ask(1);
            eventually(SOON, async || handler(&service, "quote").waiting == 1).await;
            let begun = Instant::now();
            let last = ask(2);
            let (dropped, kept) = if overflow == Overflow::DropNewest { (last, waits) } else { (waits, last) };
            let error = ended(dropped).await.unwrap_err();
            assert!(matches!(error, RequestError::Busy { .. }) && error.is_retryable(), "{error}");
            let priced = Price { n: 0 }.publish(&asking).acknowledged_within(LONG);
            // The handler of prices has a place and a buffer of its own.
            let (priced, ()) = tokio::join!(priced, async {
                started.wait_for(2).await;
                gate.open();
            });
            assert_eq!(priced.unwrap().handlers, 1);
            assert!(ended(running).await.is_ok() && ended(kept).await.is_ok());
            assert!(begun.elapsed() < AT_ONCE);
            assert_eq!(handler(&service, "quote").dropped, 1);
            service.shutdown().await.unwrap();
        }
    }

    async fn an_acknowledged_publish_that_is_dropped_is_told_so(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let (gate, started) = (Gate::closed(), Recorder::new());
        let shop = Shop { own: |_| true, gate: gate.clone(), started: started.clone() };
        let buffer = Bounds::messages(1).bytes(1 << 20);
        let service = serving.serve(shop).overflow(Overflow::DropNewest).buffer(buffer).await.unwrap();
        Price { n: 0 }.publish(&asking).await.unwrap();
        started.wait_for(1).await;
        Price { n: 1 }.publish(&asking).await.unwrap();
        let begun = Instant::now();
        let error = Price { n: 2 }.publish(&asking).acknowledged_within(patience(&world)).await.unwrap_err();
        let refusals = refusals(&world, error);
        assert!(refusals[0].contains("dropped"), "{refusals:?}");
        assert!(begun.elapsed() < AT_ONCE);
        gate.open();
        service.shutdown().await.unwrap();
    }

    async fn what_every_filter_leaves_out_is_answered_at_once(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let _service = serving.serve(shop(|_| true)).await.unwrap();
        let begun = Instant::now();
        let error = Quote { n: 1_000 }.request(&asking).timeout(LONG).await.unwrap_err();
        assert!(matches!(error, RequestError::NotHandled { reason, .. } if reason.contains("filter")), "{error}");
        let error = Price { n: 1_000 }.publish(&asking).acknowledged_within(patience(&world)).await.unwrap_err();
        let refusals = refusals(&world, error);
        assert!(refusals[0].contains("filter"), "{refusals:?}");
        assert!(begun.elapsed() < AT_ONCE);
    }

    async fn what_one_filter_leaves_out_another_service_answers(world: World) {
        let (first, second, asking) = (world.bus().await, world.bus().await, world.bus().await);
        let _shop = first.serve(shop(|_| true)).await.unwrap();
        let _rest = second.serve(Rest).await.unwrap();
        for n in [1, 1_000] {
            assert_eq!(Quote { n }.request(&asking).timeout(LONG).await.unwrap(), n);
            assert_eq!(Price { n }.publish(&asking).acknowledged_within(LONG).await.unwrap().handlers, 1);
        }
    }

    async fn services_that_share_a_connection_answer_each_for_itself(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let gate = Gate::closed();
        let refuses = serving.serve(shop(|_| false)).await.unwrap();
        let slow = Shop { own: |n| n != 9, gate: gate.clone(), started: Recorder::new() };
        let started = slow.started.clone();
        let _slow = serving.serve(slow).await.unwrap();
        let rest = serving.serve(Rest).await.unwrap();

        // The server counts one receiver, two of the three have nothing to say for it, and the third takes its time.
        let acknowledging = background({
            let asking = asking.clone();
            async move { Price { n: 1 }.publish(&asking).acknowledged_within(LONG).await }
        });
        started.wait_for(1).await;
        let counted = async || (handler(&refuses, "price").failed, handler(&rest, "price").filtered) == (1, 1);
        eventually(SOON, counted).await;
        gate.admit(1);
        let acknowledged = ended(acknowledging).await.unwrap();
        assert!(acknowledged.handlers == 1 && acknowledged.refusals.len() <= 2, "{acknowledged:?}");

        gate.open();
        let begun = Instant::now();
        let error = Price { n: 9 }.publish(&asking).acknowledged_within(patience(&world)).await.unwrap_err();
        assert_eq!(refusals(&world, error).len(), 3);
        assert!(begun.elapsed() < AT_ONCE);
    }

    async fn an_answer_above_the_requesters_limit_is_told_at_once(world: World) {
        let (serving, asking) = (world.bus().await, world.bus_with(|builder| builder.payload_limit(2_000)).await);
        let service = serving.serve(Author).await.unwrap();
        let begun = Instant::now();
        let error = essay(100_000).request(&asking).timeout(LONG).await.unwrap_err();
        assert!(matches!(error, RequestError::AnswerTooLarge { size: 100_000.., limit: 2_000, .. }), "{error}");
        let collected = essay(3_000).request(&asking).timeout(LONG).collect(1).await.unwrap();
        assert!(matches!(collected[..], [Err(RequestError::AnswerTooLarge { .. })]), "{collected:?}");
        assert!(begun.elapsed() < AT_ONCE);
        assert_eq!(essay(1_000).request(&asking).await.unwrap().len(), 1_000);
        assert_eq!(handler(&service, "essay").handled, 3);
        assert_eq!((asking.stats().pending_requests, asking.stats().unexpected_answers), (0, 0));
    }

    async fn an_answer_that_cannot_be_encoded_is_told_at_once(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let service = serving.serve(Author).await.unwrap();
        let begun = Instant::now();
        let error = Table {}.request(&asking).timeout(LONG).await.unwrap_err();
        assert!(matches!(&error, RequestError::Failed { .. }) && !error.is_retryable(), "{error}");
        assert!(begun.elapsed() < AT_ONCE);
        assert_eq!((handler(&service, "table").failed, handler(&service, "table").handled), (1, 0));
    }

    async fn a_request_above_the_services_limit_is_told_at_once_in_every_format(world: World) {
        for format in FORMATS {
            world.settle().await;
            let serving = world.bus_with(|builder| builder.payload_limit(2_000).format(format)).await;
            let asking = world.bus_with(|builder| builder.format(format)).await;
            let service = serving.serve(Author).await.unwrap();
            let begun = Instant::now();
            let long = Essay { length: 1, title: "x".repeat(10_000) };
            let error = long.request(&asking).timeout(LONG).await.unwrap_err();
            assert!(matches!(&error, RequestError::Failed { reason, .. } if reason == "payload too large"), "{error}");
            assert_eq!(handler(&service, "essay").rejected, 1);
            let long = Report { text: "x".repeat(10_000) };
            let error = long.publish(&asking).acknowledged_within(patience(&world)).await.unwrap_err();
            let refusals = refusals(&world, error);
            assert!(refusals[0].contains("too large"), "{format:?}: {refusals:?}");
            assert!(begun.elapsed() < AT_ONCE);
            service.shutdown().await.unwrap();
        }
    }

    async fn metadata_that_cannot_be_read_is_counted(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(shop(|_| true)).await.unwrap();
        let odd = r#"{"id":"a","type":"Price","timestamp":{"seconds":1},"headers":7,"data":{"n":1}}"#;
        world.publish_raw("prices", odd).await;
        world.publish_raw("prices", r#"{"id":"b","type":"Price","timestamp":1,"data":{"n":2}}"#).await;
        eventually(SOON, async || handler(&service, "price").handled == 2).await;
        assert_eq!(handler(&service, "price").unreadable, 2);
    }

    async fn an_answer_goes_to_inboxes_for_answers_only(world: World) {
        let serving = world.bus_with(|builder| builder.allow_replies_to(world.name("foreign:"))).await;
        let watching = world.bus().await;
        let mut secrets = watching.subscribe(AnswerSeen::channel(vec!["secrets".to_owned()])).await.unwrap();
        let at = |at: &[&str]| AnswerSeen::channel(at.iter().map(|&segment| segment.to_owned()).collect::<Vec<_>>());
        let mut foreign = watching.subscribe(at(&["foreign", "one"])).await.unwrap();
        let mut replies = watching.subscribe(at(&["tidings", "replies", "two"])).await.unwrap();
        let service = serving.serve(shop(|_| true)).await.unwrap();
        let ask = async |id: u64, reply_to: &str, data: &str| {
            let reply_to = world.name(reply_to);
            let head = format!(r#"{{"id":"a","type":"Quote","correlation_id":"{id}","reply_to":"{reply_to}""#);
            world.publish_raw("quotes", format!(r#"{head},"data":{data}}}"#)).await;
        };
        // Nobody is told anything at an address that is none for answers, and so nothing is done.
        for data in [r#"{"n":1}"#, r#"{"n":"x"}"#, r#"{"n":1000}"#] {
            ask(1, "secrets", data).await;
        }
        ask(2, "foreign:one", r#"{"n":2}"#).await;
        ask(3, "tidings:replies:two", r#"{"n":3}"#).await;
        assert_eq!(message(&mut foreign).await.0, serde_json::json!({ "ok": 2 }));
        assert_eq!(message(&mut replies).await.0, serde_json::json!({ "ok": 3 }));
        assert_eq!((handler(&service, "quote").handled, handler(&service, "quote").rejected), (2, 3));
        assert_eq!(serving.stats().disobeyed_requests, 3);
        world.publish_raw("secrets", r#"{"id":"z","type":"reply","data":"the first"}"#).await;
        assert_eq!(message(&mut secrets).await.0, serde_json::json!("the first"));
    }

    async fn an_inbox_for_answers_is_in_the_services_own_namespace(world: World) {
        let serving = world.bus_in("shop", |builder| builder).await;
        let service = serving.serve(shop(|_| true)).await.unwrap();
        for reply_to in ["tidings:replies:a", "shop:tidings:repliesx", "shop2:tidings:replies:a", ""] {
            let reply_to = world.name(reply_to);
            let request = format!(
                r#"{{"id":"a","type":"Quote","correlation_id":"1","reply_to":"{reply_to}","data":{{"n":1}}}}"#
            );
            world.publish_raw("shop:quotes", request).await;
        }
        eventually(SOON, async || handler(&service, "quote").rejected == 4).await;
        eventually(SOON, async || serving.stats().disobeyed_requests == 4).await;
        let asking = world.bus_in("shop", |builder| builder).await;
        assert_eq!(Quote { n: 5 }.request(&asking).await.unwrap(), 5);
    }
}
