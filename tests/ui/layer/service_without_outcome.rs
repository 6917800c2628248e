use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tidings::{Message, handler, layer::{Handlers, Invocation}};
use tower::{BoxError, Layer, Service};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Silence;

impl Layer<Handlers> for Silence {
    type Service = Self;

    fn layer(&self, _handlers: Handlers) -> Self {
        Self
    }
}

impl Service<Invocation> for Silence {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _invocation: Invocation) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

#[handler(layer = Silence)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
