use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct Refund {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced, _refund: Refund) {}

fn main() {}
