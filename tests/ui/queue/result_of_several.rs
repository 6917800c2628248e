use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

async fn waits(bus: &Bus, tasks: Vec<ResizeImage>) {
    for enqueued in bus.enqueue_all(&tasks).await.into_iter().flatten() {
        println!("{:?}", enqueued.result(bus).await);
    }
}

fn main() {}
