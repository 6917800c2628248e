use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(nmae = "order.placed")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
