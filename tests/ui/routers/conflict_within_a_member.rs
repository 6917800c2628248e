use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router, routers};

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

struct Sell;

#[router]
impl Sell {
    #[handler]
    async fn sold(&self, _order: OrderPlaced) {}
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routers![routers![Shop, Pay], Sell]).await.unwrap();
}

fn main() {}
