use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<account: u64>:<id>")]
struct OrderPlaced {
    account: u64,
    id: u64,
}

#[handler(order = account)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
