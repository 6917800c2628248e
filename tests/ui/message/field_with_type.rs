use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id: u64>")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
