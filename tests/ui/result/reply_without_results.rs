use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", lease = "1m")]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> u64 {
    task.path.len() as u64
}

async fn enqueue(task: ResizeImage, bus: Bus) {
    let _ = task.enqueue(&bus);
}

fn main() {}
