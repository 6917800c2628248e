use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<path..>")]
struct OrderPlaced {
    path: String,
}

fn main() {}
