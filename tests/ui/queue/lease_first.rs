use serde::{Deserialize, Serialize};
use tidings::{Lease, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(_: &Lease, _: ResizeImage) {}

fn main() {}
