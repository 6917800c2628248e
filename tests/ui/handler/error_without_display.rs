use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Failed;

#[handler]
async fn placed(_order: OrderPlaced) -> Result<(), Failed> {
    Err(Failed)
}

fn main() {}
