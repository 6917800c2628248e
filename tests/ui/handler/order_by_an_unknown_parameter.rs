use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<account>:<id>")]
struct OrderPlaced {
    account: u64,
    id: u64,
}

#[handler(order = acount)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
