use serde::{Deserialize, Serialize};
use tidings::{Message, Results, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h", results_count = 1000)]
struct ResizeImage {
    path: String,
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> u64 {
    task.path.len() as u64
}

fn keeps<M: Results>() {}

fn main() {
    keeps::<ResizeImage>();
}
