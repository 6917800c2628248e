use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", weighted = priority, weights = [6, 3])]
struct ResizeImage {
    priority: Priority,
}

fn main() {}
