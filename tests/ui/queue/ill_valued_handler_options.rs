use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(
    idempotent = true,
    retries = -1,
    backoff = "10m",
    crashes = 0,
    timeout = "never"
)]
async fn resize(_: ResizeImage) {}

#[handler(once, window = 1, backoff = "10m..1s", timeout = "2m")]
async fn once(_: ResizeImage) {}

fn main() {}
