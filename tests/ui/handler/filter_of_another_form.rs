use serde::{Deserialize, Serialize};
use tidings::{Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(filter = |order| order.id > 7)]
async fn placed(order: OrderPlaced) {
    drop(order);
}

struct Shop;

#[router]
impl Shop {
    #[handler(filter = "order.id > 7")]
    async fn placed(&self, order: OrderPlaced) {
        drop(order);
    }
}

fn main() {}
