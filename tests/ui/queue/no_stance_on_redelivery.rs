use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(timeout = "2m")]
async fn resize(_: ResizeImage) {}

fn main() {}
