use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(concurrency = 0, timeout = "0s")]
async fn placed(_order: OrderPlaced) {}

fn main() {}
