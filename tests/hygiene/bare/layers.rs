use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Limit;

struct Shop;

#[router]
impl Shop {
    #[handler(layer = Limit)]
    async fn placed(&self, _order: OrderPlaced) {}
}

async fn serve(bus: &Bus) {
    let _service = bus.serve(Shop).layer(Limit).await.unwrap();
}
