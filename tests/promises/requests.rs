//! A request ends exactly once: with its reply, its typed error, or an error that says what is known.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, RequestError, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::SOON;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(Quote, error = QuoteError)]
struct QuoteRequest {
    sku: String,
    quantity: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum QuoteError {
    Unknown(String),
}

#[derive(Message, Serialize, Deserialize)]
#[channel("echo:<room: String>")]
#[reply(String)]
struct Echo {
    text: String,
}

/// An answer as another language would read it.
#[derive(Message, Serialize, Deserialize)]
#[channel("tidings:replies:answers")]
#[message(name = "reply")]
struct Answer {
    failure: String,
}

struct Prices {
    asked: Recorder<String>,
}

impl Prices {
    fn new() -> Self {
        Self { asked: Recorder::new() }
    }
}

#[router]
impl Prices {
    #[handler(timeout = "200ms")]
    async fn quote(&self, request: QuoteRequest) -> Result<Quote, QuoteError> {
        self.asked.record(request.sku.clone());
        match request.sku.as_str() {
            "panic" => panic!("a handler of a test panics, as it should"),
            "hang" => pending().await,
            "loom" => Err(QuoteError::Unknown(request.sku)),
            _ => Ok(Quote { cents: 100 * request.quantity }),
        }
    }

    #[handler(run_to_end)]
    async fn echo(&self, echo: Echo) -> Result<String, String> {
        match echo.text.as_str() {
            "fail" => Err("the secret of the house".to_owned()),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok("late".to_owned())
            }
            _ => Ok(echo.text),
        }
    }
}

fn quote(sku: &str) -> QuoteRequest {
    QuoteRequest { sku: sku.to_owned(), quantity: 3 }
}

async fn echo(bus: &Bus, text: &str) -> Result<String, RequestError<tidings::NoError>> {
    Echo { text: text.to_owned() }.request_to(Echo::channel("hall"), bus).await
}

on_each! {
    async fn a_request_gets_its_reply_or_its_typed_error(world: World) {
        let (server, client) = (world.bus().await, world.bus().await);
        let _service = server.serve(Prices::new()).await.unwrap();
        assert_eq!(quote("engine").request(&client).await.unwrap(), Quote { cents: 300 });
        match quote("loom").request(&client).await {
            Err(RequestError::Answered(error)) => assert_eq!(error, QuoteError::Unknown("loom".to_owned())),
            other => panic!("{other:?}"),
        }
        assert_eq!(echo(&client, "hello").await.unwrap(), "hello");
    }

    async fn many_requests_at_once_each_get_their_own_reply(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Prices::new()).await.unwrap();
        let requests = (0..200).map(async |n: u64| {
            let request = QuoteRequest { sku: format!("sku-{n}"), quantity: n };
            (n, request.request(&bus).await)
        });
        for (n, reply) in futures_util::future::join_all(requests).await {
            assert_eq!(reply.unwrap(), Quote { cents: 100 * n });
        }
        assert_eq!(bus.stats().pending_requests, 0);
    }

    async fn the_answers_of_several_services_are_collected_until_a_count_or_the_timeout(world: World) {
        let bus = world.bus().await;
        let _one = bus.serve(Prices::new()).group("one").await.unwrap();
        let _two = world.bus().await.serve(Prices::new()).group("two").await.unwrap();
        let quotes = quote("engine").request(&bus).timeout(SOON).collect(2).await.unwrap();
        let quotes: Vec<Quote> = quotes.into_iter().map(Result::unwrap).collect();
        assert_eq!(quotes, [Quote { cents: 300 }, Quote { cents: 300 }]);
        let begun = Instant::now();
        let three = quote("engine").request(&bus).timeout(SOON).collect(3).await.unwrap();
        assert_eq!(three.len(), 2);
        assert!(begun.elapsed() < SOON / 2, "nobody is left to wait for");
        let mixed = quote("loom").request(&bus).timeout(SOON).collect(1).await.unwrap();
        assert!(matches!(mixed.as_slice(), [Err(RequestError::Answered(_))]), "{mixed:?}");
        assert_eq!(bus.stats().pending_requests, 0);
    }

    async fn a_request_that_nobody_hears_fails_at_once(world: World) {
        let bus = world.bus().await;
        let start = Instant::now();
        let result = quote("engine").request(&bus).timeout(SOON).await;
        assert!(matches!(result, Err(RequestError::NobodyListens { .. })), "{result:?}");
        assert!(start.elapsed() < SOON / 2);
        assert_eq!(bus.stats().pending_requests, 0);
    }

    async fn an_unexpected_failure_comes_back_without_its_internals(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Prices::new()).await.unwrap();
        for (sku, expected) in [("panic", "the handler panicked"), ("hang", "the handler ran past its timeout")] {
            match quote(sku).request(&bus).await {
                Err(RequestError::Failed { reason, .. }) => assert_eq!(reason, expected),
                other => panic!("{other:?}"),
            }
        }
        match echo(&bus, "fail").await {
            Err(RequestError::Failed { reason, .. }) => assert_eq!(reason, "the handler failed"),
            other => panic!("{other:?}"),
        }
    }

    async fn a_request_that_times_out_leaves_no_waiter_and_its_late_reply_is_counted(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Prices::new()).await.unwrap();
        let slow = Echo { text: "slow".to_owned() };
        let result = slow.request_to(Echo::channel("hall"), &bus).timeout(Duration::from_millis(50)).await;
        assert!(matches!(result, Err(RequestError::TimedOut { .. })), "{result:?}");
        assert_eq!(bus.stats().pending_requests, 0);
        eventually(SOON, async || bus.stats().unexpected_answers == 1).await;
        assert_eq!(echo(&bus, "still there").await.unwrap(), "still there");
    }

    async fn an_expired_request_is_not_handled(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Prices::new()).await.unwrap();
        let inbox = world.name("tidings:replies:nobody");
        let head = format!(r#""id":"a","type":"QuoteRequest","version":1,"correlation_id":"0","reply_to":"{inbox}","time_left":0"#);
        world.publish_raw("quotes:engine", format!(r#"{{{head},"data":{{"sku":"engine","quantity":1}}}}"#)).await;
        eventually(SOON, async || service.stats().handlers[0].expired == 1).await;
        assert_eq!(service.stats().handlers[0].handled, 0);
    }

    async fn a_lost_connection_fails_the_requests_in_flight(world: World) {
        let (server, client) = (world.bus().await, world.bus().await);
        let service = server.serve(Prices::new()).await.unwrap();
        assert_eq!(echo(&client, "first").await.unwrap(), "first");
        let slow = Echo { text: "slow".to_owned() };
        let request = slow.request_to(Echo::channel("hall"), &client).timeout(SOON);
        let cut = async {
            eventually(SOON, async || client.stats().pending_requests == 1).await;
            world.disconnect().await;
        };
        let (result, ()) = tokio::join!(request, cut);
        assert!(matches!(result, Err(RequestError::ConnectionLost { .. })), "{result:?}");
        eventually(SOON, async || echo(&client, "again").await.is_ok()).await;
        drop(service);
    }

    async fn forged_and_garbled_answers_reach_nobody(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Prices::new()).await.unwrap();
        assert_eq!(echo(&bus, "first").await.unwrap(), "first");
        let inbox = bus.stats().reply_channel.expect("a request was sent");
        let inbox = inbox.strip_prefix(&world.name("")).expect("it is in the namespace");
        for payload in ["garbage", "{}", r#"{"id":"a","type":"reply","correlation_id":"0000000000000001","data":{"ok":"forged"}}"#] {
            world.publish_raw(inbox, payload).await;
        }
        eventually(SOON, async || bus.stats().unexpected_answers == 3).await;
        assert_eq!(echo(&bus, "second").await.unwrap(), "second");
    }

    async fn an_undecodable_request_is_answered_with_a_failure(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Prices::new()).await.unwrap();
        let mut answers = bus.subscribe(Answer::any()).await.unwrap();
        let inbox = world.name("tidings:replies:answers");
        let head = format!(r#""id":"a","type":"QuoteRequest","version":1,"correlation_id":"c-1","reply_to":"{inbox}""#);
        world.publish_raw("quotes:engine", format!(r#"{{{head},"data":{{"sku":7}}}}"#)).await;
        let answer = answers.next().await.and_then(tidings::Event::into_message).expect("an answer");
        assert_eq!(answer.failure, "undecodable payload");
        eventually(SOON, async || service.stats().handlers[0].rejected == 1).await;
    }
}
