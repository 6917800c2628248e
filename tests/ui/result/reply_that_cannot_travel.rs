use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Debug, Serialize)]
struct Resized;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(Resized)]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(_: ResizeImage) -> Resized {
    Resized
}

fn main() {}
