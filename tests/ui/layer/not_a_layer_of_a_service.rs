use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![placed]).layer("fast").await.unwrap();
}

fn main() {}
