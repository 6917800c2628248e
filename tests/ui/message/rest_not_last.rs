use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<path..>:placed")]
struct OrderPlaced {
    path: Vec<String>,
}

fn main() {}
