use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct Refund {
    id: u64,
}

struct Shop {
    count: std::cell::Cell<u64>,
}

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {
        self.count.set(7);
    }

    #[handler]
    async fn refunded(&self, _refund: Refund) {}
}

async fn serve(shop: Shop, bus: tidings::Bus) {
    let _service = bus.serve(shop).await.unwrap();
}

fn main() {}
