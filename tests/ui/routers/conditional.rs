use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routers, routes};

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
    let routers = routers![
        routes![placed],
        #[cfg(debug_assertions)]
        routes![refunded],
    ];
    let _service = bus.serve(routers).await.unwrap();
    let _placed = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
