use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn ask(task: ResizeImage, bus: Bus) {
    task.request(&bus).await.unwrap();
}

async fn ask_at(task: ResizeImage, bus: Bus) {
    task.request_to(ResizeImage::channel(), &bus).await.unwrap();
}

fn main() {}
