use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderView<'a> {
    id: u64,
    customer: &'a str,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: OrderPlaced) {
        let _ = order.id;
    }

    #[handler]
    async fn viewed(&self, order: OrderView<'_>) {
        let _ = order.customer;
    }
}

fn main() {}
