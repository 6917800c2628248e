use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(order: OrderPlaced) -> impl IntoIterator<Item = Publish<OrderPlaced>> {
    [Publish::new(order)]
}

fn main() {}
