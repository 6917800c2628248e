use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[message("orders")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
#[message("order.refunded", version = 2)]
struct OrderRefunded {
    id: u64,
}

async fn uses(bus: Bus) {
    OrderPlaced { id: 7 }.publish(&bus).await.unwrap();
    OrderRefunded { id: 7 }.publish(&bus).await.unwrap();
}

fn main() {}
