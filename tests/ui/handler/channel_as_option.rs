use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler("orders:*")]
async fn placed(_order: OrderPlaced) {}

#[handler(channel = "orders:*")]
async fn also_placed(_order: OrderPlaced) {}

fn main() {}
