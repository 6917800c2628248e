use serde::{Deserialize, Serialize};
use tidings::{Message, Delivery, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced, delivery: &Delivery) -> &str {
    delivery.channel()
}

fn main() {}
