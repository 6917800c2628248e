use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<number>")]
struct OrderPaid {
    number: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _message: OrderPlaced) {}

    #[handler]
    async fn paid(&self, _message: OrderPaid) {}
}

fn main() {}
