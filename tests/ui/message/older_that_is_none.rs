use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message};

#[derive(Serialize, Deserialize)]
struct OrderPlacedV1 {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(version = 2, from = OrderPlacedV1)]
struct OrderPlaced {
    id: u64,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(older: OrderPlacedV1) -> Self {
        Self { id: older.id }
    }
}

async fn subscribe(bus: Bus) {
    let mut orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
    let _ = orders.next().await.and_then(Event::into_message);
}

fn main() {}
