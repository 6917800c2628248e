use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn ask(request: QuoteRequest, bus: Bus) {
    request.publish_to(QuoteRequest::channel("engine"), &bus).header("shop", "eu").await.unwrap();
}

fn main() {}
