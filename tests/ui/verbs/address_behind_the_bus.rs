use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: String>")]
struct ChatLine {
    text: String,
}

async fn say(bus: &Bus) {
    ChatLine { text: "hello".into() }.publish_to(bus, ChatLine::channel("general")).await.unwrap();
}

fn main() {}
