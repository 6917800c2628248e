use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct OrderRefunded {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

#[handler]
async fn refunded(_refund: OrderRefunded) {}

async fn serve(bus: &Bus) {
    let _service = bus.serve(routes![placed].merge(routes![refunded])).await.unwrap();
}

fn main() {}
