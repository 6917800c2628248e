use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routers};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(routers![placed]).await.unwrap();
}

fn main() {}
