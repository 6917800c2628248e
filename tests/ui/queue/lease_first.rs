use serde::{Deserialize, Serialize};
use tidings::{Bus, Lease, Message, Progress, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(_: &Lease, _: ResizeImage) {}

#[handler(idempotent, timeout = "2m")]
async fn with_progress(_: Progress, _: Bus, _: ResizeImage) {}

fn main() {}
