use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

async fn enqueue(task: ResizeImage, bus: Bus) {
    let _ = task.enqueue(&bus);
}

fn main() {}
