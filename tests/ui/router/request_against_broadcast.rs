use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<id>")]
struct QuoteGiven {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn quote(&self, _request: QuoteRequest) -> u64 {
        125
    }

    #[handler]
    async fn given(&self, _message: QuoteGiven) {}
}

fn main() {}
