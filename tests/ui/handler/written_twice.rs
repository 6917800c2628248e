use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, router, routes};

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

#[handler(concurrency = 4)]
#[handler(timeout = "30s")]
async fn placed(_order: OrderPlaced) {}

struct Shop;

#[router]
#[tidings::router(crate = tidings)]
impl Shop {
    #[handler]
    async fn refunded(&self, _refund: OrderRefunded) {}
}

async fn serve(bus: &Bus) {
    let _placed = bus.serve(routes![placed]).await.unwrap();
    let _shop = bus.serve(Shop).await.unwrap();
}

fn main() {}
