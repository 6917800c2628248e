use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tidings::{Message, handler, layer::{Handlers, Outcome}};
use tower::{BoxError, Layer, Service};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Texts;

impl Layer<Handlers> for Texts {
    type Service = Self;

    fn layer(&self, _handlers: Handlers) -> Self {
        Self
    }
}

impl Service<String> for Texts {
    type Response = Outcome;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Outcome, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _text: String) -> Self::Future {
        std::future::ready(Ok(Outcome::filtered()))
    }
}

#[handler(layer = Texts)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
