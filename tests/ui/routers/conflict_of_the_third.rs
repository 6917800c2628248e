use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, router, routers, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
struct Paid {
    id: u64,
}

struct Pay;

#[router]
impl Pay {
    #[handler]
    async fn paid(&self, _payment: Paid) {}
}

#[handler]
async fn also_paid(_payment: Paid) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(routers![Shop, Pay, routes![also_paid]]).await.unwrap();
}

fn main() {}
