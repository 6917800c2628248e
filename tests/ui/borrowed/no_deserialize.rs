use serde::Serialize;
use tidings::{Message, handler};

#[derive(Message, Serialize)]
#[channel("orders")]
struct OrderView<'a> {
    customer: &'a str,
}

#[handler]
async fn ordered(order: OrderView<'_>) {
    let _ = order.customer;
}

fn main() {}
