//! Requests: a typed question, a typed answer, and a typed error.
//!
//! `cargo run --example request_reply`, or with `REDIS_URL=redis://…` through a server.

use std::{env, error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, RequestError, router};

/// What does it cost? `#[reply]` makes the message a request.
#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote, error = QuoteError)]
struct QuoteRequest {
    sku: String,
    quantity: u64,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

/// The errors that travel back as data.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QuoteError {
    UnknownSku { sku: String },
}

struct Prices;

#[router]
impl Prices {
    /// Any other return type would not compile.
    #[handler(timeout = "2s")]
    async fn quote(&self, request: QuoteRequest) -> Result<Quote, QuoteError> {
        match request.sku.as_str() {
            "engine" => Ok(Quote { cents: 125_000 * request.quantity }),
            _ => Err(QuoteError::UnknownSku { sku: request.sku }),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let engines = QuoteRequest { sku: "engine".into(), quantity: 2 };
    let loom = QuoteRequest { sku: "loom".into(), quantity: 1 };

    // Nobody serves yet, and the server knows: the request fails at once, not after its timeout.
    match engines.request(&bus).await {
        Err(RequestError::NobodyListens { .. }) => println!("nobody quotes prices yet"),
        other => println!("unexpected: {other:?}"),
    }

    let service = bus.serve(Prices).await?;
    let quote = engines.request(&bus).timeout(Duration::from_secs(1)).await?;
    println!("two engines cost {} cents", quote.cents);

    match loom.request(&bus).await {
        Err(RequestError::Answered(QuoteError::UnknownSku { sku })) => println!("there is no {sku}"),
        other => println!("unexpected: {other:?}"),
    }
    service.shutdown().await?;
    Ok(())
}
