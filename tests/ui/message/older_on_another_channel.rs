use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "OrderPlaced")]
struct OrderPlacedV1 {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:orders:<id>")]
#[message(version = 2, from = OrderPlacedV1)]
struct OrderPlaced {
    id: u64,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(older: OrderPlacedV1) -> Self {
        Self { id: older.id }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
#[message(name = "Paid")]
struct PaidV1 {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("payments:<id>", bound)]
#[message(version = 2, from = PaidV1)]
struct Paid {
    id: u64,
}

impl From<PaidV1> for Paid {
    fn from(older: PaidV1) -> Self {
        Self { id: older.id }
    }
}

fn main() {}
