#![deny(warnings)]

use serde::{Deserialize, Serialize};
use tidings::{Message, handler, router, routes};

#[derive(Serialize, Deserialize)]
struct Quote;

#[derive(Serialize, Deserialize)]
struct QuoteError;

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(Quote, error = QuoteError)]
struct QuoteRequest {
    sku: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("echo")]
#[reply(String)]
struct Echo {
    text: String,
}

/// The reply alone, or a result of a result where something else can go wrong.
struct One;

#[router]
impl One {
    #[handler]
    async fn quote(&self, _request: QuoteRequest) -> Quote {
        Quote
    }

    #[handler]
    async fn echo(&self, echo: Echo) -> String {
        echo.text
    }
}

#[handler]
async fn quote(_request: QuoteRequest) -> Result<Result<Quote, QuoteError>, std::fmt::Error> {
    Ok(Err(QuoteError))
}

#[handler]
async fn echo(echo: Echo) -> Result<String, std::fmt::Error> {
    Ok(echo.text)
}

fn main() {
    let _ = (One, routes![quote, echo]);
}
