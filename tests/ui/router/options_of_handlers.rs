use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

struct Images;

#[router(idempotent, timeout = "2m")]
impl Images {
    #[handler]
    async fn resize(&self, _: ResizeImage) {}
}

fn main() {}
