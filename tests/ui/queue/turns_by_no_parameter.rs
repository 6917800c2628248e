use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", strict = priorty)]
struct ResizeImage {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail:<priority>", weighted = region, weights = [6, 3, 1])]
struct SendMail {
    priority: Priority,
    region: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:pings", strict = priority)]
struct Ping {
    priority: Priority,
}

fn main() {}
