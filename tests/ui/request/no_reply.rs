use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Serialize, Deserialize)]
struct Quote;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote)]
struct QuoteRequest {
    sku: String,
}

#[handler]
async fn quote(_request: QuoteRequest) {}

fn main() {}
