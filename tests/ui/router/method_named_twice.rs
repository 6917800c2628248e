use serde::{Deserialize, Serialize};
use tidings::{Message, router};

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

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}

    #[handler]
    async fn placed(&self, _bill: Billed) {}
}

fn main() {}
