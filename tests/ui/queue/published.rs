use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

async fn publish(task: ResizeImage, bus: Bus) {
    task.publish(&bus).await.unwrap();
}

async fn publish_to(task: ResizeImage, bus: Bus) {
    task.publish_to(ResizeImage::channel(), &bus).header("a", "b").await.unwrap();
}

fn main() {}
