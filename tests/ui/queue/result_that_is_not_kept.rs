use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[derive(Serialize, Deserialize)]
struct Resized {
    bytes: u64,
}

async fn waits(bus: &Bus, task: ResizeImage) -> Result<u64, Box<dyn std::error::Error>> {
    let enqueued = task.enqueue(bus).await?;
    // Each gives one error, however the result is used.
    let bytes = enqueued.result(bus).within(std::time::Duration::from_secs(1)).await?.bytes;
    let resized: Resized = enqueued.result(bus).await?;
    match bus.queue::<ResizeImage>().result(enqueued.id).await {
        Ok(Resized { bytes: again }) => Ok(bytes + resized.bytes + again),
        Err(error) => Err(error.to_string().into()),
    }
}

fn main() {}
