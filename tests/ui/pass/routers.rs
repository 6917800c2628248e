//! Routers that are served as one.

#![deny(warnings)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, Router, State, handler, router, routers, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name: String>")]
struct OrderNamed {
    total: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
struct Paid {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct QuoteRequest;

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

struct Pay<D> {
    _store: D,
}

#[router]
impl<D> Pay<D> {
    #[handler]
    async fn placed(&self, _payment: Paid) {}
}

#[handler]
async fn quote(_request: QuoteRequest, State(price): State<u64>) -> u64 {
    price
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id: u32>")]
struct ShortOrder {}

/// A fallback stands back behind the handlers of other members.
struct Rest;

#[router]
impl Rest {
    #[handler(fallback)]
    async fn named(&self, _order: OrderNamed) {}

    #[handler]
    async fn new(&self, _order: NewOrders) {}
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrders;

macro_rules! both {
    ($first:expr, $second:expr) => {
        routers![$first, $second]
    };
}

fn all() -> impl Router {
    routers![Shop, Rest]
}

fn opaque() -> impl Router {
    Pay { _store: 7 }
}

static SHOP: Shop = Shop;

async fn serve(bus: Bus, shop: Shop) -> Result<(), tidings::SubscribeError> {
    let prices = 7_u64;
    let handle = Arc::new(Shop);
    let _service = bus.serve(routers![shop, Pay { _store: String::new() }]).await?;
    let _service = bus.serve(routers![Arc::clone(&handle), Pay { _store: () }, Rest, routes![quote].with_state(prices)]).await?;
    let _service = bus.serve(routers![routers![Shop, Rest], Pay { _store: () }]).await?;
    let _service = bus.serve(both!(Shop, Rest)).await?;
    let _service = bus.serve(routers![all(), opaque()]).await?;
    let _service = bus.serve(routers![crate = ::tidings; Shop]).await?;
    let _service = bus.serve(handle).await?;
    let _service = bus.serve(Box::new(Shop)).await?;
    let _service = bus.serve(&SHOP).await?;
    let served = async move { drop(bus.serve(routers![Shop, Rest]).await) };
    drop(Box::new(served) as Box<dyn Future<Output = ()> + Send>);
    Ok(())
}

fn main() {
    let _ = serve;
    let _ = ShortOrder {};
}
