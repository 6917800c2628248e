use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn subscribe(bus: Bus) {
    bus.subscribe(ResizeImage::any()).await.unwrap();
}

fn main() {}
