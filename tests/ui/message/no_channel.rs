use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
struct OrderPlaced {
    id: u64,
}

fn main() {}
