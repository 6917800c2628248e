use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

mod payments {
    #[tidings::handler]
    pub async fn paid(_order: super::OrderPlaced) {}

    pub async fn refunded(_order: super::OrderPlaced) {}
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![plced]).await.unwrap();
    let _service = bus.serve(routes![payments::piad]).await.unwrap();
    let _service = bus.serve(routes![placed, payments::refunded]).await.unwrap();
}

fn main() {}
