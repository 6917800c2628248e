use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders")]
struct OrderView<'a> {
    customer: &'a str,
}

#[handler]
async fn ordered(order: OrderView) {
    let _ = order.customer;
}

fn main() {}
