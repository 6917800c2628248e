use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: String>")]
enum ChatEvent {
    Join,
}

async fn publish(bus: Bus) {
    ChatEvent::Join.publish(&bus).await.unwrap();
}

fn main() {}
