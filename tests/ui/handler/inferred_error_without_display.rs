use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

trait Problem {}

impl Problem for u64 {}

#[handler]
async fn placed(order: OrderPlaced) -> Result<(), impl Problem> {
    Err(order.id)
}

fn main() {}
