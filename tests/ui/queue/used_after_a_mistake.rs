use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", strict = priority)]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m", retries = 5)]
async fn resize(_: ResizeImage, _: &tidings::Lease) -> Result<(), String> {
    Ok(())
}

async fn enqueue(task: ResizeImage, bus: Bus) {
    let _ = task.enqueue(&bus);
    let _ = task.enqueue_to(ResizeImage::channel("high"), &bus);
}

fn main() {}
