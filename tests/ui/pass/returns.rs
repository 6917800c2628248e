//! What handlers may return, where it is written in other ways than a plain type.

#![deny(warnings)]

use std::{borrow::Cow, fmt::Display};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, IntoOutcome, Message, Publish, handler, router, routes};
use tower::limit::ConcurrencyLimitLayer;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct QuoteRequest;

#[derive(Message, Serialize, Deserialize)]
#[channel("prices")]
#[reply(u64, error = String)]
struct PriceRequest;

#[handler]
async fn text(_: OrderPlaced) -> Result<(), &'static str> {
    Err("failed")
}

#[handler]
async fn cow(_: OrderPlaced) -> Result<Publish<OrderPlaced>, Cow<'static, str>> {
    Err("failed".into())
}

#[handler]
async fn displayed(order: OrderPlaced) -> Result<(), impl Display> {
    Err(order.id)
}

#[handler]
async fn borrowed(_: OrderPlaced, delivery: &Delivery) -> Result<(), &str> {
    Err(delivery.channel())
}

#[handler]
async fn boxed_error(_: OrderPlaced) -> Result<(), Box<dyn std::error::Error>> {
    Err("failed".into())
}

#[handler]
async fn outcome(order: OrderPlaced) -> impl IntoOutcome {
    (order.id > 7).then(|| Publish::new(order))
}

#[handler]
async fn several(order: OrderPlaced) -> Vec<Publish<OrderPlaced>> {
    vec![Publish::new(order)]
}

#[handler]
async fn quote(_: QuoteRequest) -> Result<u64, &'static str> {
    Err("no price")
}

#[handler]
async fn inferred_quote(_: QuoteRequest) -> Result<u64, impl Display> {
    Err(7)
}

#[handler]
async fn price(_: PriceRequest) -> Result<Result<u64, String>, &'static str> {
    Err("no price")
}

struct Shop;

impl Shop {
    const LIMIT: u64 = 7;

    fn layer() -> ConcurrencyLimitLayer {
        ConcurrencyLimitLayer::new(4)
    }
}

#[router]
impl Shop {
    #[handler(filter = order.id > Self::LIMIT && self::is_wanted(order) && !matches!(order.id, 9 | Self::LIMIT), layer = Self::layer())]
    async fn placed(&self, order: OrderPlaced) -> Result<(), &'static str> {
        if order.id == Self::LIMIT { Ok(()) } else { Err("failed") }
    }
}

struct Generic<T>(T);

#[router]
impl<T: Into<u64> + Copy> Generic<T> {
    const LIMIT: u64 = 7;

    #[handler(filter = order.id > Self::LIMIT)]
    async fn placed(&self, order: OrderPlaced) -> Result<(), u64> {
        Err(order.id + self.0.into())
    }
}

struct Named<'a>(&'a str);

#[router]
impl Named<'static> {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) -> Result<(), &str> {
        Err(self.0)
    }
}

fn is_wanted(order: &OrderPlaced) -> bool {
    order.id > 8
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![text, quote, price]).await.unwrap();
    let _service = bus.serve(routes![cow]).await.unwrap();
    let _service = bus.serve(routes![displayed, inferred_quote]).await.unwrap();
    let _service = bus.serve(routes![borrowed]).await.unwrap();
    let _service = bus.serve(routes![outcome]).await.unwrap();
    let _service = bus.serve(routes![boxed_error]).await.unwrap();
    let _service = bus.serve(routes![several]).await.unwrap();
    let _service = bus.serve(Shop).await.unwrap();
    let _service = bus.serve(Generic(7_u32)).await.unwrap();
    let _service = bus.serve(Named("shop")).await.unwrap();
}

fn main() {
    let _ = serve;
}
