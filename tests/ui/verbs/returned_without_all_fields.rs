use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: String>")]
enum ChatEvent {
    Join,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) -> Publish<ChatEvent> {
    Publish::new(ChatEvent::Join)
}

fn main() {}
