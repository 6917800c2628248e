use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(idempotent)]
async fn resize(_: ResizeImage) {}

#[handler(once, retries = 2)]
async fn resize_once(_: ResizeImage) {}

fn main() {}
