use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn waits(bus: &Bus, task: ResizeImage) -> Option<()> {
    let enqueued = task.enqueue(bus).await.ok()?;
    let _ = enqueued.result(bus);
    let _ = bus.queue::<ResizeImage>().result(enqueued.id);
    None
}

fn main() {}
