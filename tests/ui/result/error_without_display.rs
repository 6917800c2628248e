use serde::{Deserialize, Serialize};
use tidings::{Message, Outcome, handler};

#[derive(Debug, Serialize, Deserialize, Outcome)]
#[outcome(retry)]
struct ResizeError;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(u64, error = ResizeError)]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> Result<u64, ResizeError> {
    if task.path.is_empty() { Err(ResizeError) } else { Ok(1) }
}

fn main() {}
