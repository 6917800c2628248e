use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<account>:<id>")]
struct OrderPlaced {
    account: u64,
    id: u64,
}

#[handler(order = 3)]
async fn number(_order: OrderPlaced) {}

#[handler(order)]
async fn nothing(_order: OrderPlaced) {}

#[handler(order = a::b)]
async fn path(_order: OrderPlaced) {}

fn main() {}
