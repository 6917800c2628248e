use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel(orders)]
struct OrderPlaced {
    id: u64,
}

fn main() {}
