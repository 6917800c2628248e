use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, Router, router, routers};

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

async fn serve<R: Router>(bus: Bus, other: R) {
    let _service = bus.serve(routers![Shop, other]).await.unwrap();
}

fn main() {}
