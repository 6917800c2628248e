use serde::{Deserialize, Serialize};
use tidings::Message;

struct MyFormat;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(codec = MyFormat)]
struct OrderPlaced {
    id: u64,
}

async fn place(order: OrderPlaced, bus: &tidings::Bus) {
    order.publish(bus).await.unwrap();
}

fn main() {}
