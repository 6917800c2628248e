use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn subscribe(bus: &Bus) {
    let _orders = bus.subscribe("orders:*").await.unwrap();
}

fn main() {}
