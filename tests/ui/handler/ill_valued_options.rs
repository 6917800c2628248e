use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(concurrency = "many", timeout = 30, fallback = true, filter)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
