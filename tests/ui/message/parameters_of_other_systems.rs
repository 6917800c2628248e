use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders/:id")]
struct OfExpress {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:{id}")]
struct OfAxum {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders.$id.lines")]
struct OfShells {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:%id")]
struct OfTemplates {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<int:id>")]
struct OfFlask {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders/+/lines")]
struct OfMqtt {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:>")]
struct OfNats {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat/{room}")]
enum ChatEvent {
    Join { user: String },
}

#[derive(Message, Serialize, Deserialize)]
#[queue("mails:{to}", bound, strict = to)]
struct SendMail {
    to: String,
}

async fn uses(bus: Bus) {
    OfExpress { id: 7 }.publish(&bus).await.unwrap();
    let _orders = bus.subscribe(OfAxum::any().id(7)).await.unwrap();
    ChatEvent::Join { user: String::new() }.publish_to(ChatEvent::channel("general"), &bus).await.unwrap();
    SendMail { to: String::new() }.enqueue(&bus).await.unwrap();
}

fn main() {}
