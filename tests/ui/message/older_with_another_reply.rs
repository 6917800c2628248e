use serde::{Deserialize, Serialize};
use tidings::{Message, Outcome};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[message(name = "QuoteRequest")]
#[reply(u64)]
struct QuoteRequestV1 {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[message(version = 2, from = QuoteRequestV1)]
#[reply(Quote)]
struct QuoteRequest {
    sku: String,
    quantity: u32,
}

impl From<QuoteRequestV1> for QuoteRequest {
    fn from(older: QuoteRequestV1) -> Self {
        Self { sku: older.sku, quantity: 1 }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("images", results = "1h")]
#[message(name = "ResizeImage")]
#[reply(Quote)]
struct ResizeImageV1 {
    path: String,
}

#[derive(Debug, Serialize, Deserialize, Outcome)]
#[outcome(retry)]
struct ResizeError;

impl std::fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("it failed")
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("images", results = "1h")]
#[message(version = 2, from = ResizeImageV1)]
#[reply(Quote, error = ResizeError)]
struct ResizeImage {
    path: String,
}

impl From<ResizeImageV1> for ResizeImage {
    fn from(older: ResizeImageV1) -> Self {
        Self { path: older.path }
    }
}

fn main() {}
