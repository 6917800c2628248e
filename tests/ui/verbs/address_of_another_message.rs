use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: String>")]
enum ChatEvent {
    Join,
}

async fn publish(bus: Bus) {
    let address = OrderPlaced::channel(7u64);
    ChatEvent::Join.publish_to(address, &bus).await.unwrap();
}

fn main() {}
