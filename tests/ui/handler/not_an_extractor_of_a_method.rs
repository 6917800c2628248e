use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced, _count: u32) {}
}

async fn serve(bus: tidings::Bus) {
    let _service = bus.serve(Shop).await.unwrap();
}

fn main() {}
