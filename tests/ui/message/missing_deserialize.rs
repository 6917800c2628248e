use serde::Serialize;
use tidings::Message;

#[derive(Message, Serialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

// Using the message gives no further errors.
async fn publish(order: OrderPlaced, bus: tidings::Bus) {
    order.publish(&bus).await.unwrap();
    order.publish_to(OrderPlaced::channel(7), &bus).await.unwrap();
}

fn main() {}
