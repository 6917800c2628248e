use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "OrderPlaced")]
struct OrderPlacedV1<'a> {
    id: u64,
    name: &'a str,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(version = 2, from = OrderPlacedV1)]
struct OrderPlaced {
    id: u64,
}

impl From<OrderPlacedV1<'_>> for OrderPlaced {
    fn from(older: OrderPlacedV1<'_>) -> Self {
        Self { id: older.id }
    }
}

fn main() {}
