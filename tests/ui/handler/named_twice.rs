use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("bills:<id>")]
struct Billed {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

#[handler]
async fn placed(_bill: Billed) {}

fn main() {}
