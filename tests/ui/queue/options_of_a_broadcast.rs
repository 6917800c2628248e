use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

#[handler(retries = 5)]
async fn retried(_: OrderPlaced) {}

#[handler(backoff = "1s..10m")]
async fn backed_off(_: OrderPlaced) {}

#[handler(idempotent)]
async fn idempotent(_: OrderPlaced) {}

#[handler(crashes = 3)]
async fn crashes(_: OrderPlaced) {}

#[handler(once)]
async fn quote(_: QuoteRequest) -> u64 {
    7
}

fn main() {}
