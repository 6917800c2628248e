//! W3 as programs have it: request and reply between two processes, on one channel without parameters.

use std::{io::Read, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

use crate::{
    measure::{Begun, Report},
    request::{Client, Quote, by_hand, timed},
};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote)]
struct QuoteRequest {
    id: u64,
    customer: String,
    text: String,
}

const CHANNEL: &str = "quotes";

impl QuoteRequest {
    fn new(number: u64) -> Self {
        Self { id: 100 + number % 100, customer: "Ada Lovelace".to_owned(), text: "x".repeat(130) }
    }

    fn quote(&self) -> Quote {
        Quote::new(self.id, &self.text)
    }
}

#[handler]
async fn quote(request: QuoteRequest) -> Quote {
    request.quote()
}

/// The same where the answer has to be waited for, as for a database.
#[derive(Message, Serialize, Deserialize)]
#[channel("slow")]
#[reply(Quote)]
struct SlowRequest {
    id: u64,
    customer: String,
    text: String,
}

/// How long the answer has to be waited for.
const WAIT: Duration = Duration::from_millis(5);

#[handler(concurrency = 8)]
async fn slow(request: SlowRequest) -> Quote {
    tokio::time::sleep(WAIT).await;
    Quote::new(request.id, &request.text)
}

/// Asks what the other process answers, or several.
pub async fn ask(program: &str, url: &str, messages: u64, tasks: u64) -> Report {
    let expected = |number| QuoteRequest::new(number).quote();
    match program {
        "tidings-1" | "tidings-3" => {
            let bus = Bus::connect(url).await.expect("a connection");
            let request = move |number| {
                let bus = bus.clone();
                let QuoteRequest { id, customer, text } = QuoteRequest::new(number);
                async move { SlowRequest { id, customer, text }.request(&bus).await.expect("a quote") }
            };
            timed(messages, tasks, request, expected).await
        }
        "tidings" => {
            let bus = Bus::connect(url).await.expect("a connection");
            // The first request opens the inbox for answers.
            let first = QuoteRequest::new(0).request(&bus).await.expect("a quote");
            assert_eq!(first, expected(0));
            let request = move |number| {
                let bus = bus.clone();
                async move { QuoteRequest::new(number).request(&bus).await.expect("a quote") }
            };
            timed(messages, tasks, request, expected).await
        }
        "redis" => {
            let client = Arc::new(Client::connect(url).await);
            let request = move |number| {
                let client = Arc::clone(&client);
                async move { client.request(CHANNEL.to_owned(), &QuoteRequest::new(number)).await }
            };
            timed(messages, tasks, request, expected).await
        }
        other => panic!("no such program: {other}"),
    }
}

/// Answers until the input ends.
pub async fn answer(program: &str, url: &str) -> Report {
    match program {
        "tidings" | "tidings-1" | "tidings-3" => {
            let bus = Bus::connect(url).await.expect("a connection");
            let service = bus.serve(routes![quote, slow]).await.expect("a service");
            let report = until_told().await;
            service.shutdown().await.expect("nothing waits");
            report
        }
        "redis" => {
            let server = by_hand(url, CHANNEL, |_, _| (), quote).await;
            let report = until_told().await;
            server.abort();
            report
        }
        other => panic!("no such program: {other}"),
    }
}

/// Says that requests may come, and measures until the other end closes the input.
pub async fn until_told() -> Report {
    let begun = Begun::now();
    println!("ready");
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await.expect("a thread").expect("an input");
    begun.report(0)
}
