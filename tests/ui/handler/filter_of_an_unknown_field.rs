use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(filter = order.total > 7)]
async fn placed(order: OrderPlaced) {
    drop(order);
}

fn main() {}
