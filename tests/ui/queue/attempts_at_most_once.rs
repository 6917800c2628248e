use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", at_most_once)]
struct ResizeImage {
    path: String,
}

#[handler(retries = 3, timeout = "2m")]
async fn resize(_: ResizeImage) {}

fn main() {}
