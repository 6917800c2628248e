use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler};

// What other systems say of each task, and tidings of its queue and of its handler.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn resize(task: ResizeImage, bus: &Bus) {
    task.enqueue(bus).priority(1).await.unwrap();
    task.enqueue(bus).attempts(3).await.unwrap();
    task.enqueue(bus).retries(3).await.unwrap();
}

#[handler(idempotent, timeout = "2m", priority = 1)]
async fn resized(_: ResizeImage) {}

fn main() {}
