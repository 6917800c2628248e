use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

fn main() {}
