use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, RequestError, handler, router, routes};

#[derive(Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct QuoteError;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:*:<sku>")]
#[reply(Quote, error = QuoteError)]
struct QuoteRequest {
    sku: String,
}

// One mistake in the channel gives one error, however the request is used.
#[handler]
async fn quote(request: QuoteRequest) -> Result<Quote, QuoteError> {
    if request.sku.is_empty() { Err(QuoteError) } else { Ok(Quote { cents: 1 }) }
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn quote(&self, _request: QuoteRequest) -> Quote {
        Quote { cents: 1 }
    }
}

async fn ask(request: QuoteRequest, bus: &Bus) -> u64 {
    let _service = bus.serve(routes![quote]).await.unwrap();
    let _service = bus.serve(Shop).await.unwrap();
    match request.request(bus).timeout(std::time::Duration::from_secs(1)).await {
        Ok(quote) => return quote.cents,
        Err(RequestError::Answered(QuoteError)) => {}
        Err(_) => return 0,
    }
    let quotes = request.request_to(QuoteRequest::channel("engine"), bus).collect(2).await.unwrap();
    quotes.into_iter().flatten().map(|quote| quote.cents).sum()
}

// The same with a mistake in the reply.
#[derive(Message, Serialize, Deserialize)]
#[channel("prices:<sku>")]
#[reply(Quote, err = QuoteError)]
struct PriceRequest {
    sku: String,
}

#[handler]
async fn price(request: PriceRequest) -> Result<Quote, QuoteError> {
    if request.sku.is_empty() { Err(QuoteError) } else { Ok(Quote { cents: 1 }) }
}

async fn price_of(request: PriceRequest, bus: &Bus) -> u64 {
    let _service = bus.serve(routes![price]).await.unwrap();
    match request.request(bus).await {
        Ok(quote) => quote.cents,
        Err(RequestError::Answered(QuoteError)) => 0,
        Err(_) => 1,
    }
}

fn main() {}
