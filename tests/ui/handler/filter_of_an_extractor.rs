use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, State, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
    total: u64,
}

#[handler(filter = delivery.attempt() > 1)]
async fn placed(_order: OrderPlaced, delivery: &Delivery) {
    let _ = delivery;
}

struct Shop;

#[router]
impl Shop {
    #[handler(filter = order.total > (limit.0 + 1))]
    async fn placed(&self, order: OrderPlaced, State(limit): State<(u64,)>) {
        let _ = (order, limit);
    }
}

fn main() {}
