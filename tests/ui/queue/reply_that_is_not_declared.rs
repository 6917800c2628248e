use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> Result<u64, std::io::Error> {
    Ok(task.path.len() as u64)
}

fn main() {}
