use serde::{Deserialize, Serialize};
use tidings::{Message, Progress, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", at_most_once)]
struct ResizeImage {
    path: String,
}

#[handler(timeout = "2m")]
async fn resize(task: ResizeImage, progress: Progress) {
    progress.report(0.5, task.path);
}

struct Images;

#[router]
impl Images {
    #[handler(timeout = "2m")]
    async fn resize(&self, _: ResizeImage, progress: Progress) {
        progress.report(0.5, "half");
    }
}

fn main() {}
