use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id: Self>")]
struct OrderPlaced {
    total: u64,
}

fn main() {}
