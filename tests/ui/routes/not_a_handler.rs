use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn placed(_order: OrderPlaced) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
