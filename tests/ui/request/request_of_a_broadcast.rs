use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn ask(order: OrderPlaced, bus: Bus) {
    order.request(&bus).await.unwrap();
}

fn main() {}
