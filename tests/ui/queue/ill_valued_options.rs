use serde::{Deserialize, Serialize};
use tidings::{Message};

#[derive(Message, Serialize, Deserialize)]
#[queue(
    "tasks:images:<id>",
    weighted = 7,
    weights = [1, 0],
    lease = 30,
    bound = true,
    at_most_once = "yes",
    max_length = 0,
    payload_limit = "1m",
    prio = 1
)]
struct ResizeImage {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail", bound)]
struct SendMail {
    to: String,
}

fn main() {}
