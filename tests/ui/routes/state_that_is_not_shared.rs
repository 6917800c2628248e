use std::{cell::Cell, rc::Rc};

use serde::{Deserialize, Serialize};
use tidings::{Bus, FromState, Message, State, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct Refund {
    id: u64,
}

#[derive(Clone)]
struct Prices(u64);

struct Shop {
    prices: Prices,
    refunds: Rc<Cell<u64>>,
}

impl FromState<Shop> for Prices {
    fn from_state(shop: &Shop) -> Self {
        shop.refunds.set(7);
        shop.prices.clone()
    }
}

#[handler]
async fn placed(_order: OrderPlaced, State(prices): State<Prices>) {
    let _ = prices.0;
}

#[handler]
async fn refunded(_refund: Refund) {}

async fn serve(bus: Bus, shop: Shop) {
    let _service = bus.serve(routes![placed].with_state(shop)).await.unwrap();
    let _service = bus.serve(routes![refunded].with_state(Rc::new(7))).await.unwrap();
    let _service = bus.serve(routes![refunded].with_state(Cell::new(7))).await.unwrap();
}

fn main() {}
