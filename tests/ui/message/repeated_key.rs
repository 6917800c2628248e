use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(version = 1, version = 2)]
struct OrderPlaced {
    id: u64,
}

fn main() {}
