use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(delivery: &Delivery, order: OrderPlaced) {
    let _ = (delivery, order);
}

fn main() {}
