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

struct Pay;

async fn serve(bus: Bus) {
    let _service = bus.serve(routers![Shop, Pay]).await.unwrap();
}

fn main() {}
