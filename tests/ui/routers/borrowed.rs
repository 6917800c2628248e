use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

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

async fn serve(bus: Bus) {
    let shop = Shop;
    let _service = bus.serve(&shop).await.unwrap();
}

fn main() {}
