use serde::{Deserialize, Serialize};
use tidings::{Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(timeot = "1s")]
async fn placed(_order: OrderPlaced) {}

async fn serve(bus: tidings::Bus) {
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
