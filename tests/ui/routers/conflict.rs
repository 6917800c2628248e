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
#[channel("orders:<name>")]
struct OrderNamed {
    name: String,
}

struct Pay;

#[router]
impl Pay {
    #[handler]
    async fn placed(&self, _order: OrderNamed) {}
}

async fn serve(bus: Bus, shop: Shop, pay: Pay) {
    let _service = bus.serve(routers![shop, pay]).await.unwrap();
}

fn main() {}
