use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
