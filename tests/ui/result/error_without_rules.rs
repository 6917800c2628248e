use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("no image")]
struct ResizeError;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(u64, error = ResizeError)]
struct ResizeImage {
    path: String,
}

// Its handler gives no further error.
#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> Result<u64, ResizeError> {
    if task.path.is_empty() { Err(ResizeError) } else { Ok(1) }
}

fn main() {}
