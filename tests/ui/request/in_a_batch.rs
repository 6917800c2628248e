use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn ask(request: QuoteRequest, bus: Bus) {
    bus.batch().push(&request).await;
}

fn main() {}
