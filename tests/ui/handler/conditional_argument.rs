use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct OrderRefunded {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced, #[cfg(debug_assertions)] _delivery: &Delivery) {}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn refunded(&self, _refund: OrderRefunded, #[cfg(debug_assertions)] _delivery: &Delivery) {}
}

fn main() {}
