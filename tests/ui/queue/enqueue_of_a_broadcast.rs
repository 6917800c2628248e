use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn enqueue(order: OrderPlaced, bus: Bus) {
    order.enqueue(&bus).delay(std::time::Duration::from_secs(1)).await.unwrap();
}

fn main() {}
