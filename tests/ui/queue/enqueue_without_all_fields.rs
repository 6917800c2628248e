use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority: Priority>")]
struct ResizeImage {
    path: String,
}

async fn enqueue(task: ResizeImage, bus: Bus) {
    task.enqueue(&bus).await.unwrap();
}

fn main() {}
