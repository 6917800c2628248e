use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<order-id>")]
struct OrderPlaced {
    order_id: u64,
}

fn main() {}
