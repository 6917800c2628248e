use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler};

#[derive(Debug, Serialize)]
struct Quote {
    cents: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(Quote)]
struct QuoteRequest {
    sku: String,
}

// Handling and sending the request gives no further errors.
#[handler]
async fn quote(request: QuoteRequest) -> Quote {
    Quote { cents: request.sku.len() as u64 }
}

async fn ask(request: QuoteRequest, bus: &Bus) -> u64 {
    request.request(bus).await.unwrap().cents
}

fn main() {}
