use serde::{Deserialize, Serialize};
use tidings::{Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    size: u64,
}

#[handler(idempotent, timeout = "2m", filter = task.size > 7)]
async fn filtered(task: ResizeImage) {
    drop(task);
}

#[handler(idempotent, timeout = "2m", order = channel)]
async fn ordered(_: ResizeImage) {}

#[handler(idempotent, timeout = "2m", run_to_end)]
async fn run_to_end(_: ResizeImage) {}

struct Images;

#[router]
impl Images {
    #[handler(idempotent, timeout = "2m", fallback)]
    async fn resize(&self, _: ResizeImage) {}
}

fn main() {}
