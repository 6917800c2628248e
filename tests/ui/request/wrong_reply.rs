use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Serialize, Deserialize)]
struct Quote;

#[derive(Serialize, Deserialize)]
struct QuoteError;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote, error = QuoteError)]
struct QuoteRequest {
    sku: String,
}

#[handler]
async fn quote(_request: QuoteRequest) -> Result<u64, QuoteError> {
    Ok(1)
}

fn main() {}
