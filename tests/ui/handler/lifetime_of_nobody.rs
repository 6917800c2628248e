use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced, _delivery: &'a Delivery) {}

async fn serve(bus: Bus) {
    let _ = bus.serve(routes![placed]).await;
}

fn main() {}
