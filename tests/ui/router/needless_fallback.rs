use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrders {
    count: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _message: OrderPlaced) {}

    #[handler(fallback)]
    async fn new(&self, _message: NewOrders) {}
}

fn main() {}
