use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

mod shop {
    pub mod orders {}
}

use shop::orders;

#[handler]
async fn orders(_order: OrderPlaced) {}

fn main() {}
