use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) -> Publish<QuoteRequest> {
    Publish::new(QuoteRequest { sku: "engine".to_owned() })
}

fn main() {}
