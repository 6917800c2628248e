use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn many(orders: Vec<OrderPlaced>) {
    drop(orders);
}

#[handler]
async fn perhaps(_: std::option::Option<OrderPlaced>) {}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn shared(&self, _order: Arc<OrderPlaced>) {}
}

fn main() {}
