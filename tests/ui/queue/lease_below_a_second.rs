use serde::{Deserialize, Serialize};
use tidings::{Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", lease = "999ms")]
struct ResizeImage {
    path: String,
}

fn main() {}
