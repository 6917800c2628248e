use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn looks(bus: &Bus) {
    println!("{:?}", bus.queue::<OrderPlaced>().counts().await);
    println!("{:?}", bus.queue::<OrderPlaced>().dead_letters().limit(3).await);
}

fn main() {}
