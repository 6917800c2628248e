use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "OrderPlaced")]
struct OrderPlacedV1 {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(version = 2, from = OrderPlacedV1)]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_: OrderPlaced) {}

fn main() {}
