use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply]
struct QuoteRequest {
    sku: String,
}

fn main() {}
