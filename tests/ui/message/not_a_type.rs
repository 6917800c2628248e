use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<room: 5>")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
