use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn ask(requests: Vec<QuoteRequest>, bus: Bus) {
    bus.publish_all(&requests).await;
}

fn main() {}
