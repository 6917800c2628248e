use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn watch(bus: Bus) {
    bus.subscribe(QuoteRequest::any()).await.unwrap();
}

fn main() {}
