use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn publish(tasks: Vec<ResizeImage>, bus: Bus) {
    bus.publish_all(&tasks).await;
}

fn main() {}
