use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(from = OrderPlacedV1)]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(version = 2, from = "OrderPlacedV1")]
struct OrderShipped {
    id: u64,
}

fn main() {}
