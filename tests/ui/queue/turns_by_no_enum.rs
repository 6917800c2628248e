use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", strict = priority, bound)]
struct ResizeImage {
    priority: u8,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail:<region>", weighted = region, weights = [6, 3, 1])]
struct SendMail {
    region: String,
}

fn main() {}
