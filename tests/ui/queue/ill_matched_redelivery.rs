use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, once, timeout = "2m")]
async fn both(_: ResizeImage) {}

#[handler(idempotent, window = "1d", timeout = "2m")]
async fn window_of_nothing(_: ResizeImage) {}

#[handler(once = 7, timeout = "2m")]
async fn by_number(_: ResizeImage) {}

#[handler(once = "a b", timeout = "2m")]
async fn by_text(_: ResizeImage) {}

fn main() {}
