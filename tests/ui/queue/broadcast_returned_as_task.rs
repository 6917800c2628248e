use serde::{Deserialize, Serialize};
use tidings::{Enqueue, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> Enqueue<OrderPlaced> {
    Enqueue::new(OrderPlaced { id: task.path.len() as u64 })
}

fn main() {}
