use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

struct Images;

#[router]
impl Images {
    #[handler(concurrency = 8)]
    async fn resize(&self, _: ResizeImage) {}
}

fn main() {}
