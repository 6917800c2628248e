use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(once, window = "1h", timeout = "2m", retries = 10)]
async fn hour(_: ResizeImage) {}

#[handler(once = path, timeout = "1d", retries = 2)]
async fn by_default(_: ResizeImage) {}

#[handler(once, timeout = "none", window = "90s", backoff = "1s..1m", retries = 2)]
async fn without_timeout(_: ResizeImage) {}

#[handler(once, timeout = "1s", window = "9m", backoff = "1s..1m", retries = 9)]
async fn nearly(_: ResizeImage) {}

fn main() {}
