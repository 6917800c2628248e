use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results_count = 1000, results_bytes = 1000)]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

fn main() {}
