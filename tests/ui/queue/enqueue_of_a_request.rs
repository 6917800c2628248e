use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn enqueue(request: QuoteRequest, bus: Bus) {
    request.enqueue(&bus).await.unwrap();
}

fn main() {}
