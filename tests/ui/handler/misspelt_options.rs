use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler(concurency = 7, timeot = "1s", order_by = id, filtr = true)]
async fn placed(_order: OrderPlaced) {}

fn main() {}
