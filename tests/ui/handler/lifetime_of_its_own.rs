use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed<'a>(_order: OrderPlaced, _delivery: &'a Delivery) {}

fn main() {}
