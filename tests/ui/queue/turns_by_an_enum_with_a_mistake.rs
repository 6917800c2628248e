use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone)]
enum Priority {
    High(u8),
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", weighted = priority, weights = [6, 1])]
struct ResizeImage {
    priority: Priority,
}

fn main() {}
