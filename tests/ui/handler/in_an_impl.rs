use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

impl Shop {
    #[handler]
    async fn placed(_order: OrderPlaced, _delivery: &Delivery) {}

    async fn placed_again(order: OrderPlaced, delivery: &Delivery) {
        Self::placed(order, delivery).await
    }
}

trait Placed {
    async fn placed(order: OrderPlaced);
}

impl Placed for Shop {
    #[handler(concurrency = 4)]
    async fn placed(_order: OrderPlaced) {}
}

fn main() {}
