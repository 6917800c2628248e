use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
#[reply(String)]
struct QuoteRequest {
    sku: String,
}

fn main() {}
