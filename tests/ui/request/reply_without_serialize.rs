use serde::{Deserialize, Serialize};
use tidings::Message;

struct Quote;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote)]
struct QuoteRequest {
    sku: String,
}

fn main() {}
