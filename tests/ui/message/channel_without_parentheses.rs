use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel = "orders:<id>"]
struct OrderPlaced {
    id: u64,
}

fn main() {}
